"""Group fairness by the bias attribute, one class against the rest, and its mean over the classes.

For class k and group b: selection rate P(p = k | b), true positive rate P(p = k | y = k, b), false
positive rate P(p = k | y != k, b). Over the groups, as fairlearn defines them:

- demographic parity difference (max - min) and ratio (min / max) of the selection rates;
- equalized odds difference and ratio: the worse of the two for true and false positive rates;
- equal opportunity difference: of the true positive rates.

A rate without rows is undefined. So is then what compares it with other groups: NaN, where
fairlearn puts 0.0; and so is the ratio of two rates of 0, where it puts 1.0. A group without any
row is no group. The mean over classes is over those for which the metric is defined.

There are two ways to the same numbers: ``through_metric_frame`` asks fairlearn's MetricFrame, from
rows, and gives the reported values; ``from_counts`` works on counts with leading axes, thousands
of replicates at a time, and gives their intervals. The tests hold one against the other.
"""

from __future__ import annotations

import warnings

import numpy as np

from biascon.metrics.counts import divide
from biascon.utils.types import Array

METRICS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
)


def from_counts(counts: Array) -> dict[str, Array]:
    """Return each metric per class, ``(..., K)``, from counts ``(..., K, M, K)``."""
    total = counts.sum(axis=-1)  # (..., K, M) rows of label y in group b
    group = total.sum(axis=-2)  # (..., M)
    selected = np.swapaxes(counts.sum(axis=-3), -1, -2)  # (..., K, M): predicted k in group b
    hits = np.moveaxis(np.diagonal(counts, axis1=-3, axis2=-1), -1, -2)  # (..., K, M)
    present = np.broadcast_to((group > 0)[..., None, :], total.shape)
    selection = divide(selected, group[..., None, :])
    tpr = divide(hits, total)
    fpr = divide(selected - hits, group[..., None, :] - total)
    return _compare(selection, tpr, fpr, present)


def through_metric_frame(
    labels: Array, predictions: Array, bias: Array, n_labels: int
) -> dict[str, Array]:
    """Return each metric per class, ``(K,)``, by one fairlearn MetricFrame a class.

    Args:
        labels: ``(N,)`` integers in 0..K-1; without rows every metric is undefined.
        predictions: ``(N,)``.
        bias: ``(N,)``, the sensitive feature.
        n_labels: K.
    """
    import pandas as pd
    from fairlearn.metrics import MetricFrame

    if len(labels) == 0:
        return {name: np.full(n_labels, np.nan) for name in METRICS}
    rates = {"selection": _selection_rate, "tpr": _true_positive_rate, "fpr": _false_positive_rate}
    frames = [
        MetricFrame(
            metrics=rates,
            y_true=(labels == k).astype(np.int64),
            y_pred=(predictions == k).astype(np.int64),
            sensitive_features=pd.Series(bias),
        ).by_group
        for k in range(n_labels)
    ]
    selection, tpr, fpr = (
        np.stack([frame[name].to_numpy(dtype=np.float64) for frame in frames]) for name in rates
    )
    return _compare(selection, tpr, fpr, np.ones(selection.shape, dtype=bool))


def macro(per_class: Array) -> Array:
    """Return the mean over the classes (last axis) for which the metric is defined, else NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean: Array = np.nanmean(per_class, axis=-1)
    return mean


def _compare(selection: Array, tpr: Array, fpr: Array, present: Array) -> dict[str, Array]:
    """Compare rates ``(..., K, M)`` over the groups that are present."""
    selection_range, tpr_range, fpr_range = (spread(r, present) for r in (selection, tpr, fpr))
    difference = {name: high - low for name, (low, high) in
                  zip("stf", (selection_range, tpr_range, fpr_range), strict=True)}  # fmt: skip
    ratio = {name: divide(low, high) for name, (low, high) in
             zip("stf", (selection_range, tpr_range, fpr_range), strict=True)}  # fmt: skip
    return {
        "demographic_parity_difference": difference["s"],
        "demographic_parity_ratio": ratio["s"],
        "equalized_odds_difference": np.maximum(difference["t"], difference["f"]),
        "equalized_odds_ratio": np.minimum(ratio["t"], ratio["f"]),
        "equal_opportunity_difference": difference["t"],
    }


def spread(rate: Array, present: Array) -> tuple[Array, Array]:
    """Smallest and largest rate over the groups; NaN if one is undefined or there are not two."""
    undefined = (np.isnan(rate) & present).any(axis=-1) | (present.sum(axis=-1) < 2)
    low = np.where(present, rate, np.inf).min(axis=-1)
    high = np.where(present, rate, -np.inf).max(axis=-1)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def _selection_rate(y_true: Array, y_pred: Array) -> float:
    return _rate(np.asarray(y_pred))


def _true_positive_rate(y_true: Array, y_pred: Array) -> float:
    return _rate(np.asarray(y_pred)[np.asarray(y_true) == 1])


def _false_positive_rate(y_true: Array, y_pred: Array) -> float:
    return _rate(np.asarray(y_pred)[np.asarray(y_true) == 0])


def _rate(hits: Array) -> float:
    return float(hits.mean()) if len(hits) else float("nan")
