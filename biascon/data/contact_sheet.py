"""A contact sheet of a dataset: one row per class, bias-aligned images left, bias-conflicting images right.

The images are a seeded sample. Each half of a row has about as many images of each bias value, and these are
spread over the rows of the split: n rows are divided into k parts of nearly equal size, and one row is drawn
from each. If no alignment is defined, a row shows images of every bias value. The bias value is written below
each image.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from biascon.data.dataset import BiasedDataset
from biascon.errors import DataError, UsageError
from biascon.utils.files import write_output
from biascon.utils.seeds import permutation
from biascon.utils.text import count_of
from biascon.utils.types import Array

COLUMNS = 8  # bias-aligned images in a row, and as many bias-conflicting images
MAX_CLASSES = 40  # of a dataset with more classes, a sample is drawn
SIDE = 128  # largest side of a thumbnail in pixels
GAP, TEXT = 4, 15  # pixels between thumbnails, and of a line of text
MAX_LEFT = 180  # largest width of the names of classes in pixels


def draw_contact_sheet(data: BiasedDataset, split: str, path: Path, seed: int = 0) -> None:
    """Draw a sample of each class as a PNG file. A gap means that the split has no more such image.

    Args:
        data: The dataset.
        split: Name of the split.
        path: The PNG file.
        seed: Seed of the sample.

    Raises:
        DataError: The dataset has no such split.
        UsageError: The seed is negative.
        BiasconError: The file cannot be written.
    """
    if split not in data.splits:
        raise DataError(f"{data.name} has no {split} split (it has: {', '.join(data.splits)})")
    if seed < 0:
        raise UsageError(f"expected seed to be 0 or more, but got {seed}")
    sheet = _draw(data, split, sample_images(data, split, seed), seed)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_output({path: buffer.getvalue()})


def sample_images(data: BiasedDataset, split: str, seed: int) -> dict[int, list[Array]]:
    """Draw the images of a contact sheet.

    Args:
        data: The dataset.
        split: Name of the split.
        seed: Seed of the sample.

    Returns:
        For each class that is shown, the rows of its bias-aligned and of its bias-conflicting images, int64;
        if no alignment is defined, the rows of its images.
    """
    part, n_labels = data.splits[split], data.n_labels
    labels = list(range(n_labels))
    if n_labels > MAX_CLASSES:
        order = permutation(n_labels, seed, f"contact sheet/{split}/classes")
        labels = sorted(order[:MAX_CLASSES].tolist())
    masks = {"aligned": part.aligned, "conflicting": ~part.aligned}
    if not data.knows_aligned:
        masks = {"all": np.ones(len(part.labels), dtype=bool)}
    n = 2 * COLUMNS // len(masks)
    sample: dict[int, list[Array]] = {}
    for label in labels:
        sample[label] = []
        for name, mask in masks.items():
            rows = np.flatnonzero((part.labels == label) & mask)
            purpose = f"contact sheet/{split}/{label}/{name}"
            sample[label].append(draw_stratified(rows, part.bias[rows], n, seed, purpose))
    return sample


def draw_stratified(rows: Array, strata: Array, n: int, seed: int, purpose: str) -> Array:
    """Draw up to n rows: about as many from each stratum, and spread over the rows of the stratum.

    Args:
        rows: int64 ``(N,)`` in ascending order.
        strata: int64 ``(N,)``: the stratum of each row. With more than n strata, n are drawn.
        n: Number of rows to draw.
        seed: Seed of the draw.
        purpose: Purpose of the random generator.

    Returns:
        int64 ``(min(n, N),)``, stratum by stratum, each in ascending order.

    >>> rows = np.arange(8)
    >>> draw_stratified(rows, rows // 6, 4, 0, "example") // 3
    array([0, 1, 2, 2])
    """
    values, counts = np.unique(strata, return_counts=True)
    shares = np.zeros(len(values), dtype=np.int64)
    order = permutation(len(values), seed, f"{purpose}/strata")
    while shares.sum() < min(n, len(rows)):  # one more row from each stratum that has one
        left = order[shares[order] < counts[order]][: n - int(shares.sum())]
        shares[left] += 1
    drawn = []
    for value, share in zip(values.tolist(), shares.tolist(), strict=True):
        stratum = rows[strata == value]
        bounds = np.arange(share + 1) * len(stratum) // max(share, 1)
        for k in range(share):
            part = stratum[bounds[k] : bounds[k + 1]]
            drawn.append(part[permutation(len(part), seed, f"{purpose}/{value}/{k}")[0]])
    return np.array(drawn, dtype=np.int64)


def _draw(
    data: BiasedDataset, split: str, sample: dict[int, list[Array]], seed: int
) -> Image.Image:
    """Draw the sheet of a sample."""
    part, names = data.splits[split], data.manifest.labels
    font = _load_font()
    w, h = _get_thumbnail_size(part.images.shape[3], part.images.shape[2])
    left = min(MAX_LEFT, max(math.ceil(font.getlength(_clean(names[k]))) for k in sample)) + 3 * GAP
    top, row_height = 2 * TEXT + 2 * GAP, h + TEXT + GAP
    width = left + 2 * COLUMNS * (w + GAP) + 4 * GAP
    sheet = Image.new("RGB", (width, top + len(sample) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    middle = left + COLUMNS * (w + GAP) + 4 * GAP
    _write(draw, (GAP, GAP), _describe(data, split, len(sample), seed), width - 2 * GAP, font)
    if data.knows_aligned:
        _write(draw, (left, GAP + TEXT), "bias-aligned", middle - left, font)
        _write(draw, (middle, GAP + TEXT), "bias-conflicting", middle - left, font)
    for position, (label, halves) in enumerate(sample.items()):
        y = top + position * row_height
        _write(draw, (GAP, y + h // 2 - TEXT // 2), names[label], left - 2 * GAP, font)
        for rows, x_first in zip(halves, (left, middle), strict=False):
            for k, row in enumerate(rows.tolist()):
                x = x_first + k * (w + GAP)
                image = Image.fromarray(np.ascontiguousarray(part.images[row].transpose(1, 2, 0)))
                is_larger = w >= image.width
                method = Image.Resampling.NEAREST if is_larger else Image.Resampling.BOX
                sheet.paste(image.resize((w, h), method), (x, y))
                if data.manifest.bias is not None:
                    value = data.manifest.bias.values[int(part.bias[row])]
                    _write(draw, (x, y + h), value, w, font)
    return sheet


def _describe(data: BiasedDataset, split: str, n_shown: int, seed: int) -> str:
    """Return the first line of a sheet."""
    n_images = count_of(len(data.splits[split]), "image")
    classes = f", {n_shown} of {data.n_labels:,} classes" if n_shown < data.n_labels else ""
    bias = data.manifest.bias
    below = "" if bias is None else f"; below each image: {bias.name}"
    return f"{data.name}, {split}: a sample of {n_images}{classes}, seed {seed}{below}"


def _get_thumbnail_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of a thumbnail: the image times a whole number, or divided by one.

    >>> _get_thumbnail_size(28, 28), _get_thumbnail_size(64, 64), _get_thumbnail_size(224, 224)
    ((112, 112), (128, 128), (112, 112))
    """
    longer = max(width, height)
    if longer <= SIDE:
        return width * (SIDE // longer), height * (SIDE // longer)
    divisor = math.ceil(longer / SIDE)
    return max(1, width // divisor), max(1, height // divisor)


def _load_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of Pillow. Without FreeType, it is a font of fixed size for Latin letters."""
    return ImageFont.load_default(12) if features.check("freetype2") else ImageFont.load_default()


def _clean(text: str) -> str:
    """Return text in one line."""
    return " ".join(text.split())


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write one line of text, cut to a width in pixels."""
    text = _clean(text)
    if not isinstance(font, ImageFont.FreeTypeFont):
        text = text.encode("latin-1", "replace").decode("latin-1")
    if font.getlength(text) > width:
        while text and font.getlength(f"{text}...") > width:
            text = text[:-1]
        text = f"{text.rstrip()}..."
    draw.text(place, text, fill="black", font=font)
