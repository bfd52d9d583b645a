"""A small dataset with two bias attributes with alignment pairs, and predictions that read one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from biascon.data.dataset import Split, save
from tests.small_datasets import describe_dataset, draw_images

LABELS = ["urban", "country"]
VALUES = {"bg": ["city", "field"], "co_occur_obj": ["hydrant", "cow"]}


def draw_rows(n: int, rho: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels and two attributes, each equal to the label with probability ``rho``."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    first, second = (np.where(rng.random(n) < rho, labels, 1 - labels) for _ in range(2))
    return labels, first, second


def write_two_biases(
    folder: Path, *, n: int = 400, paired: bool = True, images: bool = False
) -> Path:
    """Write the dataset; without ``paired`` the second attribute has no pairs.

    Without ``images`` every picture is one black pixel.
    """
    splits = {}
    for seed, (name, size, rho) in enumerate(
        [("train", n, 0.9), ("val", n // 2, 0.5), ("test", n, 0.5)]
    ):
        labels, bg, thing = draw_rows(size, rho, seed)
        pixels = draw_images(labels, bg, seed) if images else np.zeros((size, 3, 1, 1), np.uint8)
        attributes = {"bg": bg, "co_occur_obj": thing}
        splits[name] = Split(pixels, labels, bg, labels == bg, np.arange(size), attributes)
    entries: dict[str, Any] = {
        name: {
            "values": values,
            "aligned": [list(pair) for pair in zip(LABELS, values, strict=True)],
        }
        for name, values in VALUES.items()
    }
    if not paired:
        entries["co_occur_obj"]["aligned"] = None
    bias = {"name": "bg", "values": VALUES["bg"], "aligned": "urban = city, country = field"}
    save(
        folder,
        splits,
        describe_dataset("cars", LABELS, bias=bias, attributes=entries),
        replace=True,
    )
    return folder


def predict_mostly(
    attribute: np.ndarray, labels: np.ndarray, share: float, seed: int = 9
) -> np.ndarray:
    """Return predictions that follow the attribute in a share of the rows, and the label in the others."""
    follows = np.random.default_rng(seed).random(len(labels)) < share
    return np.where(follows, attribute, labels)
