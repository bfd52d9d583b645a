"""A contact sheet of a dataset: a row a class, aligned examples left, conflicting ones right.

Where no alignment is defined, a row has examples of its class, in the order of the split.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from biascon.data.dataset import BiasedDataset
from biascon.errors import DataError
from biascon.utils.files import write_atomic

_COLUMNS = 8  # of each kind
_ZOOM = 2
_GAP = 4
_LEFT, _TOP = 64, 24


def draw_contact_sheet(data: BiasedDataset, split: str, path: Path) -> None:
    """Draw the first images of each class, bias-aligned beside bias-conflicting, as a PNG.

    An empty place means that the split has no more such image.

    Raises:
        DataError: The dataset has no such split.
        BiasconError: The file cannot be written.
    """
    if split not in data.splits:
        raise DataError(f"{data.name} has no {split} split (it has: {', '.join(data.splits)})")
    rows = data.splits[split]
    h, w = (side * _ZOOM for side in rows.images.shape[2:])
    width = _LEFT + 2 * _COLUMNS * (w + _GAP) + 4 * _GAP
    sheet = Image.new("RGB", (width, _TOP + data.n_labels * (h + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    middle = _LEFT + _COLUMNS * (w + _GAP) + 4 * _GAP
    known = data.knows_aligned
    draw.text((_LEFT, 6), f"{data.name}, {split}{': bias-aligned' if known else ''}", fill="black")
    if known:
        draw.text((middle, 6), "bias-conflicting", fill="black")
    for label in range(data.n_labels):
        y = _TOP + label * (h + _GAP)
        draw.text((4, y + h // 2 - 6), data.manifest.labels[label][:9], fill="black")
        kinds = [rows.aligned, ~rows.aligned] if known else [np.ones(len(rows), dtype=bool)]
        for of_kind, x in zip(kinds, (_LEFT, middle), strict=False):
            most = _COLUMNS if known else 2 * _COLUMNS
            chosen = np.flatnonzero((rows.labels == label) & of_kind)[:most]
            for k, row in enumerate(chosen):
                image = Image.fromarray(np.ascontiguousarray(rows.images[row].transpose(1, 2, 0)))
                sheet.paste(image.resize((w, h), Image.Resampling.NEAREST), (x + k * (w + _GAP), y))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())
