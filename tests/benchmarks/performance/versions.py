"""Training speed of an earlier version beside this version, and of the options of the training."""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import torch

from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist

REPOSITORY = Path(__file__).parents[3]
REFERENCE = "00d312e"  # the last commit of recipe version 5
ROUNDS = 3  # processes of each version; the versions take turns
Row = dict[str, Any]

# Prints the views a second of the epochs after the first one. It runs with the package of either version.
TRAIN = """
import dataclasses, json, sys, tempfile
from pathlib import Path
import numpy as np
import torch
from biascon.config.factory import make_config
from biascon.data.dataset import Split, load
from biascon.runs.context import RunContext
from biascon.training.loop import train

folder, loss, device, threads, *settings = sys.argv[1:]
torch.set_num_threads(int(threads))
data = load(Path(folder), only=("train",))
arrays = {key: np.array(array[:12_800]) for key, array in data.splits["train"].arrays().items()}
data = dataclasses.replace(data, splits={"train": Split(**arrays)})
config = make_config(loss, preset="cpu", settings=["train.min_steps=0", "train.epochs=4", *settings])
records = []
with tempfile.TemporaryDirectory() as root:
    context = RunContext(config, data, Path(root), torch.device(device), on_epoch=records.append)
    context.folder.mkdir(parents=True)
    train(context)
print(json.dumps([record.views_per_second for record in records[1:]]))
"""


def versions(device: torch.device) -> list[Row]:
    """Views a second of the training, of the reference version and of this version."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        data = make_biased_mnist(BiasedMNISTSpec(0.997), root=Path(scratch)).folder
        roots = {f"{REFERENCE}, views/s": Path(scratch) / "reference", "now, views/s": REPOSITORY}
        _extract_reference(Path(scratch) / "reference")
        for threads in (1, 2) if device.type == "cpu" else (2,):
            for loss in ("ce", "supcon", "contex"):
                calls = {name: (root, loss, threads) for name, root in roots.items()}
                before, now = _take_turns(calls, data, device).items()
                rows.append(
                    {
                        "what": f"{loss}, {threads} thread(s)",
                        before[0]: before[1],
                        now[0]: now[1],
                        "ratio": round(now[1] / before[1], 2),
                    }
                )
    return rows


def options(device: torch.device) -> list[Row]:
    """Views a second of SupCon with the options of ``[train]`` that change the speed."""
    settings = {
        "float32": ("train.precision=float32",),
        "train.precision=bfloat16": ("train.precision=bfloat16",),
        "train.compile=true": ("train.precision=float32", "train.compile=true"),
    }
    with tempfile.TemporaryDirectory() as scratch:
        data = make_biased_mnist(BiasedMNISTSpec(0.997), root=Path(scratch)).folder
        calls = {name: (REPOSITORY, "supcon", 1, *values) for name, values in settings.items()}
        speeds = _take_turns(calls, data, device)
    first = speeds["float32"]
    return [
        {"what": name, "views/s": speed, "of float32's": round(speed / first, 2)}
        for name, speed in speeds.items()
    ]


def _take_turns(
    calls: dict[str, tuple[Any, ...]], data: Path, device: torch.device
) -> dict[str, int]:
    """Return the median views a second of each call; the calls take turns."""
    speeds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, (root, loss, threads, *settings) in calls.items():
            words = [str(data), loss, str(device), str(threads), *settings]
            environment = {
                **os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)
            }  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", TRAIN, *words],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=root,
            )
            speeds[name] += map(float, done.stdout.splitlines()[-1].strip("[]").split(","))
    return {name: round(statistics.median(values)) for name, values in speeds.items()}


def _extract_reference(folder: Path) -> None:
    """Write the package of the reference version to a folder.

    Raises:
        SystemExit: This is no clone of the repository with its history.
    """
    done = subprocess.run(
        ["git", "archive", REFERENCE, "biascon"], check=False, capture_output=True, cwd=REPOSITORY
    )
    if done.returncode != 0:
        sys.exit(f"error: git has no version {REFERENCE} here: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
