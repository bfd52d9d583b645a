"""CIFAR-10 in the official layout of the binary version, small."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biascon.data.builders.cifar import LAYOUTS, PIXELS
from tests.data.corruptions.drawn import draw_images

LAYOUT = LAYOUTS["cifar10"]
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def write_cifar10(folder: Path, *, per_file: int) -> Path:
    """Write the six files and the list of names; return the folder above them."""
    inner = folder / LAYOUT.folder
    inner.mkdir(parents=True)
    images = draw_images(40).reshape(40, PIXELS)
    for k, name in enumerate((*LAYOUT.train, LAYOUT.test)):
        numbers = np.arange(per_file) + k * per_file
        rows = np.empty((per_file, 1 + PIXELS), dtype=np.uint8)
        rows[:, 0] = numbers * 7 % 10
        rows[:, 1:] = images[numbers % 40]
        (inner / name).write_bytes(rows.tobytes())
    (inner / LAYOUT.names).write_text("\n".join(NAMES) + "\n\n", "utf-8")
    return folder
