"""Small image sets in the official folder layouts, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WNIDS = ("n01440764", "n01443537", "n01484850")


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, len(path.name)])
    pixels = rng.integers(0, 256, (20, 28, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")


def write_images(
    folder: Path, classes: Sequence[str], n: int, name_format: str = "{k}.jpg"
) -> None:
    for label, name in enumerate(classes):
        for k in range(n):
            write_image(folder / name / name_format.format(k=k, name=name), label * 100 + k)


def make_caltech101(raw: Path, n: int = 33) -> Path:
    root = raw / "caltech101" / "101_ObjectCategories"
    write_images(root, ("Faces", "accordion", "wild_cat"), n, "image_{k:04}.jpg")
    write_images(root, ("BACKGROUND_Google",), 2)
    return raw


def make_caltech256(raw: Path, n: int = 63) -> Path:
    root = raw / "caltech256" / "256_ObjectCategories"
    write_images(root, ("001.ak47", "198.spider"), n)
    write_images(root, ("257.clutter",), 2)
    (root / "198.spider" / "RENAME2").write_text("a stray script")
    (root / "198.spider" / "inner").mkdir()
    write_image(root / "198.spider" / "inner" / "deep.jpg")
    return raw


def make_imagenet(raw: Path) -> Path:
    write_images(raw / "train", WNIDS, 12, "{name}_{k}.JPEG")
    write_images(raw / "val", WNIDS, 2, "ILSVRC2012_val_{name}{k}.JPEG")
    return raw


def make_own_folder(raw: Path, *, val: bool = False) -> Path:
    write_images(raw / "train", ("cat", "dog"), 12)
    write_images(raw / "test", ("cat", "dog"), 4, "{k}.PNG")
    if val:
        write_images(raw / "val", ("cat", "dog"), 3)
    return raw


def get_error_line(outcome: Any, code: int = 1) -> str:
    assert outcome.code == code, outcome
    line: str = outcome.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line
