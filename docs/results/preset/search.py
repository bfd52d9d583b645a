"""The frontier of validation accuracy against seconds, from which the preset ``cpu`` was chosen.

    python docs/results/preset/search.py data/bmnist-0.997 table.csv [ROW ...]

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

LOSSES, SEEDS = ("supcon", "contex", "contex-clip"), (0,)
FIELDS = ("row", "loss", "seed", "unbiased", "conflicting", "n", "views_per_second", "seconds")

# name: layers as kernel/stride-channels with p for padding; and settings over the preset.
B = "4p/2-16 4p/2-32 3/2-64 3/1-128"
RECIPES: dict[str, tuple[str, str]] = {
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


def run(row: str, loss: str, seed: int, folder: Path) -> dict[str, object]:
    """Train one run and measure it on validation."""
    import torch

    from biascon.config.factory import make_config
    from biascon.data.dataset import load
    from biascon.evaluation.pipeline import validate
    from biascon.models.encoders import ENCODERS
    from biascon.runs.records import EpochRecord

    layers, settings = RECIPES[row]
    ENCODERS["searched"] = lambda: encoder(layers)
    changed = ["model.encoder=searched", "train.threads=1", *settings.split()]
    config = make_config(loss, seed=seed, preset="cpu", settings=changed)
    data = load(folder, only=("train", "val"))
    epochs: list[EpochRecord] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as root:
        _, accuracies = validate(
            config, data, root=Path(root), device=torch.device("cpu"), on_epoch=epochs.append
        )
    seconds = time.perf_counter() - started
    if accuracies is None:
        raise SystemExit(f"{folder} has no validation split")
    speed = statistics.median(epoch.views_per_second for epoch in epochs)
    values = [accuracies[name] for name in ("unbiased", "bias_conflicting")]
    rounded = ["" if value is None else round(value, 4) for value in values]
    cells = (row, loss, seed, *rounded, accuracies.n, speed, round(seconds, 1))
    return dict(zip(FIELDS, cells, strict=True))


def main() -> None:
    """Run the rows that are missing and add them to the table."""
    folder, table, *wanted = sys.argv[1:]
    os.environ["OMP_NUM_THREADS"] = "1"
    path = Path(table)
    finished = set()
    if path.exists():
        with path.open(newline="") as file:
            finished = {(r["row"], r["loss"], int(r["seed"])) for r in csv.DictReader(file)}
    todo = [
        (row, loss, seed)
        for row in (wanted or RECIPES)
        for seed in SEEDS
        for loss in LOSSES
        if (row, loss, seed) not in finished
    ]
    with ProcessPoolExecutor(2) as pool:
        for done in as_completed([pool.submit(run, *job, Path(folder)) for job in todo]):
            line = done.result()
            new = not path.exists()
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if new:
                    writer.writeheader()
                writer.writerow(line)
            print(line, flush=True)


if __name__ == "__main__":
    main()
