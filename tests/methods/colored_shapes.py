"""A small biased dataset: four faint shapes on a background whose color is nearly always that of the class.

The color is so easy that cross-entropy on plain images leans on it. A shape is a little brighter than its
noisy background, at nearly one place: a method that sets the color aside names it after a short training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biascon.data.dataset import BiasedDataset, Split, load, save
from tests.small_datasets import describe_dataset

SHAPES = ("disc", "frame", "plus", "cross")
COLORS = ("red", "green", "blue", "yellow")
RGB = np.array([[200, 40, 40], [40, 170, 40], [50, 50, 210], [190, 180, 40]])
N_CLASSES = len(SHAPES)
SIDE = 28
CONTRAST = 22
NOISE = 30
RHO = 0.97  # the share of bias-aligned training images


def write_colored_shapes(
    folder: Path, *, n: int = 1600, rho: float = RHO, seed: int = 0
) -> BiasedDataset:
    """Write the dataset and read it back.

    The training split has ``n`` images. Every class has the share ``rho`` of aligned images. Its conflicting
    images have the other colors in turn. The other splits have every (shape, color) cell equally often.
    """
    splits = {}
    for number, (name, size) in enumerate({"train": n, "val": 320, "test": 960}.items()):
        rng = np.random.default_rng([seed, number])
        labels = np.arange(size) % N_CLASSES
        colors = np.empty_like(labels)
        for label in range(N_CLASSES):
            rows = rng.permutation(np.flatnonzero(labels == label))
            shift = np.arange(len(rows)) % N_CLASSES
            if name == "train":
                n_conflicting = round(len(rows) * (1 - rho))
                shift = np.zeros(len(rows), np.int64)
                shift[:n_conflicting] = 1 + np.arange(n_conflicting) % (N_CLASSES - 1)
            colors[rows] = (label + shift) % N_CLASSES
        images = draw_shapes(labels, colors, rng)
        splits[name] = Split(images, labels, colors, labels == colors, np.arange(size))
    aligned = ", ".join(f"{shape} = {color}" for shape, color in zip(SHAPES, COLORS, strict=True))
    description = describe_dataset(
        "shapes",
        list(SHAPES),
        bias={"name": "color", "values": list(COLORS), "aligned": aligned},
        parameters={"rho": rho},
    )
    save(folder, splits, description, replace=False)
    return load(folder)


def draw_shapes(labels: np.ndarray, colors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 ``(N, 3, 28, 28)``: shapes on a noisy background, of nearly one place and size."""
    n = len(labels)
    center = rng.integers(13, 15, (2, n, 1, 1))
    radius = rng.integers(8, 10, (n, 1, 1))
    y, x = (np.arange(SIDE)[:, None] - center[0], np.arange(SIDE)[None, :] - center[1])
    square = np.maximum(abs(x), abs(y))
    masks = np.stack(
        (
            x * x + y * y <= (radius - 1) ** 2,
            (square <= radius) & (square > radius - 3),
            (square <= radius) & (np.minimum(abs(x), abs(y)) <= 1),
            (square <= radius) & (abs(abs(x) - abs(y)) <= 1),
        )
    )
    shape = masks[labels, np.arange(n)][:, None]
    noise = rng.integers(-NOISE, NOISE + 1, (n, 3, SIDE, SIDE))
    return (RGB[colors][:, :, None, None] + CONTRAST * shape + noise).clip(0, 255).astype(np.uint8)
