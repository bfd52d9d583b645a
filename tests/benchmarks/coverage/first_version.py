"""The intervals of the first version, kept for the coverage study only.

- mean over cells: the percentile bootstrap; the limits of MOVER with Wilson's limits where it has no width
- differences and ratios over groups: the estimate -+ a quantile of the range of the bootstrap errors
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from biascon.metrics import fairness
from biascon.metrics.accuracy import correct
from biascon.metrics.counts import divide
from biascon.metrics.intervals import LEVEL, REPLICATES, resample, wilson
from biascon.metrics.simultaneous_intervals import COMPARED, Limits
from biascon.utils.types import Array


def mean_of_rates(hits: Array, rows: Array) -> tuple[float, float]:
    """Return the limits of a mean of rates by MOVER with Wilson's limits."""
    k, n = hits[rows > 0].astype(float), rows[rows > 0].astype(float)
    low, high = wilson(k, n)
    rate = k / n
    below, above = (float(np.sqrt((side**2).sum())) / len(n) for side in (rate - low, high - rate))
    return float(rate.mean()) - below, float(rate.mean()) + above


def mean_limits(
    table: Array, aligned: Array, percentile: Mapping[str, Limits]
) -> dict[str, Limits]:
    """Return the intervals of the three means over cells.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells.
        percentile: The percentile bootstrap intervals by metric.
    """
    limits: dict[str, Limits] = {}
    hits, rows = correct(table), table.sum(axis=-1)
    cells = {
        "unbiased": np.ones_like(aligned),
        "bias_aligned": aligned,
        "bias_conflicting": ~aligned,
    }
    for name, chosen in cells.items():
        limits[name] = percentile[name]
        if limits[name][0] == limits[name][1]:
            low, high = mean_of_rates(hits[chosen], rows[chosen])
            limits[name] = np.asarray(low), np.asarray(high)
    return limits


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
