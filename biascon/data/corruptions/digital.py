"""Brightness, contrast, saturation, elastic deformation, JPEG compression and pixelation.

Each function takes uint8 images ``(N, 3, 32, 32)``, the level 1..5 of CIFAR-10-C and the random numbers of
the images, and returns uint8 ``(N, 3, 32, 32)``. x denotes the pixels in [0, 1].
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from biascon.data.corruptions.draws import ImageDraws
from biascon.data.corruptions.filters import blur, fold, hsv_to_rgb, quantize, rgb_to_hsv
from biascon.utils.types import Array

SIDE = 32
_BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
_CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
_SATURATION = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
_QUALITY = (80, 65, 58, 50, 40)
_PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
# Displacement, its sigma, and the shift of the corners, in parts of the side. Level 1 displaces nothing.
_ELASTIC = (
    (0.0, 0.0, 0.08),
    (0.05, 0.2, 0.07),
    (0.08, 0.06, 0.06),
    (0.1, 0.04, 0.05),
    (0.1, 0.03, 0.03),
)
_CORNERS = np.array([[26, 26], [26, 6], [6, 6]], dtype=np.float32)


def keep_original(images: Array, level: int, draws: ImageDraws) -> Array:
    """Return the images themselves."""
    return images


def brightness(images: Array, level: int, draws: ImageDraws) -> Array:
    """Add a constant to the value of HSV."""
    hsv = rgb_to_hsv(images / 255.0)
    hsv[:, 2] = np.clip(hsv[:, 2] + _BRIGHTNESS[level - 1], 0, 1)
    return quantize(hsv_to_rgb(hsv))


def contrast(images: Array, level: int, draws: ImageDraws) -> Array:
    """Shrink the distance to the mean of each channel: c (x - mean) + mean."""
    sums = images.sum(axis=(2, 3), keepdims=True, dtype=np.int64)
    means = sums / (images.shape[2] * images.shape[3]) / 255.0
    return quantize((images / 255.0 - means) * _CONTRAST[level - 1] + means)


def saturate(images: Array, level: int, draws: ImageDraws) -> Array:
    """Multiply the saturation of HSV, and add a constant to it."""
    factor, offset = _SATURATION[level - 1]
    hsv = rgb_to_hsv(images / 255.0)
    hsv[:, 1] = np.clip(hsv[:, 1] * factor + offset, 0, 1)
    return quantize(hsv_to_rgb(hsv))


def jpeg_compression(images: Array, level: int, draws: ImageDraws) -> Array:
    """Compress each image as a JPEG of low quality with Pillow, and decode it."""
    result = np.empty_like(images)
    for row, image in enumerate(images):
        buffer = io.BytesIO()
        _to_pillow(image).save(buffer, "JPEG", quality=_QUALITY[level - 1])
        with Image.open(buffer) as decoded:
            result[row] = np.asarray(decoded).transpose(2, 0, 1)
    return result


def pixelate(images: Array, level: int, draws: ImageDraws) -> Array:
    """Resize each image to int(32 c) pixels and back with a box filter of Pillow."""
    side, result = int(SIDE * _PIXELATE[level - 1]), np.empty_like(images)
    for row, image in enumerate(images):
        small = _to_pillow(image).resize((side, side), Image.Resampling.BOX)
        result[row] = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BOX)).transpose(
            2, 0, 1
        )
    return result


def _to_pillow(image: Array) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def elastic_transform(images: Array, level: int, draws: ImageDraws) -> Array:
    """Move three corners of a square (an affine map), then each pixel by a smooth random displacement."""
    strength, sigma, shift = (SIDE * part for part in _ELASTIC[level - 1])
    moved = _CORNERS + draws.between(-shift, shift, 3, 2).astype(np.float32)
    warped = _warp(images.astype(np.float32) / np.float32(255), _invert_affine(_CORNERS, moved))
    fields = []
    for _ in range(2):
        noise = draws.between(-1, 1, SIDE, SIDE)
        smooth = blur(noise, sigma, border="reflect", truncate=3.0) if sigma else noise
        fields.append((smooth * strength).astype(np.float32).astype(np.float64))
    dx, dy = fields
    columns, rows = np.arange(SIDE) + dx, np.arange(SIDE)[:, None] + dy
    return quantize(_sample(warped, rows, columns, "reflect"))


def _invert_affine(source: Array, moved: Array) -> Array:
    """Return the maps from the moved to the source corners as ``(N, 2, 3)``; a corner is (column, row)."""
    points, targets = moved.astype(np.float64), source.astype(np.float64)
    x, y = points[..., 0].T, points[..., 1].T  # (3, N)
    area = (x[0] - x[2]) * (y[1] - y[2]) - (x[1] - x[2]) * (y[0] - y[2])
    maps = np.empty((len(moved), 2, 3))
    for axis in (0, 1):
        t = targets[:, axis]
        a = ((t[0] - t[2]) * (y[1] - y[2]) - (t[1] - t[2]) * (y[0] - y[2])) / area
        b = ((x[0] - x[2]) * (t[1] - t[2]) - (x[1] - x[2]) * (t[0] - t[2])) / area
        maps[:, axis] = np.stack([a, b, t[2] - a * x[2] - b * y[2]], axis=1)
    return maps


def _warp(images: Array, maps: Array) -> Array:
    """Apply affine maps with OpenCV's rule: places in units of 1/32 pixel, linear, mirrored border.

    Args:
        images: float32 ``(N, 3, H, W)``.
        maps: float64 ``(N, 2, 3)``: from a place (column, row) in the result to one in the image.
    """
    height, width = images.shape[2:]
    unit = 1 << 10
    places = []
    for axis in (1, 0):  # rows, columns
        a, b, c = (maps[:, axis, k] for k in range(3))
        base = np.rint((b[:, None] * np.arange(height) + c[:, None]) * unit).astype(np.int64) + 16
        steps = np.rint(a[:, None] * np.arange(width) * unit).astype(np.int64)
        places.append(((base[:, :, None] + steps[:, None, :]) >> 5) / 32.0)
    return _sample(images, places[0], places[1], "mirror")


def _sample(images: Array, rows: Array, columns: Array, border: str) -> Array:
    """Interpolate images ``(N, 3, H, W)`` linearly at places ``(N, H, W)``; return float32."""
    height, width = images.shape[2:]
    y, x = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    fy, fx = (rows - y)[:, None], (columns - x)[:, None]
    batch = np.arange(len(images))[:, None, None]

    def read(down: int, right: int) -> Array:
        at = (fold(y + down, height, border), fold(x + right, width, border))
        return np.moveaxis(images[batch, :, at[0], at[1]], -1, 1).astype(np.float64)

    upper = read(0, 0) * (1 - fx) + read(0, 1) * fx
    lower = read(1, 0) * (1 - fx) + read(1, 1) * fx
    return (upper * (1 - fy) + lower * fy).astype(np.float32)
