"""Equalized odds of several classes, over all predictions: P(prediction = j | label = k, group).

With more than two classes, the false positive rate of one class against the rest, P(p = k | y != k, b),
depends on the mix of the other labels in the group. Groups with different mixes then differ in equalized
odds even if the prediction is independent of the group given the label. The rates of this module have one
label each, so that such a predictor has a difference of 0.
"""

from __future__ import annotations

import numpy as np

from biascon.metrics.intervals import LEVEL
from biascon.metrics.pair_limits import GroupLimits, Limits, critical_value
from biascon.utils.types import Array

MULTICLASS_METRICS = ("multiclass_equalized_odds_difference",)


def multiclass_equalized_odds(counts: Array) -> Array:
    """Return the multi-class equalized odds difference.

    With r(j, k, g) = P(p = j | y = k, b = g), it is the largest difference of a rate over groups::

        max over k and j of  max_g r(j, k, g) - min_g r(j, k, g)

    The maximum is over the groups with rows and the labels with rows. For two classes it is the equalized
    odds difference of either class.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        float64 ``(...)``; NaN where fewer than two groups have rows, and where a group with rows lacks a
        label that another group has.
    """
    rows = counts.sum(axis=-1)  # (..., K, M)
    labeled, present = rows.sum(axis=-1) > 0, rows.sum(axis=-2) > 0
    is_counted = labeled[..., :, None] & present[..., None, :]
    undefined = ((rows == 0) & is_counted).any(axis=(-1, -2)) | (present.sum(axis=-1) < 2)
    rate = counts / np.where(rows > 0, rows, 1)[..., None]
    used = np.broadcast_to(is_counted[..., None], rate.shape)
    high = np.where(used, rate, -np.inf).max(axis=-2)  # (..., K, K)
    low = np.where(used, rate, np.inf).min(axis=-2)
    with np.errstate(invalid="ignore"):
        largest = np.where(labeled[..., None], high - low, -np.inf).max(axis=(-1, -2))
    return np.where(undefined, np.nan, largest)


def multiclass_limits(counts: Array, level: float = LEVEL) -> Limits:
    """Return the interval of the multi-class equalized odds difference, without resampling.

    All pairs of groups have limits that hold together for every label and every prediction
    (``pair_limits``). The rows of different labels are independent. For one label, the predictions are
    counted as independent sets of rates, one fewer than there are predictions.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        level: The minimum coverage.

    Returns:
        (low, high), float64 ``()`` each; NaN where the metric is.
    """
    if np.isnan(multiclass_equalized_odds(counts)):
        return np.asarray(np.nan), np.asarray(np.nan)
    rows = counts.sum(axis=-1)
    present, labeled = rows.sum(axis=0) > 0, rows.sum(axis=1) > 0
    table = counts[labeled][:, present]
    table = table[..., table.sum(axis=(0, 1)) > 0]
    sets = len(table) * max(table.shape[-1] - 1, 1)
    hits = np.swapaxes(table, -1, -2).astype(np.float64)  # (K, J, M)
    n = np.broadcast_to(table.sum(axis=-1)[:, None].astype(np.float64), hits.shape)
    c = critical_value(int(present.sum()), level, sets)
    low, high = GroupLimits.of(hits, n, c).limit_difference()
    return np.asarray(low.max()), np.asarray(high.max())
