"""The geometry of features: distances within labels and within bias values, uniformity, similarities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from biascon.metrics import representation
from biascon.metrics.representation import PairMean, Similarities
from biascon.utils.types import Array

BINS = 100


@dataclass(frozen=True)
class Geometry:
    """The geometry of the features of images.

    Attributes:
        without_direction: The number of images whose features are all 0; no pair has one of them.
        class_alignment: The mean squared distance of unit features of one label.
        bias_alignment: That of one bias value, None without a bias attribute.
        uniformity: The uniformity of Wang and Isola (ICML 2020).
        similarities: The cosine of pairs of images by kind of pair.
    """

    without_direction: int
    class_alignment: PairMean
    bias_alignment: PairMean | None
    uniformity: PairMean
    similarities: Mapping[str, Similarities]


def measure_geometry(
    features: Array,
    labels: Array,
    bias: Array,
    *,
    has_bias: bool = True,
    views: tuple[Array, Array] | None = None,
) -> Geometry:
    """Return the geometry of features, exactly over all pairs of images.

    Args:
        features: float ``(N, D)``.
        labels: int ``(N,)``.
        bias: int ``(N,)``.
        has_bias: Whether there is a bias attribute.
        views: Features of two augmented views of the same images, for the similarities of kind ``self``.
    """
    norms = np.linalg.norm(features, axis=1)
    has_direction = norms > 0  # an image whose features are all 0 has none
    unit = features[has_direction] / norms[has_direction, None]
    labels, bias = labels[has_direction], bias[has_direction]
    similarities = representation.similarities(unit, labels, bias, bins=BINS)
    if views is not None:
        directions = _directions(*views)
        similarities["self"] = representation.two_view_similarities(*directions, bins=BINS)
    return Geometry(
        without_direction=int((~has_direction).sum()),
        class_alignment=representation.class_alignment(unit, labels),
        bias_alignment=representation.class_alignment(unit, bias) if has_bias else None,
        uniformity=representation.uniformity(unit),
        similarities=similarities,
    )


def _directions(*views: Array) -> list[Array]:
    """Return unit features of the images whose features have a direction in every view."""
    norms = [np.linalg.norm(view, axis=1) for view in views]
    has_direction = np.logical_and.reduce([norm > 0 for norm in norms])
    return [
        view[has_direction] / norm[has_direction, None]
        for view, norm in zip(views, norms, strict=True)
    ]
