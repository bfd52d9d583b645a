"""Predictive parity: whether a prediction of class k means the same in every group.

For class k and group b the precision is P(y = k | p = k, b). Over the groups: the difference (max -
min) and the ratio (min / max), as fairlearn's MetricFrame defines them for scikit-learn's
``precision_score``. Chouldechova, "Fair prediction with disparate impact", Big Data 5(2), 2017.

A group that has rows but is never predicted as k has no precision: what compares it with the others
is NaN, where scikit-learn puts 0.0. So is the ratio of two precisions of 0. A group without any row
is no group.
"""

from __future__ import annotations

import numpy as np

from biascon.errors import UsageError
from biascon.metrics.counts import divide
from biascon.metrics.fairness import spread
from biascon.utils.types import Array

METRICS = ("predictive_parity_difference", "predictive_parity_ratio")


def precision(counts: Array) -> Array:
    """Return P(y = k | p = k, b), ``(..., K, M)``, from counts ``(..., K, M, K)``; NaN without p = k."""
    selected = np.swapaxes(counts.sum(axis=-3), -1, -2)  # (..., K, M): predicted k in group b
    hits = np.moveaxis(np.diagonal(counts, axis1=-3, axis2=-1), -1, -2)
    return divide(hits, selected)


def from_counts(counts: Array) -> dict[str, Array]:
    """Return each metric per class, ``(..., K)``, from counts ``(..., K, M, K)``.

    ``fairness.macro`` gives the mean over the classes, ``binary`` the metric of two classes.
    """
    rates = precision(counts)
    group = counts.sum(axis=(-3, -1))  # (..., M)
    present = np.broadcast_to((group > 0)[..., None, :], rates.shape)
    low, high = spread(rates, present)
    return {
        "predictive_parity_difference": high - low,
        "predictive_parity_ratio": divide(low, high),
    }


def binary(per_class: Array) -> Array:
    """Return the metric of class 1, ``(...)``, of metrics per class ``(..., 2)``.

    With two classes this is what fairlearn and scikit-learn call the metric: class 1 is "positive".
    The macro mean would mix in class 0, whose false positives are the misses of class 1.

    Raises:
        UsageError: Not two classes.

    >>> float(binary(np.array([0.1, 0.3])))
    0.3
    """
    if per_class.shape[-1] != 2:
        raise UsageError(f"expected a metric of two classes, but got {per_class.shape[-1]}")
    positive: Array = per_class[..., 1]
    return positive
