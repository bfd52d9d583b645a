"""All metrics of one table of counts, each with its number of rows and its 95 % interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from biascon.metrics import accuracy, amplification, fairness
from biascon.metrics.intervals import bootstrap, mean_of_rates, wilson
from biascon.metrics.permutation import permutation_test
from biascon.metrics.records import Cell, Metric, MetricSummary, PermutationResult
from biascon.metrics.simultaneous_intervals import Limits, comparison_limits, worst_group_limits
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array

ACCURACIES = (
    "top1",
    "unbiased",
    "bias_aligned",
    "bias_conflicting",
    "worst_group",
    "bias_aligned_samples",
    "bias_conflicting_samples",
)
NEED_ALIGNED = tuple(name for name in ACCURACIES if name.startswith("bias_"))
# The metrics that compare the groups of the bias attribute.
COMPARISONS = (*fairness.METRICS, *fairness.PARITY_METRICS)
# The third amplification metric needs predictions of the bias attribute.
AMPLIFICATIONS = amplification.METRICS[:2]
# The metrics of the permutation test, by how the bias values are permuted: among all rows, or among
# the rows of each label.
NULLS = {
    "rows": ("demographic_parity_difference",),
    "labels": ("worst_group", "equalized_odds_difference", "equal_opportunity_difference"),
}
# Tables with more entries are not tested: the permutations would take minutes.
MAX_PERMUTED = 20_000


def accuracy_metrics(table: Array, aligned: Array | None) -> dict[str, Array]:
    """Return every metric of ``ACCURACIES`` of tables of counts.

    Args:
        table: int ``(..., K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells. None if they are unknown: the metrics of
            ``NEED_ALIGNED`` are then NaN.

    Returns:
        float64 ``(...)`` by metric name; NaN where the metric is undefined.
    """
    if aligned is None:
        values = accuracy_metrics(table, np.zeros(table.shape[-3:-1], dtype=bool))
        undefined = np.full(table.shape[:-3], np.nan)
        return {name: undefined if name in NEED_ALIGNED else values[name] for name in ACCURACIES}
    return {
        "top1": accuracy.top1(table),
        "unbiased": accuracy.unbiased(table),
        "bias_aligned": accuracy.bias_aligned(table, aligned),
        "bias_conflicting": accuracy.bias_conflicting(table, aligned),
        "worst_group": accuracy.worst_group(table),
        "bias_aligned_samples": accuracy.aligned_samples(table, aligned),
        "bias_conflicting_samples": accuracy.conflicting_samples(table, aligned),
    }


def measure_rate(is_correct: Array) -> Metric:
    """Return the share of correct rows with its Wilson interval.

    Args:
        is_correct: bool ``(N,)``.
    """
    rows = len(is_correct)
    value = np.asarray(is_correct.mean() if rows else np.nan)
    return make_metric(value, rows, wilson(int(is_correct.sum()), rows))


def measure_counts(
    table: Array,
    labels: Sequence[str],
    aligned: Array | None,
    *,
    seed: int,
    per_class: Mapping[str, Array] | None = None,
    training: Array | None = None,
    intervals: bool = True,
) -> MetricSummary:
    """Return every metric of a table of counts.

    Args:
        table: int64 ``(K, M, K)``: label x bias x prediction.
        labels: The names of the K classes.
        aligned: bool ``(K, M)``, the bias-aligned cells. None if they are unknown: the metrics of
            ``NEED_ALIGNED`` are then None, with n = 0.
        seed: The random seed of the bootstrap and of the permutation tests.
        per_class: float ``(K,)`` by metric of ``fairness.METRICS``, if these were computed from rows.
            None computes them from the table.
        training: int ``(K, M)``, the number of training rows of each cell. None if it is unknown: the
            metrics of ``AMPLIFICATIONS`` are then None, with n = 0.
        intervals: Whether to compute the intervals and the permutation tests. If not, they are None.
    """
    per_class = dict(fairness.from_counts(table) if per_class is None else per_class)
    per_class |= fairness.parity_from_counts(table)
    smooth_metrics = _smooth_metrics(aligned, training)
    points = estimate_points(table, per_class, smooth_metrics)
    if intervals:
        limits = estimate_intervals(table, aligned, per_class, smooth_metrics, seed)
    else:
        limits = _undefined_intervals(points, per_class)
    return MetricSummary(
        assemble_metrics(table, aligned, points, limits, has_training=training is not None),
        assemble_classes(table, labels, per_class, limits),
        run_permutation_tests(table, seed) if intervals and table.size <= MAX_PERMUTED else None,
        table.tolist(),
    )


def estimate_points(
    table: Array,
    per_class: Mapping[str, Array],
    smooth_metrics: Callable[[Array], dict[str, Array]],
) -> dict[str, Array]:
    """Return the value of every metric over all classes.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        per_class: float ``(K,)`` by metric of ``COMPARISONS``.
        smooth_metrics: Returns the accuracies without the worst group, and the amplifications, of tables
            ``(..., K, M, K)``.

    Returns:
        float ``()`` by metric name; NaN where the metric is undefined.
    """
    return {
        **smooth_metrics(table),
        "worst_group": accuracy.worst_group(table),
        **{name: fairness.average_classes(value) for name, value in per_class.items()},
    }


def estimate_intervals(
    table: Array,
    aligned: Array | None,
    per_class: Mapping[str, Array],
    smooth_metrics: Callable[[Array], dict[str, Array]],
    seed: int,
) -> dict[str, Limits]:
    """Return the 95 % interval of every metric.

    The method depends on the metric:

    - a single rate (top-1, accuracy over the rows of a set of cells): Wilson's interval
    - a mean of rates, and the amplifications: the percentile bootstrap; ``mean_of_rates`` where the
      bootstrap interval has no width
    - the worst group and the comparisons of groups: ``simultaneous_intervals``

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells, or None.
        per_class: float ``(K,)`` by metric of ``COMPARISONS``.
        smooth_metrics: The metrics of the percentile bootstrap, as for ``estimate_points``.
        seed: The random seed.

    Returns:
        (low, high): float ``()`` by metric name, and float ``(K,)`` by ``"class/" + name`` for the
        comparisons of groups.
    """
    limits: dict[str, Limits] = {
        **bootstrap(table, smooth_metrics, numpy_generator(seed, "bootstrap"))
    }
    limits |= _rate_intervals(table, aligned, limits)
    limits["worst_group"] = worst_group_limits(table)
    limits |= comparison_limits(table, per_class, numpy_generator(seed, "comparisons"))
    return limits


def assemble_metrics(
    table: Array,
    aligned: Array | None,
    points: Mapping[str, Array],
    limits: Mapping[str, Limits],
    *,
    has_training: bool,
) -> dict[str, Metric]:
    """Return every metric over all classes as a record with its number of rows.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells, or None.
        points: float ``()`` by metric name.
        limits: The 95 % intervals by metric name.
        has_training: Whether the training counts are known; if not, n of the amplifications is 0.
    """
    rows = int(table.sum())
    aligned_rows = 0 if aligned is None else int(table[aligned].sum())
    conflicting_rows = 0 if aligned is None else rows - aligned_rows
    n = {
        "bias_aligned": aligned_rows,
        "bias_aligned_samples": aligned_rows,
        "bias_conflicting": conflicting_rows,
        "bias_conflicting_samples": conflicting_rows,
    } | dict.fromkeys(AMPLIFICATIONS, rows if has_training else 0)
    metrics = {
        name: make_metric(points[name], n.get(name, rows), limits[name])
        for name in (*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS)
    }
    worst = accuracy.worst_cell(table)
    if worst is not None:
        metrics["worst_group"] = dataclasses.replace(
            metrics["worst_group"], n=int(table[worst].sum()), cell=Cell(*worst)
        )
    return metrics


def assemble_classes(
    table: Array,
    labels: Sequence[str],
    per_class: Mapping[str, Array],
    limits: Mapping[str, Limits],
) -> dict[str, dict[str, Metric]]:
    """Return the comparisons of groups for each class as records, by label and metric name.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        labels: The names of the K classes.
        per_class: float ``(K,)`` by metric of ``COMPARISONS``.
        limits: float ``(K,)`` twice by ``"class/" + name``.
    """
    rows = int(table.sum())
    by_class: dict[str, dict[str, Metric]] = {}
    for k, label in enumerate(labels):
        by_class[label] = {}
        for name, value in per_class.items():
            low, high = limits[f"class/{name}"]
            by_class[label][name] = make_metric(value[k], rows, (low[k], high[k]))
    return by_class


def run_permutation_tests(table: Array, seed: int) -> dict[str, PermutationResult]:
    """Return the permutation test of every metric of ``NULLS``.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        seed: The random seed.
    """
    results = {}
    for within, names in NULLS.items():

        def compute_metrics(tables: Array, names: Sequence[str] = names) -> dict[str, Array]:
            values = {"worst_group": accuracy.worst_group(tables)}
            for name, per_class in fairness.from_counts(tables).items():
                values[name] = fairness.average_classes(per_class)
            return {name: values[name] for name in names}

        null_distributions = permutation_test(
            table,
            compute_metrics,
            numpy_generator(seed, f"permutation/{within}"),
            within=within,
            lower={"worst_group"} & set(names),
        )
        for name, null in null_distributions.items():
            results[name] = PermutationResult(
                finite_or_none(null.expected), finite_or_none(null.p), within, null.replicates
            )
    return results


def make_metric(value: Array, n: int, limits: tuple[Array, ...]) -> Metric:
    """Return a metric as a record, with None in place of numbers that are not finite.

    Args:
        value: float ``()``.
        n: The number of rows.
        limits: The lower and the upper limit of the interval, float ``()`` each.
    """
    low, high = (finite_or_none(limit) for limit in limits)
    return Metric(finite_or_none(value), n, low, high)


def finite_or_none(value: Array | float) -> float | None:
    """Return a number as a Python float, None where it is not finite."""
    number = float(value)
    return number if np.isfinite(number) else None


def _smooth_metrics(
    aligned: Array | None, training: Array | None
) -> Callable[[Array], dict[str, Array]]:
    """Return a function that computes the metrics for which the percentile bootstrap is valid."""

    def compute_metrics(tables: Array) -> dict[str, Array]:
        n_labels, n_bias = tables.shape[-3:-1]
        # With zero training rows the amplifications are NaN.
        training_counts = np.zeros((n_labels, n_bias), np.int64) if training is None else training
        amplifications = amplification.from_counts(training_counts, tables)
        metrics = accuracy_metrics(tables, aligned)
        metrics |= {name: amplifications[name] for name in AMPLIFICATIONS}
        del metrics["worst_group"]
        return metrics

    return compute_metrics


def _undefined_intervals(
    points: Mapping[str, Array], per_class: Mapping[str, Array]
) -> dict[str, Limits]:
    """Return NaN limits for every metric over all classes and for each class."""
    limits: dict[str, Limits] = {name: (np.full((), np.nan),) * 2 for name in points}
    for name, value in per_class.items():
        limits[f"class/{name}"] = (np.full(value.shape, np.nan),) * 2
    return limits


def _rate_intervals(
    table: Array, aligned: Array | None, limits: Mapping[str, Limits]
) -> dict[str, tuple[Array, Array]]:
    """Return Wilson's interval of single rates, and ``mean_of_rates`` where a mean has no width.

    The bootstrap interval of a mean of rates has no width where every row is right or every row is
    wrong: resamples of such rows do not vary.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells, or None.
        limits: The bootstrap intervals by metric name.
    """
    hits, rows = accuracy.correct(table), table.sum(axis=-1)
    # (single rate, mean of rates, cells)
    families = [("top1", "unbiased", np.ones(rows.shape, dtype=bool))]
    if aligned is not None:
        families += [
            ("bias_aligned_samples", "bias_aligned", aligned),
            ("bias_conflicting_samples", "bias_conflicting", ~aligned),
        ]
    intervals: dict[str, Limits] = {}
    for rate_name, mean_name, cells in families:
        intervals[rate_name] = wilson(hits[cells].sum(), rows[cells].sum())
        low, high = limits[mean_name]
        if low == high:
            low_mean, high_mean = mean_of_rates(hits[cells], rows[cells])
            intervals[mean_name] = np.asarray(low_mean), np.asarray(high_mean)
    return intervals
