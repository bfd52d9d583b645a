"""Group fairness metrics: rates of the groups of the bias attribute, compared class by class.

A group is one value of the bias attribute. Each class k is compared with all other classes
(one-vs-rest). The rates of class k in group b, with label y and prediction p, are:

- selection rate: P(p = k | b)
- true positive rate: P(p = k | y = k, b)
- false positive rate: P(p = k | y != k, b)
- precision: P(y = k | p = k, b)

A difference is the largest rate minus the smallest rate over the groups. A ratio is the smallest rate
divided by the largest rate. The metrics are:

- demographic parity: difference and ratio of the selection rates
- equalized odds: difference and ratio of the true positive rates and of the false positive rates;
  the worse of the two counts (Hardt, Price and Srebro, "Equality of opportunity in supervised
  learning", NeurIPS 2016)
- equal opportunity: difference of the true positive rates (the same paper)
- predictive parity: difference and ratio of the precisions (Chouldechova, "Fair prediction with
  disparate impact", Big Data 5(2), 2017)

The definitions are those of fairlearn, except where a rate is undefined:

- A rate without rows is NaN, and so is every metric that compares it. fairlearn returns 0.0.
  scikit-learn returns a precision of 0.0 where class k is never predicted.
- The ratio of two rates of 0 is NaN, as in fairlearn 0.15. If only one of the two ratios of equalized odds
  is one of rates of 0 in every group, the other one counts, as there.
- A group without rows is ignored.

``from_counts`` computes the first five metrics from tables of counts, for many bootstrap replicates at
once. The reported values and their intervals come from it. The tests compare it with fairlearn's
``MetricFrame``, which works on rows and takes longer.
"""

from __future__ import annotations

import warnings

import numpy as np

from biascon.errors import UsageError
from biascon.metrics.counts import divide
from biascon.utils.types import Array

METRICS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
)
PARITY_METRICS = ("predictive_parity_difference", "predictive_parity_ratio")


def from_counts(counts: Array) -> dict[str, Array]:
    """Return every metric of ``METRICS`` for each class, computed from tables of counts.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        float64 ``(..., K)`` by metric name; NaN where the metric is undefined.
    """
    selected = np.swapaxes(counts.sum(axis=-3), -1, -2)  # (..., K, M): predicted k in group b
    hits = np.moveaxis(np.diagonal(counts, axis1=-3, axis2=-1), -1, -2)  # (..., K, M)
    return from_sums(counts.sum(axis=-1), hits, selected)


def from_sums(total: Array, hits: Array, selected: Array) -> dict[str, Array]:
    """Return every metric of ``METRICS`` for each class, computed from sums of tables of counts.

    Args:
        total: int ``(..., K, M)``, the rows with label k in group b.
        hits: int ``(..., K, M)``, the rows with label k and prediction k in group b.
        selected: int ``(..., K, M)``, the rows with prediction k in group b.

    Returns:
        float64 ``(..., K)`` by metric name; NaN where the metric is undefined.
    """
    group = total.sum(axis=-2)  # (..., M)
    present = np.broadcast_to((group > 0)[..., None, :], selected.shape)
    selection = divide(selected, group[..., None, :])
    true_positive = divide(hits, total)
    false_positive = divide(selected - hits, group[..., None, :] - total)
    return _compare(selection, true_positive, false_positive, present)


def compute_precision(counts: Array) -> Array:
    """Return the precision P(y = k | p = k, b) of each class in each group.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        float64 ``(..., K, M)``; NaN where class k is never predicted in group b.
    """
    selected = np.swapaxes(counts.sum(axis=-3), -1, -2)  # (..., K, M): predicted k in group b
    hits = np.moveaxis(np.diagonal(counts, axis1=-3, axis2=-1), -1, -2)  # (..., K, M)
    return divide(hits, selected)


def parity_from_counts(counts: Array) -> dict[str, Array]:
    """Return every metric of ``PARITY_METRICS`` for each class, computed from tables of counts.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        float64 ``(..., K)`` by metric name; NaN where the metric is undefined.
    """
    precision = compute_precision(counts)
    group = counts.sum(axis=(-3, -1))  # (..., M)
    present = np.broadcast_to((group > 0)[..., None, :], precision.shape)
    low, high = find_extremes(precision, present)
    return {
        "predictive_parity_difference": high - low,
        "predictive_parity_ratio": divide(low, high),
    }


