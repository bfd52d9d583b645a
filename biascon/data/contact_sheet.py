"""A contact sheet of a dataset: one row per class, bias-aligned images left, bias-conflicting images right.

If no alignment is defined, a row shows the first images of the class.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from biascon.data.dataset import BiasedDataset
from biascon.errors import DataError
from biascon.utils.files import write_atomic

_COLUMNS = 8  # bias-aligned images in a row, and as many bias-conflicting images
_ZOOM = 2
_GAP = 4
_LEFT, _TOP = 64, 24


def draw_contact_sheet(data: BiasedDataset, split: str, path: Path) -> None:
    """Draw the first images of each class as a PNG file. A gap means that the split has no more such image.

    Args:
        data: The dataset.
        split: Name of the split.
        path: The PNG file.

    Raises:
        DataError: The dataset has no such split.
        BiasconError: The file cannot be written.
    """
    if split not in data.splits:
        raise DataError(f"{data.name} has no {split} split (it has: {', '.join(data.splits)})")
    images, labels = data.splits[split].images, data.splits[split].labels
    aligned, knows_aligned = data.splits[split].aligned, data.knows_aligned
    h, w = (side * _ZOOM for side in images.shape[2:])
    width = _LEFT + 2 * _COLUMNS * (w + _GAP) + 4 * _GAP
    sheet = Image.new("RGB", (width, _TOP + data.n_labels * (h + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    middle = _LEFT + _COLUMNS * (w + _GAP) + 4 * _GAP
    title = f"{data.name}, {split}{': bias-aligned' if knows_aligned else ''}"
    draw.text((_LEFT, 6), title, fill="black")
    if knows_aligned:
        draw.text((middle, 6), "bias-conflicting", fill="black")
    for label in range(data.n_labels):
        y = _TOP + label * (h + _GAP)
        draw.text((4, y + h // 2 - 6), data.manifest.labels[label][:9], fill="black")
        masks = [aligned, ~aligned] if knows_aligned else [np.ones(len(labels), dtype=bool)]
        for mask, x in zip(masks, (_LEFT, middle), strict=False):
            n_columns = _COLUMNS if knows_aligned else 2 * _COLUMNS
            rows = np.flatnonzero((labels == label) & mask)[:n_columns]
            for k, row in enumerate(rows):
                image = Image.fromarray(np.ascontiguousarray(images[row].transpose(1, 2, 0)))
                sheet.paste(image.resize((w, h), Image.Resampling.NEAREST), (x + k * (w + _GAP), y))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())
