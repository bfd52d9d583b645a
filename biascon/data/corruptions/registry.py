"""The corruptions by name, and the two lists of Corrupted CIFAR-10."""

from __future__ import annotations

from collections.abc import Callable

from biascon.data.corruptions import digital, drops, noise, weather
from biascon.data.corruptions.draws import ImageDraws
from biascon.utils.types import Array

# A function of uint8 images (N, 3, 32, 32), a level 1..5 and random numbers; it returns uint8 (N, 3, 32, 32).
Corruption = Callable[[Array, int, ImageDraws], Array]

FROST = "frost"  # the corruption that needs pictures
# The other corruptions, by the names of the files of CIFAR-10-C.
CORRUPTIONS: dict[str, Corruption] = {
    "snow": weather.snow,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "spatter": drops.spatter,
    "elastic_transform": digital.elastic_transform,
    "jpeg_compression": digital.jpeg_compression,
    "pixelate": digital.pixelate,
    "saturate": digital.saturate,
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": noise.gaussian_blur,
    "defocus_blur": noise.defocus_blur,
    "glass_blur": noise.glass_blur,
    "motion_blur": noise.motion_blur,
    "zoom_blur": noise.zoom_blur,
    "original": digital.keep_original,
}
# The corruption of class k is the k-th name (Nam et al., NeurIPS 2020).
LISTS: tuple[tuple[str, ...], ...] = (
    (
        "snow", "frost", "fog", "brightness", "contrast", "spatter", "elastic_transform",
        "jpeg_compression", "pixelate", "saturate",
    ),
    (
        "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur",
        "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "original",
    ),
)  # fmt: skip