def average_classes(per_class: Array) -> Array:
    """Return the macro average: the mean over the classes for which the metric is defined.

    Args:
        per_class: float ``(..., K)``, NaN where the metric is undefined.

    Returns:
        float ``(...)``; NaN where the metric is undefined for every class.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # np.nanmean warns where all values are NaN
        mean: Array = np.nanmean(per_class, axis=-1)
    return mean


def average_labeled(per_class: Array, counts: Array) -> Array:
    """Return the mean over the labeled classes, NaN where the metric of one of them is undefined.

    A labeled class is the label of at least one row. A class that is only predicted is not part of the
    mean: a stray prediction would otherwise change the classes that the mean is over.

    Args:
        per_class: float ``(..., K)``, NaN where the metric is undefined.
        counts: int ``(K, M, K)``: label x bias x prediction.

    Returns:
        float ``(...)``; NaN without rows.
    """
    is_labeled = counts.sum(axis=(1, 2)) > 0
    if not is_labeled.any():
        return np.full(per_class.shape[:-1], np.nan)
    mean: Array = per_class[..., is_labeled].mean(axis=-1)
    return mean


def select_positive_class(per_class: Array) -> Array:
    """Return the metric of class 1, the positive class of a problem with two classes.

    fairlearn and scikit-learn report this value. The macro average also includes class 0, whose false
    positives are the false negatives of class 1.

    Args:
        per_class: float ``(..., 2)``.

    Returns:
        float ``(...)``.

    Raises:
        UsageError: The last axis does not have 2 entries.

    >>> float(select_positive_class(np.array([0.1, 0.3])))
    0.3
    """
    if per_class.shape[-1] != 2:
        raise UsageError(f"expected a metric of two classes, but got {per_class.shape[-1]}")
    positive: Array = per_class[..., 1]
    return positive


def find_extremes(rate: Array, present: Array) -> tuple[Array, Array]:
    """Return the smallest and the largest rate over the groups that have rows.

    Args:
        rate: float ``(..., M)``, NaN where the rate is undefined.
        present: bool ``(..., M)``, whether the group has rows.

    Returns:
        float ``(...)`` twice. Both are NaN where a present group has no rate or fewer than two groups are
        present.
    """
    undefined = (np.isnan(rate) & present).any(axis=-1) | (present.sum(axis=-1) < 2)
    low = np.where(present, rate, np.inf).min(axis=-1)
    high = np.where(present, rate, -np.inf).max(axis=-1)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def _compare(
    selection: Array, true_positive: Array, false_positive: Array, present: Array
) -> dict[str, Array]:
    """Return every metric of ``METRICS`` from rates ``(..., K, M)`` of the groups that are present."""
    extremes = {
        "selection": find_extremes(selection, present),
        "true_positive": find_extremes(true_positive, present),
        "false_positive": find_extremes(false_positive, present),
    }
    difference = {name: high - low for name, (low, high) in extremes.items()}
    ratio = {name: divide(low, high) for name, (low, high) in extremes.items()}
    return {
        "demographic_parity_difference": difference["selection"],
        "demographic_parity_ratio": ratio["selection"],
        "equalized_odds_difference": np.maximum(
            difference["true_positive"], difference["false_positive"]
        ),
        "equalized_odds_ratio": _smaller_ratio(
            extremes["true_positive"], extremes["false_positive"]
        ),
        "equal_opportunity_difference": difference["true_positive"],
    }


def _smaller_ratio(first: tuple[Array, Array], second: tuple[Array, Array]) -> Array:
    """Return the smaller of two ratios low / high; where the rates of one are all 0, the other one.

    Args:
        first: The extremes (low, high) of one rate, float ``(...)`` each; NaN where it is undefined.
        second: The extremes of the other rate.

    Returns:
        float ``(...)``; NaN where a rate is undefined, and where both are 0 in every group.
    """
    ratios = [divide(low, high) for low, high in (first, second)]
    smaller = np.where(first[1] == 0, ratios[1], np.minimum(*ratios))
    return np.where(second[1] == 0, ratios[0], smaller)
