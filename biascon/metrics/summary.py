"""Every metric of one table of counts, each with its n and 95 % interval."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from biascon.metrics import accuracy, amplification, fairness, parity
from biascon.metrics.intervals import bootstrap, mean_of_rates, wilson
from biascon.metrics.permutation import permutation_test
from biascon.metrics.records import Cell, Metric, MetricSummary, PermutationResult
from biascon.metrics.simultaneous_intervals import comparison_limits, worst_group_limits
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
COMPARISONS = (*fairness.METRICS, *parity.METRICS)  # of the groups
AMPLIFICATIONS = amplification.METRICS[:2]  # the third needs predictions of the bias attribute
# What is tested for "is there any disparity", by how the bias is dealt out under the null.
NULLS = {
    "rows": ("demographic_parity_difference",),
    "labels": ("worst_group", "equalized_odds_difference", "equal_opportunity_difference"),
}
MAX_PERMUTED = 20_000  # cells of a table beyond which the test would take minutes


def accuracy_metrics(table: Array, aligned: Array | None) -> dict[str, Array]:
    """The accuracy family of tables ``(..., K, M, K)``; NaN where it needs ``aligned`` and that is None."""
    if aligned is None:
        every = accuracy_metrics(table, np.zeros(table.shape[-3:-1], dtype=bool))
        unknown = np.full(table.shape[:-3], np.nan)
        return {name: unknown if name in NEED_ALIGNED else every[name] for name in ACCURACIES}
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
        aligned: bool ``(K, M)``, or None where it is not known which cells are aligned: those metrics are
            None, of 0 rows.
        seed: Of the bootstrap and of the permutations.
        per_class: The fairness metrics, each ``(K,)``, where they were computed from rows; else they are
            computed from the table.
        training: int ``(K, M)``, the training rows of each label and bias, or None where they are not known:
            bias amplification is then None, of 0 rows.
        intervals: Whether to compute them, and the tests; without, they are None.
    """
    known = training if training is not None else np.zeros(table.shape[:2], np.int64)

    def smooth(tables: Array) -> dict[str, Array]:
        amplified = amplification.from_counts(known, tables)
        found = accuracy_metrics(tables, aligned) | {
            name: amplified[name] for name in AMPLIFICATIONS
        }
        return {name: value for name, value in found.items() if name != "worst_group"}

    classes = dict(fairness.from_counts(table) if per_class is None else per_class)
    classes |= parity.from_counts(table)
    points = smooth(table) | {"worst_group": accuracy.worst_group(table)}
    points |= {name: fairness.macro(value) for name, value in classes.items()}
    if intervals:
        limits = bootstrap(table, smooth, numpy_generator(seed, "bootstrap"))
        limits |= _rate_intervals(table, aligned, limits)
        limits["worst_group"] = worst_group_limits(table)
        limits |= comparison_limits(table, classes, numpy_generator(seed, "comparisons"))
    else:
        limits = {name: (np.full((), np.nan),) * 2 for name in points}
        limits |= {f"class/{name}": (np.full(len(labels), np.nan),) * 2 for name in classes}
    rows = int(table.sum())
    on_aligned = 0 if aligned is None else int(table[aligned].sum())
    on_others = 0 if aligned is None else rows - on_aligned
    n = {
        "bias_aligned": on_aligned,
        "bias_aligned_samples": on_aligned,
        "bias_conflicting": on_others,
        "bias_conflicting_samples": on_others,
    } | dict.fromkeys(AMPLIFICATIONS, 0 if training is None else rows)
    metrics = {
        name: make_metric(points[name], n.get(name, rows), limits[name])
        for name in (*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS)
    }
    worst = accuracy.worst_cell(table)
    if worst is not None:
        metrics["worst_group"] = dataclasses.replace(
            metrics["worst_group"], n=int(table[worst].sum()), cell=Cell(*worst)
        )
    by_class = {
        label: {
            name: make_metric(value[k], rows, tuple(side[k] for side in limits[f"class/{name}"]))
            for name, value in classes.items()
        }
        for k, label in enumerate(labels)
    }
    has_tests = intervals and table.size <= MAX_PERMUTED
    disparity = _disparity(table, seed) if has_tests else None
    return MetricSummary(metrics, by_class, disparity, table.tolist())


def _rate_intervals(
    table: Array, aligned: Array | None, found: Mapping[str, tuple[Array, Array]]
) -> dict[str, tuple[Any, Any]]:
    """Return Wilson's limits of what is one rate, and limits of means of cells without a wrong row.

    In resamples of rows that are all right, or all wrong, nothing varies.
    """
    right, rows = accuracy.correct(table), table.sum(axis=-1)
    every = np.ones(rows.shape, dtype=bool)
    sets = {"": every} if aligned is None else {
        "": every, "bias_aligned": aligned, "bias_conflicting": ~aligned,
    }  # fmt: skip
    limits: dict[str, tuple[Any, Any]] = {}
    for name, cells in sets.items():
        single, mean = (f"{name}_samples", name) if name else ("top1", "unbiased")
        limits[single] = wilson(right[cells].sum(), rows[cells].sum())
        low, high = found[mean]
        if low == high:
            limits[mean] = mean_of_rates(right[cells], rows[cells])
    return limits


def _disparity(table: Array, seed: int) -> dict[str, PermutationResult]:
    """Return for the metrics of ``NULLS`` what chance alone gives, and the permutation test's p."""

    def everything(tables: Array) -> dict[str, Array]:
        per_class = fairness.from_counts(tables)
        found = {name: fairness.macro(value) for name, value in per_class.items()}
        return found | {"worst_group": accuracy.worst_group(tables)}

    result = {}
    for within, names in NULLS.items():
        rng = numpy_generator(seed, f"permutation/{within}")
        tested = functools.partial(_select, names, everything)
        lower = {"worst_group"} & set(names)
        found = permutation_test(table, tested, rng, within=within, lower=lower)
        for name, null in found.items():
            result[name] = PermutationResult(
                finite_or_none(null.expected), finite_or_none(null.p), within, null.replicates
            )
    return result


def _select(
    names: Sequence[str], metrics: Callable[[Array], dict[str, Array]], tables: Array
) -> dict[str, Array]:
    found = metrics(tables)
    return {name: found[name] for name in names}


def make_metric(value: Array, n: int, limits: tuple[Array, ...]) -> Metric:
    """Return a metric, with None in place of numbers that are not finite."""
    low, high = (finite_or_none(side) for side in limits)
    return Metric(finite_or_none(value), n, low, high)


def finite_or_none(value: Array | float) -> float | None:
    """Return a float, None where it is not finite."""
    number = float(value)
    return number if np.isfinite(number) else None
