"""Simultaneous intervals: the worst group, and differences and ratios over groups.

The percentile bootstrap is not valid for a maximum or a minimum over groups. Noise raises a maximum and
lowers a minimum, first in the data and again in every resample. In a simulation with 100 cells of 100
rows, the bootstrap intervals of the mean demographic parity difference covered the true value in none of
200 tables, and often did not contain their own estimate. The intervals of this module are conservative:
their coverage is designed to be at least the requested level, and they are wide where cells are small.

- Worst group: the exact interval of each cell (Clopper and Pearson, Biometrika 26, 1934) at Sidak's
  level (Sidak, Journal of the American Statistical Association 62, 1967). All cells are then covered
  together. The limits are the smallest lower limit and the smallest upper limit. Wilson's interval is not
  used: at Sidak's level, with 100 cells of 4 rows, its coverage was 73 %.
- Difference over groups, D = max_g r_g - min_g r_g. Let e_g be the error of the estimated rate of group g.
  The error of D is at most E = max_g e_g - min_g e_g in either direction, for any rates. The limits are
  the estimate -+ the 95 % quantile of E under the bootstrap, clipped to 0..1. For a mean over classes, E is
  the mean of the classes' E. For equalized odds, E is the larger of its two E. With two groups
  E = |e_1 - e_2|, which gives the usual interval.
- Ratio over groups, min_g r_g / max_g r_g: the same method on the errors of log r. The result is a factor.

In simulations of many designs the coverage was 94 % or more. The exception is the equalized odds ratio of
a single class with false positive rates near 0.01: its coverage was 92 to 94 %.

A rate of 0 or 1 has no error under the bootstrap. Therefore one right row and one wrong row are added to
every cell before resampling (Agresti and Coull, The American Statistician 52, 1998, add two of each), and
logarithms are taken of (hits + 1/2) / (rows + 1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from biascon.metrics import fairness
from biascon.metrics.accuracy import correct
from biascon.metrics.counts import divide
from biascon.metrics.intervals import LEVEL, REPLICATES, resample
from biascon.utils.types import Array

Limits = tuple[Array, Array]

# The rates that each comparison of groups uses. Where it uses two rates, the worse of them counts.
COMPARED = {
    "demographic_parity": ("selection",),
    "equalized_odds": ("true_positive", "false_positive"),
    "equal_opportunity": ("true_positive",),
    "predictive_parity": ("precision",),
}


def worst_group_limits(counts: Array, level: float = LEVEL) -> Limits:
    """Return the interval of the worst-group accuracy: the smallest accuracy over the cells with rows.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        level: The minimum coverage, if the rows are independent.

    Returns:
        (low, high), float64 ``()`` each; NaN without rows.
    """
    from scipy import stats

    rows = counts.sum(axis=-1)
    has_rows = rows > 0
    if not has_rows.any():
        return np.asarray(np.nan), np.asarray(np.nan)
    hits, n = correct(counts)[has_rows], rows[has_rows]
    tail = (1 - level ** (1 / len(n))) / 2
    low = np.where(hits > 0, stats.beta.ppf(tail, np.maximum(hits, 1), n - hits + 1), 0.0)
    high = np.where(hits < n, stats.beta.isf(tail, hits + 1, np.maximum(n - hits, 1)), 1.0)
    return np.asarray(low.min()), np.asarray(high.min())


def comparison_limits(
    counts: Array,
    points: Mapping[str, Array],
    rng: np.random.Generator,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> dict[str, Limits]:
    """Return the intervals of the comparisons of groups, for each class and for the mean over classes.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        points: float ``(K,)`` by metric name: the estimates, for metrics of ``fairness.METRICS`` and
            ``fairness.PARITY_METRICS``. Where an estimate is NaN, its limits are NaN, and so are
            those of the mean if the class is the label of a row.
        rng: The generator of the bootstrap; no other computation may use it.
        replicates: The number of resamples.
        level: The minimum coverage.

    Returns:
        ``{name: (low, high), "class/" + name: (low, high)}`` for the metrics in ``points``, float ``()``
        for the mean over classes and float ``(K,)`` for the classes.
    """
    present = counts.sum(axis=(0, 2)) > 0
    counts = counts[:, present]
    if present.sum() < 2:
        return {
            name: (np.full(shape, np.nan),) * 2
            for metric, value in points.items()
            for name, shape in ((metric, ()), (f"class/{metric}", value.shape))
        }
    rate_errors, log_errors = _bootstrap_error_ranges(counts, rng, replicates)
    ratios = {
        name: np.exp(-_range(_log_rate(hits, rows)))
        for name, (hits, rows) in _hits_and_rows(counts).items()
    }
    limits: dict[str, Limits] = {}
    for metric, value in points.items():
        comparison, _, kind = metric.rpartition("_")
        rate_names = COMPARED[comparison]
        defined = ~np.isnan(value)
        mean = fairness.average_labeled(value, counts)
        if kind == "difference":
            error = np.maximum.reduce([rate_errors[name] for name in rate_names])
            limits[f"class/{metric}"] = _difference_limits(value, error, level)
            limits[metric] = _difference_limits(mean, _mean_over_classes(error, defined), level)
        else:
            error = np.maximum.reduce([log_errors[name] for name in rate_names])
            ratio = np.minimum.reduce([ratios[name] for name in rate_names])
            low, high = ratio * np.exp(-error), ratio * np.exp(error)
            limits[f"class/{metric}"] = _ratio_limits(value, low, high, level)
            limits[metric] = _ratio_limits(
                mean, _mean_over_classes(low, defined), _mean_over_classes(high, defined), level
            )
    return limits


def _bootstrap_error_ranges(
    counts: Array, rng: np.random.Generator, replicates: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the range over groups of the bootstrap errors of each rate, and of its logarithm.

    Returns:
        Two dictionaries by name of the rate, float64 ``(R, K)``.
    """
    extended = _add_rows(counts)
    reference = _hits_and_rows(extended)
    rates = {name: divide(hits, rows) for name, (hits, rows) in reference.items()}
    log_rates = {name: _log_rate(hits, rows) for name, (hits, rows) in reference.items()}
    # Adding rows narrows the intervals of small cells. The errors are scaled by (rows with the added
    # ones) / (rows). The square root of this factor would restore the variance; the factor itself also
    # keeps the coverage of cells of 2 to 5 rows.
    scale = {
        name: reference[name][1] / np.maximum(rows, 1)
        for name, (_, rows) in _hits_and_rows(counts).items()
    }
    rate_errors: dict[str, list[Array]] = {name: [] for name in reference}
    log_errors: dict[str, list[Array]] = {name: [] for name in reference}
    for block in resample(extended, rng, replicates):
        for name, (hits, rows) in _hits_and_rows(block).items():
            rate = rates[name]
            # A group that lost all rows in the resample gets the largest possible error.
            error = np.where(
                rows > 0, hits / np.maximum(rows, 1) - rate, np.where(rate < 0.5, 1.0, -1.0)
            )
            rate_errors[name].append(_range(error * scale[name]))
            log_errors[name].append(_range((_log_rate(hits, rows) - log_rates[name]) * scale[name]))
    return (
        {name: np.concatenate(blocks) for name, blocks in rate_errors.items()},
        {name: np.concatenate(blocks) for name, blocks in log_errors.items()},
    )


