"""The run folder ``runs/<dataset>/<loss>/seed<k>-<digest8>/``: what a run is, has done, and left.

``config.toml`` (resolved), ``environment.json``, ``metrics.jsonl``, ``encoder.safetensors``,
``classifier.safetensors`` where the method trains one, ``features-<split>.safetensors`` where they are not
too large, ``predictions.parquet``, ``evaluation.json``, and ``done`` with the SHA-256 of each, written last.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biascon import __version__
from biascon.config import RunConfig
from biascon.errors import BiasconError, RunError
from biascon.files import explain, pretty_json, read_json, sha256_file, write_atomic
from biascon.settings import to_toml

DONE = "done"
HELD = "another process works on"  # what the error of a folder that is held starts with
EVALUATION = "evaluation.json"
PREDICTIONS = "predictions.parquet"
ENCODER = "encoder.safetensors"
CLASSIFIER = "classifier.safetensors"  # of methods that train one
FEATURES = tuple(f"features-{part}.safetensors" for part in ("train", "val", "test"))
STEP_LOSSES = "losses.safetensors"  # of a network whose losses another needs
_OPTIONAL = (CLASSIFIER, STEP_LOSSES, *FEATURES)
_SEALED = ("config.toml", "environment.json", "metrics.jsonl", ENCODER, PREDICTIONS, EVALUATION)


def run_folder(root: Path, dataset: str, config: RunConfig, digest: str) -> Path:
    """Return the folder of a run; its name holds what tells it from every other run."""
    return root / dataset / config.loss / f"seed{config.seed}-{digest[:8]}"


@contextmanager
def exclusive(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Create the folder and hold its lock, which the system frees if the process dies.

    Args:
        folder: The run folder.
        wait: Whether to wait for another process that holds it, or to give up at once.

    Raises:
        RunError: Another process works on this run.
        BiasconError: The place is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout as error:
        raise RunError(f"{HELD} {folder}; wait for it, or stop it") from error
    except OSError as error:
        raise explain(error, "create", folder) from error
    try:
        for left in folder.glob(".*.tmp"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def begin(folder: Path, config: RunConfig, device: str) -> None:
    """Write what is known before the first step."""
    write_atomic(folder / "config.toml", to_toml(config.as_dict()))
    write_atomic(folder / "environment.json", pretty_json(environment(device)))


def forget(folder: Path) -> None:
    """Remove what an unfinished run has computed; a finished one is left as it is."""
    if not (folder / DONE).exists():
        for name in ("checkpoint.pt", ENCODER, *_OPTIONAL, "metrics.jsonl"):
            (folder / name).unlink(missing_ok=True)


def seal(folder: Path, digest: str) -> None:
    """Write ``done``: from now on the run is finished and its files are what it says."""
    there = [name for name in _OPTIONAL if (folder / name).is_file()]
    files = {name: sha256_file(folder / name) for name in (*_SEALED, *there)}
    write_atomic(folder / DONE, pretty_json({"digest": digest, "files": files}))


def finished(folder: Path, digest: str | None = None) -> dict[str, Any] | None:
    """Return the evaluation of a finished run, or None if it is not finished.

    Raises:
        RunError: It says that it is finished, but a file is missing or differs, or it is another run.
    """
    marker = folder / DONE
    if not marker.is_file():
        return None
    try:
        stated = read_json(marker)
        there = [name for name in _OPTIONAL if name in stated["files"]]
        for name in (*_SEALED, *there):
            if name in FEATURES and not (folder / name).exists():
                continue  # they take space, and can be computed again
            if sha256_file(folder / name) != stated["files"][name]:
                raise RunError(
                    f"{folder / name} has changed since the run ended; delete the folder"
                )
        evaluation = read_json(folder / EVALUATION)
        found = stated["digest"]
    except (KeyError, TypeError) as error:
        raise RunError(f"{marker} is not a marker of biascon; delete the folder") from error
    except RunError:
        raise
    except BiasconError as error:
        raise RunError(f"{error}; delete the folder {folder}") from error
    if digest is not None and found != digest:
        raise RunError(f"{folder} holds another run ({found[:8]}); delete the folder")
    if not isinstance(evaluation, dict) or evaluation.get("digest") != found:
        raise RunError(f"{folder / EVALUATION} does not belong to its run; delete the folder")
    return evaluation


def environment(device: str) -> dict[str, Any]:
    """Return what a reader must know to judge times and last digits: versions, system, device."""
    import torch

    from biascon.losses.distributed import ranks

    packages = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "fairlearn", "pandas")
    about: dict[str, Any] = {
        "biascon": __version__,
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "processes": ranks(),
        "vector": torch.backends.cpu.get_cpu_capability(),
    }
    if device.startswith("cuda"):
        about["accelerator"] = torch.cuda.get_device_name(torch.device(device))
    return about


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> int | None:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
