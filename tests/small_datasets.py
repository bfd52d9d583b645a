"""Small datasets for tests: one with two attributes, one without a bias attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from biascon.data.dataset import Split, save

RACE = {"values": ["white", "other"], "aligned": [["round", "white"], ["square", "other"]]}
AGE = {"values": ["young", "middle", "old"], "aligned": None}


def draw_images(labels: np.ndarray, tint: np.ndarray, seed: int) -> np.ndarray:
    """Return uint8 ``(N, 3, 28, 28)``: a block whose position depends on the label, on a red tint."""
    noise = np.random.default_rng(seed).integers(0, 60, (len(labels), 3, 28, 28))
    noise[:, 0] += 60 * tint[:, None, None]
    for row, label in enumerate(labels):
        top = 2 + 3 * int(label)
        noise[row, :, top : top + 6, 8:20] += 120
    return noise.clip(0, 255).astype(np.uint8)


def describe_dataset(name: str, labels: list[str], **changes: Any) -> dict[str, Any]:
    """Return a dataset description, with some of its entries changed."""
    return {
        "name": name,
        "builder": "made",
        "protocol": {"train": "made for a test", "val": "made", "test": "made"},
        "parameters": {},
        "source": {"origin": "nowhere", "sha256": {}},
        "labels": labels,
        "bias": None,
        **changes,
    }


def write_faces(folder: Path, *, n: int = 120) -> Path:
    """Write a dataset with the attributes race (the bias attribute) and age (without aligned values)."""
    splits = {}
    for seed, (name, size) in enumerate({"train": n, "val": n // 2, "test": n}.items()):
        rng = np.random.default_rng(seed)
        labels, age = rng.integers(0, 2, size), rng.integers(0, 3, size)
        race = np.where(rng.random(size) < (0.8 if name == "train" else 0.5), labels, 1 - labels)
        splits[name] = Split(
            draw_images(labels, race, seed), labels, race, labels == race, np.arange(size),
            {"race": race, "age": age},
        )  # fmt: skip
    metadata = describe_dataset(
        "faces",
        ["round", "square"],
        bias={"name": "race", "values": RACE["values"], "aligned": "round = white, square = other"},
        attributes={"race": RACE, "age": AGE},
    )
    save(folder, splits, metadata, replace=False)
    return folder


def write_plain(folder: Path, *, classes: int = 7, n: int = 140) -> Path:
    """Write a dataset without a bias attribute."""
    splits = {}
    for seed, (name, size) in enumerate({"train": n, "val": n // 2, "test": n}.items()):
        labels = np.arange(size) % classes
        bias = np.zeros(size, np.int64)
        splits[name] = Split(
            draw_images(labels, bias, seed), labels, bias, bias > 0, np.arange(size)
        )
    metadata = describe_dataset("plain", [f"class {k}" for k in range(classes)])
    save(folder, splits, metadata, replace=False)
    return folder