def _add_rows(counts: Array) -> Array:
    """Add to every cell with rows one right row, and one row with the label's most frequent error."""
    errors = counts.sum(axis=1)  # (K, K): label x prediction
    np.fill_diagonal(errors, -1)
    extended = counts.copy()
    for label, frequent_error in enumerate(errors.argmax(axis=1)):
        has_rows = counts[label].sum(axis=-1) > 0
        extended[label, has_rows, label] += 1
        extended[label, has_rows, frequent_error] += 1
    return extended


def _hits_and_rows(counts: Array) -> dict[str, tuple[Array, Array]]:
    """Return the numerator and the denominator ``(..., K, M)`` of each rate that is compared."""
    total = counts.sum(axis=-1)
    group = np.broadcast_to(total.sum(axis=-2)[..., None, :], total.shape)
    selected = np.swapaxes(counts.sum(axis=-3), -1, -2)
    hits = correct(counts)
    return {
        "selection": (selected, group),
        "true_positive": (hits, total),
        "false_positive": (selected - hits, group - total),
        "precision": (hits, selected),
    }


def _log_rate(hits: Array, rows: Array) -> Array:
    logs: Array = np.log((hits + 0.5) / (rows + 1.0))
    return logs


def _range(values: Array) -> Array:
    """Return the maximum minus the minimum over the groups (last axis)."""
    width: Array = values.max(axis=-1) - values.min(axis=-1)
    return width


def _mean_over_classes(values: Array, defined: Array) -> Array:
    """Return the mean over the classes (last axis) for which the metric is defined."""
    if not defined.any():
        return np.full(values.shape[:-1], np.nan)
    mean: Array = values[..., defined].mean(axis=-1)
    return mean


def _difference_limits(value: Array, error: Array, level: float) -> Limits:
    """Return value -+ the quantile of the errors ``(R, ...)``, clipped to 0..1."""
    radius = np.quantile(error, level, axis=0)
    return np.maximum(value - radius, 0.0), np.minimum(value + radius, 1.0)


def _ratio_limits(value: Array, low: Array, high: Array, level: float) -> Limits:
    """Return the lower quantile of ``low`` and the upper quantile of ``high``.

    The limits are moved where necessary so that they enclose the value, and the upper one is at most 1.
    """
    tail = (1 - level) / 2
    lower, upper = np.quantile(low, tail, axis=0), np.quantile(high, 1 - tail, axis=0)
    return np.minimum(lower, value), np.minimum(np.maximum(upper, value), 1.0)
