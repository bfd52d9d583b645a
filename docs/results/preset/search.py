"""The frontiers of validation accuracy against seconds, from which the presets were chosen.

    python docs/results/preset/search.py cpu data/bmnist-0.997 table.csv [ROW ...]
    python docs/results/preset/search.py faces-cpu data/utkface-race-0.9 faces.csv [ROW ...]

The rows of ``faces-cpu`` whose name begins with 32 are for pictures of 32 pixels (make-utkface --size 32).
Each row is one recipe, trained with every loss and seed in a process of one thread, two at a time. It states
the unbiased accuracy on the validation split. The test split is not loaded. Rows that the table already has
are left out.
"""

from __future__ import annotations

import csv
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

LOSSES = {"cpu": ("supcon", "contex", "contex-clip"), "faces-cpu": ("supcon",)}
SEEDS = (0,)
FIELDS = (
    "row",
    "loss",
    "seed",
    "unbiased",
    "conflicting",
    "n",
    "views_per_second",
    "seconds",
    "cpu_seconds",
)

# name: layers as kernel/stride-channels with p for padding; and settings over the preset.
B = "4p/2-16 4p/2-32 3/2-64 3/1-128"
DIGITS: dict[str, tuple[str, str]] = {
    # The networks, 4 epochs.
    "A": ("4p/2-16 4p/2-32 3p/2-64 3/1-128", "train.epochs=4"),
    "B": (B, "train.epochs=4"),
    "C": ("4p/2-16 3p/2-32 3/2-64 3/1-128", "train.epochs=4"),
    "D": ("4p/2-16 4p/2-32 3p/2-64 2/2-128", "train.epochs=4"),
    "E": ("4p/2-16 4p/2-48 3/2-96 3/1-128", "train.epochs=4"),
    "F": ("6p/3-24 4p/2-48 2/1-96 3/1-128", "train.epochs=4"),
    "G": ("5p/2-16 5p/2-32 3/2-64 3/1-128", "train.epochs=4"),
    # The chosen network with more epochs, other learning rates and other batch sizes.
    "B, 6 epochs": (B, ""),
    "B, 6 epochs, learning rate 0.01": (B, "optimizer.lr=0.01"),
    "B, 6 epochs, batch 192, learning rate 0.02": (
        B,
        "train.batch_size=192 optimizer.lr=0.02",
    ),
    "B, 5 epochs, batch 96": (B, "train.epochs=5 train.batch_size=96"),
}
# Faces: crops and flips in place of the rotation; the last number is the highest learning rate.
VIEWS = "augment.crop_scale=[0.5,1.0] augment.flip_p=0.5 augment.rotation=0 train.min_steps=0"
N = "4p/2-16 4p/2-32 3p/2-64 3p/2-128"
FACES: dict[str, tuple[str, str]] = {
    "32, A, 10 epochs, 8e-3": (DIGITS["A"][0], f"{VIEWS} train.epochs=10 optimizer.lr=8e-3"),
    "32, A, 20 epochs, 8e-3": (DIGITS["A"][0], f"{VIEWS} train.epochs=20 optimizer.lr=8e-3"),
    "32, B, 10 epochs, 8e-3": (B, f"{VIEWS} train.epochs=10 optimizer.lr=8e-3"),
    "32, B, 20 epochs, 8e-3": (B, f"{VIEWS} train.epochs=20 optimizer.lr=8e-3"),
    "32, 32-64-128-128, 8 epochs, 4e-3": (
        "3p/1-32 3p/2-64 3p/2-128 3p/2-128",
        f"{VIEWS} train.epochs=8 optimizer.lr=4e-3",
    ),
    "32, 32-64-128-256, 10 epochs, 4e-3": (
        "4p/2-32 3p/1-64 3p/2-128 3p/2-256",
        f"{VIEWS} train.epochs=10 optimizer.lr=4e-3",
    ),
    "32, B, 20 epochs, 1.6e-2": (B, f"{VIEWS} train.epochs=20 optimizer.lr=1.6e-2"),
    "64, N, 10 epochs, 8e-3": (N, f"{VIEWS} train.epochs=10 optimizer.lr=8e-3"),
    "64, 32-64-128-128, 8 epochs, 8e-3": (
        "4p/2-32 4p/2-64 3p/2-128 3p/2-128",
        f"{VIEWS} train.epochs=8 optimizer.lr=8e-3",
    ),
    "64, 24-48-96-192, 10 epochs, 8e-3": (
        "4p/2-24 4p/2-48 3p/2-96 3p/2-192",
        f"{VIEWS} train.epochs=10 optimizer.lr=8e-3",
    ),
    "64, B, 10 epochs, 4e-3": (B, f"{VIEWS} train.epochs=10 optimizer.lr=4e-3"),
    "64, B, 10 epochs, 8e-3": (B, f"{VIEWS} train.epochs=10 optimizer.lr=8e-3"),
    "64, B, 10 epochs, 1.6e-2": (B, f"{VIEWS} train.epochs=10 optimizer.lr=1.6e-2"),
    "64, B, 20 epochs, 8e-3": (B, f"{VIEWS} train.epochs=20 optimizer.lr=8e-3"),
    "64, B, 10 epochs, 8e-3, crop from 0.25": (
        B,
        f"{VIEWS} augment.crop_scale=[0.25,1.0] train.epochs=10 optimizer.lr=8e-3",
    ),
}
RECIPES = {"cpu": DIGITS, "faces-cpu": FACES}


