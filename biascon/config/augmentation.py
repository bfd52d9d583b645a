"""The recipe of a view: what augmentation draws from. It needs no PyTorch, so presets can be checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from biascon.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The distribution of a view; every part can be switched off.

    Attributes:
        crop_scale: Range of the area share of the random resized crop; (1, 1) is off.
        crop_ratio: Range of the crop's aspect ratio, drawn log-uniformly.
        rotation: Largest rotation in degrees, drawn uniformly from both sides; 0 is off.
        flip_p: Probability of a horizontal flip (0 for digits).
        jitter: Strengths of brightness, contrast, saturation (factors uniform in
            [max(0, 1 - s), 1 + s]) and hue (share of a full turn, uniform in [-s, s]).
        jitter_p: Probability that a view is jittered at all; 0 is off.
        grayscale_p: Probability that a view loses its color.
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
        strengths = all(0 <= s < math.inf for s in self.jitter)
        if len(self.jitter) != 4 or not strengths or self.jitter[3] > 0.5:
            got = list(self.jitter)
            raise UsageError(f"expected four strengths of jitter, hue at most 0.5, but got {got}")
