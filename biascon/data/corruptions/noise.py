"""Noise and blur. The form of the functions is that of ``biascon.data.corruptions.digital``."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import pdtr

from biascon.data.corruptions.draws import ImageDraws
from biascon.data.corruptions.filters import (
    blur,
    blur_along,
    correlate,
    correlate_axis,
    quantize,
    zoom_center,
)
from biascon.utils.types import Array

_GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)
_SHOT = (500, 250, 100, 75, 50)
_IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)
_SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)
_BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)
_GLASS = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))  # sigma, passes
_DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))  # radius, sigma of its edge
_MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius, sigma
_ZOOM_STOP = (1.06, 1.11, 1.16, 1.21, 1.26)


def gaussian_noise(images: Array, level: int, draws: ImageDraws) -> Array:
    """Add normal noise."""
    return quantize(images / 255.0 + draws.normal(0, _GAUSSIAN[level - 1], *images.shape[1:]))


def speckle_noise(images: Array, level: int, draws: ImageDraws) -> Array:
    """Add normal noise that is proportional to the pixel."""
    x = images / 255.0
    return quantize(x + x * draws.normal(0, _SPECKLE[level - 1], *images.shape[1:]))


def impulse_noise(images: Array, level: int, draws: ImageDraws) -> Array:
    """Set a share of the values to 0 or to 255, with equal probability."""
    is_hit = draws.uniform(*images.shape[1:]) < _IMPULSE[level - 1]
    is_salt = draws.uniform(*images.shape[1:]) < 0.5
    return np.where(is_hit, np.where(is_salt, np.uint8(255), np.uint8(0)), images)


def shot_noise(images: Array, level: int, draws: ImageDraws) -> Array:
    """Replace x by Poisson(c x) / c, drawn with the inverse of the distribution function."""
    photons = _SHOT[level - 1]
    table = _tabulate_poisson(photons)
    places = np.searchsorted(table.ravel(), images + draws.uniform(*images.shape[1:]))
    return quantize((places - images.astype(np.int64) * table.shape[1]) / photons)


@lru_cache(maxsize=len(_SHOT))
def _tabulate_poisson(photons: int) -> Array:
    """Return P(count <= k) for the pixel value v, plus v, in row v and column k: one sorted list."""
    means = np.arange(256) / 255.0 * photons
    counts = np.arange(int(photons + 8 * math.sqrt(photons) + 12))
    table = np.minimum(pdtr(counts, means[:, None]), 1.0) + np.arange(256)[:, None]
    table[:, -1] = np.arange(256) + 1.0
    return table


def gaussian_blur(images: Array, level: int, draws: ImageDraws) -> Array:
    """Blur with a Gaussian filter."""
    return quantize(blur(images / 255.0, _BLUR[level - 1]))


def glass_blur(images: Array, level: int, draws: ImageDraws) -> Array:
    """Blur, move pixels by at most one place, and blur again.

    In the published code the exchange of two pixels copies one of them over the other, because both are views
    of the same array. The published images have this, and so have these.
    """
    sigma, passes = _GLASS[level - 1]
    size = images.shape[-1]
    x = quantize(blur(images / 255.0, sigma))
    batch = np.arange(len(images))
    moves = draws.integers(2, passes, size - 2, size - 2, 2) - 1
    for k in range(passes):
        for i, row in enumerate(range(size - 1, 1, -1)):
            for j, column in enumerate(range(size - 1, 1, -1)):
                dx, dy = moves[:, k, i, j, 0], moves[:, k, i, j, 1]
                x[:, :, row, column] = x[batch, :, row + dy, column + dx]
    return quantize(blur(x / 255.0, sigma))


def defocus_blur(images: Array, level: int, draws: ImageDraws) -> Array:
    """Blur with a disk whose edge is smoothed by a 3 x 3 Gaussian filter."""
    radius, sigma = _DEFOCUS[level - 1]
    grid = np.arange(-4, 5)
    disk = ((grid**2 + grid[:, None] ** 2) <= radius**2).astype(np.float32)
    disk /= disk.sum()
    side = math.exp(-1 / (2 * sigma**2))
    edge = [side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)]
    disk = correlate_axis(correlate_axis(disk, edge, 0, "mirror"), edge, 1, "mirror")
    return quantize(correlate(images / 255.0, disk, "mirror"))


def motion_blur(images: Array, level: int, draws: ImageDraws) -> Array:
    """Blur along a random direction within 45 degrees of the horizontal."""
    radius, sigma = _MOTION[level - 1]
    return blur_along(images, radius, sigma, draws.between(-45, 45))


def zoom_blur(images: Array, level: int, draws: ImageDraws) -> Array:
    """Average the image with its enlargements by 1, 1.01, 1.02, ..."""
    x = images.astype(np.float32) / np.float32(255)
    factors = np.arange(1, _ZOOM_STOP[level - 1], 0.01)
    total = np.zeros_like(x)
    for factor in factors:
        total += zoom_center(x, float(factor))
    return quantize((x + total) / np.float32(len(factors) + 1))
