"""The run folder ``runs/<dataset>/<loss>/seed<k>-<digest8>/``: what a run is, has done, and left.

``config.toml`` (resolved), ``environment.json``, ``metrics.jsonl``, ``encoder.safetensors``,
``classifier.safetensors`` where the method trains one, ``finetuned.safetensors`` and ``finetune.jsonl``
where fine-tuning judged, ``features-<split>.safetensors`` where they are not
too large, ``predictions.parquet``, ``evaluation.json``, and ``done`` with the SHA-256 of each, written last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biascon.config.run_config import RunConfig
from biascon.config.settings import to_toml
from biascon.errors import BiasconError, RunBusyError, RunError
from biascon.runs.environment import describe_environment
from biascon.utils.files import os_error, pretty_json, read_json, sha256_file, write_atomic

DONE = "done"
EVALUATION = "evaluation.json"
METRICS_LOG = "metrics.jsonl"  # the epochs of training
PREDICTIONS = "predictions.parquet"
ENCODER = "encoder.safetensors"
CLASSIFIER = "classifier.safetensors"  # of methods that train one
FEATURES = tuple(f"features-{part}.safetensors" for part in ("train", "val", "test"))
STEP_LOSSES = "losses.safetensors"  # of a network whose losses another needs
FINETUNED = "finetuned.safetensors"  # encoder and layer after fine-tuning
FINETUNE_LOG = "finetune.jsonl"  # its epochs
UNFINISHED = ("checkpoint.pt", "finetune.pt")
_OPTIONAL = (CLASSIFIER, STEP_LOSSES, FINETUNED, FINETUNE_LOG, *FEATURES)
_SEALED = ("config.toml", "environment.json", METRICS_LOG, ENCODER, PREDICTIONS, EVALUATION)


def run_folder(root: Path, dataset: str, config: RunConfig, digest: str) -> Path:
    """Return the folder of a run; its name holds what tells it from every other run."""
    return root / dataset / config.loss / f"seed{config.seed}-{digest[:8]}"


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Create the folder and hold its lock, which the system frees if the process dies.

    Args:
        folder: The run folder.
        wait: Whether to wait for another process that holds it, or to give up at once.

    Raises:
        RunBusyError: Another process works on this run.
        BiasconError: The place is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout as error:
        raise RunBusyError(f"another process works on {folder}; wait for it, or stop it") from error
    except OSError as error:
        raise os_error(error, "create", folder) from error
    try:
        for left in folder.glob(".*.tmp"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def write_config(folder: Path, config: RunConfig, device: str) -> None:
    """Write what is known before the first step."""
    write_atomic(folder / "config.toml", to_toml(config.as_dict()))
    write_atomic(folder / "environment.json", pretty_json(describe_environment(device)))


def delete_partial(folder: Path) -> None:
    """Remove what an unfinished run has computed; a finished one is left as it is."""
    if not (folder / DONE).exists():
        for name in (*UNFINISHED, ENCODER, *_OPTIONAL, METRICS_LOG):
            (folder / name).unlink(missing_ok=True)


def mark_finished(folder: Path, digest: str) -> None:
    """Write ``done``: from now on the run is finished and its files are what it says."""
    there = [name for name in _OPTIONAL if (folder / name).is_file()]
    files = {name: sha256_file(folder / name) for name in (*_SEALED, *there)}
    write_atomic(folder / DONE, pretty_json({"digest": digest, "files": files}))


def read_finished(folder: Path, digest: str | None = None) -> dict[str, Any] | None:
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
