"""Filters for batches of square planes, and the conversion between RGB and HSV.

Sums are made tap by tap in a fixed order, so that a result depends neither on the size of the batch nor on
the machine. ``planes`` are float ``(..., H, W)``; the dtype is kept, and sums are made in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from biascon.utils.types import Array

BORDERS = ("nearest", "reflect", "mirror")


def quantize(values: Array) -> Array:
    """Return uint8 of values in [0, 1]: 255 times the clipped value, without its fraction."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def fold(index: Array, size: int, border: str) -> Array:
    """Map positions outside 0..size-1 to positions inside, for the three forms of a border.

    Args:
        index: Integers of any shape.
        size: The number of pixels on the axis.
        border: ``nearest`` repeats the last pixel (aaa|abc), ``reflect`` mirrors with it (cba|abc), and
            ``mirror`` without it (dcb|abc).

    >>> [fold(np.arange(-2, 2), 3, border).tolist() for border in BORDERS]
    [[0, 0, 0, 1], [1, 0, 0, 1], [2, 1, 0, 1]]
    """
    if border == "nearest":
        return np.clip(index, 0, size - 1)
    if border == "reflect":
        index = index % (2 * size)
        return np.where(index < size, index, 2 * size - 1 - index)
    index = index % (2 * size - 2)
    return np.where(index < size, index, 2 * size - 2 - index)


def correlate_axis(planes: Array, weights: Sequence[float], axis: int, border: str) -> Array:
    """Return the sum over taps k of ``weights[k]`` times the plane, shifted by k minus the middle."""
    size, middle = planes.shape[axis], len(weights) // 2
    total = np.zeros(planes.shape, dtype=np.float64)
    for tap, weight in enumerate(weights):
        rows = fold(np.arange(size) + tap - middle, size, border)
        total += weight * np.take(planes, rows, axis=axis)
    return total.astype(planes.dtype)


def correlate(planes: Array, kernel: Array, border: str) -> Array:
    """Return the correlation with a square kernel ``(k, k)``, k odd; float64."""
    height, width = planes.shape[-2:]
    middle = len(kernel) // 2
    total = np.zeros(planes.shape, dtype=np.float64)
    for row, column in zip(*np.nonzero(kernel), strict=True):
        y = fold(np.arange(height) + row - middle, height, border)
        x = fold(np.arange(width) + column - middle, width, border)
        total += float(kernel[row, column]) * planes[..., y[:, None], x]
    return total


def blur(planes: Array, sigma: float, *, border: str = "nearest", truncate: float = 4.0) -> Array:
    """Return the planes after a Gaussian filter with standard deviation ``sigma``, in pixels.

    The kernel has the radius int(truncate * sigma + 0.5) and sums to 1, as SciPy's.
    """
    radius = int(truncate * sigma + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    weights = [weight / sum(weights) for weight in weights]
    once = correlate_axis(planes, weights, planes.ndim - 2, border)
    return correlate_axis(once, weights, planes.ndim - 1, border)


def blur_along(planes: Array, radius: float, sigma: float, degrees: Array) -> Array:
    """Return the planes after ImageMagick's motion blur: half a Gaussian along a line.

    With w = 2 ceil(radius) + 1 taps, tap i has the weight exp(-i^2 / (2 sigma^2)) before they are divided by
    their sum. It reads the pixel ceil(i cos(a) - 1/2) columns and ceil(i sin(a) - 1/2) rows away; a is the
    angle. Pixels outside are those of the border. The sum is rounded to 16 bits (a pixel times 257), and cut
    to 8 bits.

    Args:
        planes: uint8 ``(N, C, H, W)``.
        radius: In pixels.
        sigma: In pixels.
        degrees: float ``(N,)``: the angle of each image.

    Returns:
        uint8 ``(N, C, H, W)``.
    """
    n, _, height, width = planes.shape
    taps = 2 * math.ceil(radius) + 1
    weights = [math.exp(-(i * i) / (2.0 * sigma * sigma)) for i in range(taps)]
    weights = [weight / sum(weights) for weight in weights]
    cosines = np.array([math.cos(math.radians(angle)) for angle in degrees])
    sines = np.array([math.sin(math.radians(angle)) for angle in degrees])
    values = planes.astype(np.float64) * 257.0
    total = np.zeros(planes.shape)
    batch = np.arange(n)[:, None, None]
    for i, weight in enumerate(weights):
        rows = np.arange(height) + np.ceil(i * sines - 0.5).astype(np.int64)[:, None]
        columns = np.arange(width) + np.ceil(i * cosines - 0.5).astype(np.int64)[:, None]
        y = np.clip(rows, 0, height - 1)[:, :, None]
        x = np.clip(columns, 0, width - 1)[:, None, :]
        total += weight * np.moveaxis(values[batch, :, y, x], -1, 1)
    return ((total + 0.5).astype(np.int64) // 257).astype(np.uint8)


def zoom_center(planes: Array, factor: float) -> Array:
    """Enlarge the center of square planes ``(..., S, S)`` by a factor >= 1, linearly; the size is kept.

    A square of side ceil(S / factor) is cut out and enlarged to round(side * factor), corner on corner. The S
    pixels after half of the surplus are returned.
    """
    size = planes.shape[-1]
    side = math.ceil(size / factor)
    top, enlarged = (size - side) // 2, round(side * factor)
    trim = (enlarged - size) // 2
    places = np.arange(trim, trim + size) * ((side - 1) / (enlarged - 1))
    low = np.minimum(places.astype(np.int64), side - 1)
    high, share = np.minimum(low + 1, side - 1), places - low
    inner = planes[..., top : top + side, top : top + side].astype(np.float64)
    rows = inner[..., low, :] * (1 - share)[:, None] + inner[..., high, :] * share[:, None]
    zoomed: Array = rows[..., low] * (1 - share) + rows[..., high] * share
    return zoomed.astype(planes.dtype)


def rgb_to_hsv(rgb: Array) -> Array:
    """Return hue, saturation and value, each in [0, 1], of RGB values in [0, 1]; ``(N, 3, H, W)``."""
    red, green, blue = rgb[:, 0], rgb[:, 1], rgb[:, 2]
    value: Array = rgb.max(axis=1)
    delta = value - rgb.min(axis=1)
    is_gray = delta == 0
    step = np.where(is_gray, 1.0, delta)
    hue = np.where(red == value, (green - blue) / step, 0.0)
    hue = np.where(green == value, 2.0 + (blue - red) / step, hue)
    hue = np.where(blue == value, 4.0 + (red - green) / step, hue)
    hue = np.where(is_gray, 0.0, (hue / 6.0) % 1.0)
    saturation = np.where(is_gray, 0.0, delta / np.where(is_gray, 1.0, value))
    return np.stack([hue, saturation, value], axis=1)


def hsv_to_rgb(hsv: Array) -> Array:
    """Return RGB values in [0, 1] of hue, saturation and value; ``(N, 3, H, W)``."""
    hue, saturation, value = hsv[:, 0], hsv[:, 1], hsv[:, 2]
    sector = np.floor(hue * 6)
    f = hue * 6 - sector
    p, q = value * (1 - saturation), value * (1 - f * saturation)
    t = value * (1 - (1 - f) * saturation)
    choice = sector.astype(np.int64) % 6
    red = np.choose(choice, [value, q, p, p, t, value])
    green = np.choose(choice, [t, value, value, q, p, p])
    blue = np.choose(choice, [p, p, t, value, value, q])
    return np.stack([red, green, blue], axis=1)