def encoder(layers: str):
    """Build the network of a row."""
    from torch import nn

    from biascon.models.encoders import Encoder, _conv

    parts: list[nn.Module] = []
    i = 3
    for layer in layers.split():
        kernel, _, rest = layer.partition("/")
        stride, _, channels = rest.partition("-")
        side = int(kernel.rstrip("p"))
        padding = (side - 1) // 2 if kernel.endswith("p") else 0
        parts += _conv(i, int(channels), side, stride=int(stride), padding=padding)
        i = int(channels)
    return Encoder(nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten()), i, 20)


def run(preset: str, row: str, loss: str, seed: int, folder: Path) -> dict[str, object]:
    """Train one run and measure it on validation."""
    import torch

    from biascon.config.factory import make_config
    from biascon.data.dataset import load
    from biascon.evaluation.pipeline import validate
    from biascon.models.encoders import ENCODERS
    from biascon.runs.records import EpochRecord

    layers, settings = RECIPES[preset][row]
    ENCODERS["searched"] = lambda: encoder(layers)
    # Settings of faces-cpu are stated in full, relative to the preset of the digits.
    changed = ["model.encoder=searched", "train.threads=1", *settings.split()]
    config = make_config(loss, seed=seed, preset="cpu", settings=changed)
    data = load(folder, only=("train", "val"))
    epochs: list[EpochRecord] = []
    started, cpu_started = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as root:
        _, accuracies = validate(
            config, data, root=Path(root), device=torch.device("cpu"), on_epoch=epochs.append
        )
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if accuracies is None:
        raise SystemExit(f"{folder} has no validation split")
    speed = statistics.median(epoch.views_per_second for epoch in epochs)
    values = [accuracies[name] for name in ("unbiased", "bias_conflicting")]
    rounded = ["" if value is None else round(value, 4) for value in values]
    cells = (
        row,
        loss,
        seed,
        *rounded,
        accuracies.n,
        speed,
        round(seconds, 1),
        round(cpu_seconds, 1),
    )
    return dict(zip(FIELDS, cells, strict=True))


def main() -> None:
    """Run the rows that are missing and add them to the table."""
    preset, folder, table, *wanted = sys.argv[1:]
    os.environ["OMP_NUM_THREADS"] = "1"
    path = Path(table)
    finished = set()
    if path.exists():
        with path.open(newline="") as file:
            finished = {(r["row"], r["loss"], int(r["seed"])) for r in csv.DictReader(file)}
    todo = [
        (row, loss, seed)
        for row in (wanted or RECIPES[preset])
        for seed in SEEDS
        for loss in LOSSES[preset]
        if (row, loss, seed) not in finished
    ]
    with ProcessPoolExecutor(2) as pool:
        for done in as_completed([pool.submit(run, preset, *job, Path(folder)) for job in todo]):
            line = done.result()
            new = not path.exists()
            fields = FIELDS if new else next(csv.reader(path.read_text().splitlines()))
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, fields, extrasaction="ignore")
                if new:
                    writer.writeheader()
                writer.writerow(line)
            print(line, flush=True)


if __name__ == "__main__":
    main()
