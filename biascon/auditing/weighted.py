"""The metrics of weighted rows, with intervals by the effective number of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from biascon.auditing.group_rates import GroupRates, Rate, WeightTables, measure_rates
from biascon.metrics import fairness
from biascon.metrics.accuracy import correct
from biascon.metrics.intervals import LEVEL
from biascon.metrics.pair_limits import GroupLimits, Limits
from biascon.metrics.rate_intervals import mean_of_rates, weighted_rates
from biascon.metrics.records import Cell, Metric, MetricSummary
from biascon.metrics.summary import ACCURACIES, COMPARISONS, accuracy_metrics, make_metric
from biascon.utils.types import Array

UNDEFINED_LIMITS = (np.asarray(np.nan), np.asarray(np.nan))
# The rates that each comparison of groups uses.
COMPARED = {
    "demographic_parity": ("selection_rate",),
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
    "equal_opportunity": ("true_positive_rate",),
    "predictive_parity": ("precision",),
}


def measure_weighted(
    counts: Array,
    weights: WeightTables,
    labels: Sequence[str],
    aligned: Array | None,
    *,
    positive: int | None,
    compared: Array,
) -> MetricSummary:
    """Return every metric of weighted rows, without permutation tests and intervals of means over classes.

    Args:
        counts: int64 ``(K, M, K)``: label x group x prediction.
        weights: The weights of the same rows.
        labels: The names of the K classes.
        aligned: bool ``(K, M)``, the bias-aligned cells, or None.
        positive: The index of the positive class, None without one.
        compared: bool ``(M,)``, the groups of the comparisons and of the worst group.
    """
    table = np.asarray(weights.sums, np.float64)
    compared_table = table[:, compared]
    per_class = fairness.from_counts(compared_table) | fairness.parity_from_counts(compared_table)
    rates = measure_rates(counts, weights)
    n = int(counts[:, compared].sum())
    by_class = {
        label: {
            name: make_metric(value[k], n, _comparison_limits(name, rates, k, compared, value[k]))
            for name, value in per_class.items()
        }
        for k, label in enumerate(labels)
    }
    macro = {
        name: make_metric(
            np.asarray(fairness.average_labeled(value, compared_table)), n, UNDEFINED_LIMITS
        )
        for name, value in per_class.items()
    }
    metrics = _accuracies(counts, weights, rates, aligned, compared)
    metrics |= macro if positive is None else by_class[labels[positive]]
    name = None if positive is None else labels[positive]
    return MetricSummary(
        {key: metrics[key] for key in (*ACCURACIES, *COMPARISONS)},
        by_class, None, counts.tolist(), name, macro,
    )  # fmt: skip


def _comparison_limits(
    metric: str, rates: GroupRates, k: int, compared: Array, value: Array
) -> Limits:
    """Return the interval of a comparison of the groups for one class, from all pairs (``pair_limits``).

    The critical value is that of Bonferroni over pairs and rates: with ten groups of 20 rows of weight 1 and
    a rate of 0.5, the interval of the difference holds 0 in 97 % of tables, and in 92 % with
    ``critical_value``, as the numbers of hits are whole.
    """
    from scipy import stats

    used = compared & (rates.effective_n > 0)
    groups = int(used.sum())
    if np.isnan(value) or groups < 2:
        return UNDEFINED_LIMITS
    comparison, _, kind = metric.rpartition("_")
    names = COMPARED[comparison]
    c = float(stats.norm.isf((1 - LEVEL) / (groups * (groups - 1) * len(names))))
    limits = []
    for name in names:
        rate = rates.by_class[name].choose(k, used)
        if np.isnan(rate.value).any():
            return UNDEFINED_LIMITS
        of_groups = GroupLimits.of(rate.hits, rate.effective, c)
        limits.append(
            of_groups.limit_difference() if kind == "difference" else of_groups.limit_ratio()
        )
    lows, highs = zip(*limits, strict=True)
    if kind == "difference":
        return np.maximum.reduce(lows), np.maximum.reduce(highs)
    return np.minimum(np.minimum.reduce(lows), value), np.maximum(np.minimum.reduce(highs), value)


def _accuracies(
    counts: Array,
    weights: WeightTables,
    rates: GroupRates,
    aligned: Array | None,
    compared: Array,
) -> dict[str, Metric]:
    table, squares = (np.asarray(x, np.float64) for x in (weights.sums, weights.squares))
    values = accuracy_metrics(table, aligned)
    hits, hit_squares = correct(table), correct(squares)
    cells = rates.by_class["true_positive_rate"]
    every = np.ones(cells.n.shape, dtype=bool)
    families = [("top1", "unbiased", every)]
    if aligned is not None:
        families += [
            ("bias_aligned_samples", "bias_aligned", aligned),
            ("bias_conflicting_samples", "bias_conflicting", ~aligned),
        ]
    limits: dict[str, Limits] = {}
    n = dict.fromkeys(ACCURACIES, 0)
    for rate_name, mean_name, chosen in families:
        _, low, high = weighted_rates(
            hits[chosen].sum(),
            table[chosen].sum(),
            squares[chosen].sum(),
            hit_squares[chosen].sum(),
        )
        limits[rate_name] = low, high
        low, high = mean_of_rates(cells.hits[chosen], cells.effective[chosen])
        limits[mean_name] = np.asarray(low), np.asarray(high)
        n[rate_name] = n[mean_name] = int(counts[chosen].sum())
    metrics = {
        name: make_metric(values[name], n[name], limits.get(name, UNDEFINED_LIMITS))
        for name in ACCURACIES
    }
    metrics["worst_group"] = _worst_group(cells, compared)
    return metrics


def _worst_group(cells: Rate, compared: Array) -> Metric:
    """Return the smallest accuracy of a cell of the compared groups, with its cell."""
    columns = np.flatnonzero(compared)
    index, metric = lowest_rate(cells.choose(slice(None), columns))
    if index is None:
        return metric
    return dataclasses.replace(metric, cell=Cell(index[0], int(columns[index[1]])))


def lowest_rate(rate: Rate) -> tuple[tuple[int, ...] | None, Metric]:
    """Return the smallest of several rates with its position and its interval.

    The interval is that of ``worst_group_limits``, by effective rows: the exact interval of each rate at
    Sidak's level, and of these the smallest lower and the smallest upper limit.

    Args:
        rate: The rates; those without rows are left out.
    """
    from scipy import stats

    defined = ~np.isnan(rate.value)
    if not defined.any():
        return None, Metric(None, 0)
    position = int(np.where(defined, rate.value, np.inf).argmin())
    index = tuple(int(i) for i in np.unravel_index(position, rate.value.shape))
    hits, n = rate.hits[defined], rate.effective[defined]
    tail = (1 - LEVEL ** (1 / len(n))) / 2
    low = np.where(hits > 0, stats.beta.ppf(tail, np.maximum(hits, 1e-9), n - hits + 1), 0.0)
    high = np.where(hits < n, stats.beta.isf(tail, hits + 1, np.maximum(n - hits, 1e-9)), 1.0)
    limits = np.asarray(low.min()), np.asarray(high.min())
    return index, make_metric(rate.value[index], int(rate.n[index]), limits)
