"""The settings of the augmentation. They are checked without importing PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from biascon.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The distribution of an augmented view. Every transformation can be switched off.

    Attributes:
        crop_scale: The range of the area of the random resized crop, as a share of the image; (1, 1) is off.
        crop_ratio: The range of the aspect ratio of the crop, drawn log-uniformly.
        rotation: The largest angle in degrees. The angle is uniform in [-rotation, rotation]; 0 is off.
        flip_p: The probability of a horizontal flip (0 for digits).
        jitter: The strengths of brightness, contrast, saturation and hue. The first three are factors uniform
            in [max(0, 1 - s), 1 + s]. Hue is a share of a full turn, uniform in [-s, s].
        jitter_p: The probability that a view is jittered; 0 is off.
        grayscale_p: The probability that a view is converted to grayscale.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    rotation: float = 20.0
    flip_p: float = 0.0
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    grayscale_p: float = 0.2

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise UsageError(f"expected 0 < low <= high <= 1 for crop_scale, but got {low}, {high}")
        low, high = self.crop_ratio
        if not 0 < low <= high < math.inf:
            raise UsageError(f"expected 0 < low <= high for crop_ratio, but got {low}, {high}")
        if not 0 <= self.rotation <= 180:
            raise UsageError(f"expected rotation in 0..180 degrees, but got {self.rotation}")
        for name in ("flip_p", "jitter_p", "grayscale_p"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"expected {name} to be a probability, but got {value}")
        are_strengths = all(0 <= strength < math.inf for strength in self.jitter)
        if len(self.jitter) != 4 or not are_strengths or self.jitter[3] > 0.5:
            raise UsageError(
                f"expected four strengths of jitter, hue at most 0.5, but got {list(self.jitter)}"
            )
