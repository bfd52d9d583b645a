"""Spatter: drops of water (levels 1 to 3) or mud (levels 4 and 5).

Water needs the edges of the drops (Canny), the distance to them (a 5 x 5 chamfer distance) and the histogram
of the distance. These follow the rules of OpenCV, whose functions the published corruption calls.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from biascon.data.corruptions.draws import ImageDraws
from biascon.data.corruptions.filters import blur, correlate, correlate_axis, quantize
from biascon.utils.types import Array

SIDE = 32
# Mean and deviation of the noise, its sigma, the threshold of a drop, and its opacity (water) or sigma (mud).
_SPATTER = (
    (0.62, 0.1, 0.7, 0.7, 0.5),
    (0.65, 0.1, 0.8, 0.7, 0.5),
    (0.65, 0.3, 1.0, 0.69, 0.5),
    (0.65, 0.1, 0.7, 0.69, 0.6),
    (0.65, 0.1, 0.5, 0.68, 0.6),
)
_WATER, _MUD = (175, 238, 238), (63, 42, 20)  # RGB
_FIRST_MUD = 4  # the first level with mud
_LOW, _HIGH = 50, 150  # thresholds of the edges
_TANGENT = 13573  # tan 22.5 degrees, in units of 2^-15
_FIXED = 1 << 16
_STRAIGHT, _DIAGONAL, _KNIGHT = (round(length * _FIXED) for length in (1.0, 1.4, 2.1969))
_FAR = 1 << 40
_RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def spatter(images: Array, level: int, draws: ImageDraws) -> Array:
    """Add drops where smooth noise is above a threshold."""
    mean, deviation, sigma, threshold, last = _SPATTER[level - 1]
    x = images.astype(np.float32) / np.float32(255)
    liquid = blur(draws.normal(mean, deviation, SIDE, SIDE), sigma)
    liquid = np.where(liquid < threshold, 0.0, liquid)
    if level >= _FIRST_MUD:
        cover = blur((liquid > threshold).astype(np.float32), last)
        cover = np.where(cover < np.float32(0.8), np.float32(0), cover)[:, None]
        return quantize(x * (1 - cover) + _paint(_MUD) * cover)
    drops = (liquid * 255).astype(np.uint8)
    light: Array = drops * _shade_drops(drops)
    highest = light.max(axis=(1, 2), keepdims=True)
    # Without a drop the published code divides 0 by 0. Here the image is then unchanged.
    light = light / np.where(highest > 0, highest, np.float32(1)) * np.float32(last)
    return quantize(x + light[:, None] * _paint(_WATER))


def _paint(rgb: tuple[int, int, int]) -> Array:
    return np.array([value / 255.0 for value in rgb], dtype=np.float32)[:, None, None]


def _shade_drops(drops: Array) -> Array:
    """Return the shading of drops, float32 ``(N, H, W)``: the relief of the distance to their edges."""
    distance = np.minimum(measure_distance(find_edges(drops)), np.float32(20))
    shade = equalize(_average(distance).astype(np.uint8))
    relief = np.clip(correlate(shade, _RELIEF, "mirror"), 0, 255).astype(np.uint8)
    return np.rint(_average(relief.astype(np.float64))).astype(np.float32)


def _average(planes: Array) -> Array:
    """Return the mean of the 3 x 3 pixels around each pixel, of the same dtype."""
    return (correlate(planes, np.ones((3, 3)), "mirror") * (1.0 / 9)).astype(planes.dtype)


def find_edges(planes: Array) -> Array:
    """Return the edges of planes by Canny's rule with Sobel filters, bool ``(N, H, W)``.

    Args:
        planes: uint8 ``(N, H, W)``.
    """
    values = planes.astype(np.float64)
    smooth, slope = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)
    dx = correlate_axis(correlate_axis(values, smooth, 1, "nearest"), slope, 2, "nearest")
    dy = correlate_axis(correlate_axis(values, smooth, 2, "nearest"), slope, 1, "nearest")
    dx, dy = dx.astype(np.int64), dy.astype(np.int64)
    size = np.abs(dx) + np.abs(dy)
    padded = np.pad(size, ((0, 0), (1, 1), (1, 1)))

    def at(down: int, right: int) -> Array:
        height, width = size.shape[1:]
        return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    flat = np.abs(dx) * _TANGENT
    steep = flat + (np.abs(dx) << 16)
    y = np.abs(dy) << 15
    across = (size > at(0, -1)) & (size >= at(0, 1))
    down = (size > at(-1, 0)) & (size >= at(1, 0))
    falling = (size > at(-1, -1)) & (size > at(1, 1))
    rising = (size > at(-1, 1)) & (size > at(1, -1))
    diagonal = np.where((dx < 0) ^ (dy < 0), rising, falling)
    is_ridge = np.where(y < flat, across, np.where(y > steep, down, diagonal)) & (size > _LOW)
    neighbors = np.zeros((3, 3, 3), dtype=bool)
    neighbors[1] = True
    parts, n_parts = ndimage.label(is_ridge, structure=neighbors)
    is_kept = np.zeros(n_parts + 1, dtype=bool)
    is_kept[parts[is_ridge & (size > _HIGH)]] = True
    return is_kept[parts]


def measure_distance(edges: Array) -> Array:
    """Return the distance of each pixel to the nearest edge, float32 ``(N, H, W)``.

    A step to a neighbor has the length 1, a diagonal step 1.4, and a knight's move 2.1969.
    """
    n, height, width = edges.shape
    distance = np.full((n, height + 4, width + 4), _FAR, dtype=np.int64)
    distance[:, 2:-2, 2:-2][edges] = 0
    places = np.arange(width) * _STRAIGHT
    for plane in (distance, distance[:, ::-1, ::-1]):  # forward, then backward
        for row in range(2, height + 2):
            line = plane[:, row, 2:-2]
            for up, right, length in (
                (2, -1, _KNIGHT), (2, 1, _KNIGHT), (1, -2, _KNIGHT), (1, 2, _KNIGHT),
                (1, -1, _DIAGONAL), (1, 1, _DIAGONAL), (1, 0, _STRAIGHT),
            ):  # fmt: skip
                line = np.minimum(line, plane[:, row - up, 2 + right : 2 + right + width] + length)
            plane[:, row, 2:-2] = np.minimum.accumulate(line - places, axis=1) + places
    return (distance[:, 2:-2, 2:-2] / _FIXED).astype(np.float32)


def equalize(planes: Array) -> Array:
    """Equalize the histogram of each plane, uint8 ``(N, H, W)``; a constant plane is kept."""
    result = planes.copy()
    for row, plane in enumerate(planes):
        counts = np.bincount(plane.ravel(), minlength=256)
        first = int(np.flatnonzero(counts)[0])
        if counts[first] == plane.size:
            continue
        counts[first] = 0
        scale = np.float32(255) / np.float32(plane.size - int((plane == first).sum()))
        table = np.rint(np.cumsum(counts).astype(np.float32) * scale)
        result[row] = np.clip(table, 0, 255).astype(np.uint8)[plane]
    return result
