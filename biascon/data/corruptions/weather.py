"""Snow, frost and fog. The form of the functions is that of ``biascon.data.corruptions.digital``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from biascon.data.corruptions.draws import ImageDraws
from biascon.data.corruptions.filters import blur_along, quantize, zoom_center
from biascon.utils.types import Array

SIDE = 32
# Mean and deviation of the flakes, zoom, threshold, radius and sigma of the blur, and share of the image.
_SNOW = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
_FROST = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))  # weights of image and frost
_FOG = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))  # strength, decay of the noise
_LUMA = (0.299, 0.587, 0.114)


def snow(images: Array, level: int, draws: ImageDraws) -> Array:
    """Whiten the image, and add flakes: noise above a threshold, blurred along a random direction.

    The flakes are added twice, the second time rotated by 180 degrees.
    """
    mean, deviation, zoom, threshold, radius, sigma, share = _SNOW[level - 1]
    x = images.astype(np.float32) / np.float32(255)
    flakes = zoom_center(draws.normal(mean, deviation, SIDE, SIDE), zoom)
    flakes = quantize(np.where(flakes < threshold, 0.0, flakes))[:, None]
    flakes = blur_along(flakes, radius, sigma, draws.between(-135, -45)) / 255.0
    red, green, blue = (np.float32(weight) * x[:, k] for k, weight in enumerate(_LUMA))
    gray = (red + green + blue)[:, None]
    white = np.maximum(x, gray * np.float32(1.5) + np.float32(0.5))
    x = np.float32(share) * x + np.float32(1 - share) * white
    return quantize(x + flakes + flakes[..., ::-1, ::-1])


def fog(images: Array, level: int, draws: ImageDraws) -> Array:
    """Add a plasma fractal f in [0, 1]: (x + c f) m / (m + c) with m = max x."""
    strength, decay = _FOG[level - 1]
    x = images / 255.0
    top = x.max(axis=(1, 2, 3), keepdims=True)
    plasma = make_plasma(draws, decay)[:, None]
    return quantize((x + strength * plasma) * top / (top + strength))


def make_plasma(draws: ImageDraws, decay: float) -> Array:
    """Return height maps of the diamond-square algorithm, float64 ``(N, 32, 32)`` in [0, 1], periodic.

    A point is the mean of four neighbors plus noise in +-w^2. w starts at 100 and is divided by ``decay``
    after each halving of the distance.
    """
    plasma = np.zeros((len(draws), SIDE, SIDE))
    step, wobble = SIDE, 100.0

    def mean_of(total: Array) -> Array:
        noise = draws.between(-wobble, wobble, *total.shape[1:])
        return total / 4 + wobble * noise

    while step >= 2:
        half = step // 2
        corners = plasma[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        plasma[:, half::step, half::step] = mean_of(pairs + np.roll(pairs, -1, axis=2))
        centers, corners = plasma[:, half::step, half::step], plasma[:, ::step, ::step]
        above = centers + np.roll(centers, 1, axis=1)
        plasma[:, ::step, half::step] = mean_of(above + (corners + np.roll(corners, -1, axis=2)))
        left = centers + np.roll(centers, 1, axis=2)
        plasma[:, half::step, ::step] = mean_of(left + (corners + np.roll(corners, -1, axis=1)))
        step, wobble = half, wobble / decay
    plasma -= plasma.min(axis=(1, 2), keepdims=True)
    highest: Array = plasma.max(axis=(1, 2), keepdims=True)
    return plasma / highest


def make_frost(pictures: Sequence[Array]) -> Callable[[Array, int, ImageDraws], Array]:
    """Return the corruption frost: a x + b times a random square of 32 pixels of a random picture.

    Args:
        pictures: The pictures of frost, uint8 ``(3, H, W)``, already reduced; H and W are 33 or more.
    """

    def frost(images: Array, level: int, draws: ImageDraws) -> Array:
        own, other = _FROST[level - 1]
        choices, places = draws.integers(len(pictures)), draws.uniform(2)
        result = np.empty_like(images)
        for row, choice in enumerate(choices):
            picture = pictures[choice]
            top, left = (
                int(u * (size - SIDE))
                for u, size in zip(places[row], picture.shape[1:], strict=True)
            )
            square = picture[:, top : top + SIDE, left : left + SIDE]
            result[row] = np.clip(own * images[row] + other * square, 0, 255).astype(np.uint8)
        return result

    return frost
