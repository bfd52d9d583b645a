"""Images and pictures of frost from integer arithmetic alone."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from biascon.data.corruptions.draws import ImageDraws
from biascon.data.corruptions.frost import FILES, FIRST, STEP
from biascon.data.corruptions.registry import CORRUPTIONS, FROST, Corruption
from biascon.data.corruptions.weather import make_frost
from biascon.utils.types import Array


def draw_images(n: int) -> Array:
    """Return uint8 ``(n, 3, 32, 32)``."""
    y, x = np.mgrid[:32, :32]
    planes = [
        [(x * y * (k + 1) // 8 + 60 * c + 5 * x * (k % 2)) % 256 for c in range(3)]
        for k in range(n)
    ]
    return np.array(planes, dtype=np.uint8)


def draw_frost(number: int) -> Array:
    """Return a picture of frost, uint8 ``(3, H, W)``."""
    y, x = np.mgrid[: 200 + 10 * number, :240]
    return np.array([(x * (number + 2) + y * (c + 1)) % 256 for c in range(3)], dtype=np.uint8)


def write_frost(folder: Path) -> Path:
    folder.mkdir()
    for number, name in enumerate(FILES):
        Image.fromarray(draw_frost(number).transpose(1, 2, 0)).save(folder / name, format="PNG")
    return folder


@lru_cache(maxsize=1)
def list_corruptions() -> dict[str, Corruption]:
    pictures = [draw_frost(k)[:, FIRST::STEP, FIRST::STEP] for k in range(5)]
    return {**CORRUPTIONS, FROST: make_frost(pictures)}


def corrupt(name: str, images: Array, level: int, keys: list[int] | None = None) -> Array:
    keys = list(range(len(images))) if keys is None else keys
    return list_corruptions()[name](images, level, ImageDraws(0, "golden", keys))
