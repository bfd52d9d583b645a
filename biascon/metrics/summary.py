"""All metrics of one table of counts, each with its number of rows and its 95 % interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from biascon.errors import UsageError, did_you_mean
from biascon.metrics import accuracy, fairness
from biascon.metrics.estimates import (
    ACCURACIES,
    AMPLIFICATIONS,
    COMPARISONS,
    NEED_ALIGNED,
    accuracy_metrics,
    finite_or_none,
    smooth_metrics,
)
from biascon.metrics.intervals import wilson
from biascon.metrics.records import Cell, Metric, MetricSummary
from biascon.metrics.simultaneous_intervals import Limits
from biascon.metrics.summary_intervals import (
    estimate_intervals,
    limit_without_resampling,
    undefined_intervals,
)
from biascon.metrics.summary_tests import MAX_PERMUTED, run_permutation_tests
from biascon.utils.text import quote_some
from biascon.utils.types import Array

__all__ = [
    "ACCURACIES",
    "AMPLIFICATIONS",
    "COMPARISONS",
    "NEED_ALIGNED",
    "accuracy_metrics",
    "find_positive_class",
    "finite_or_none",
    "make_metric",
    "measure_counts",
    "measure_rate",
]


def measure_rate(is_correct: Array) -> Metric:
    """Return the share of correct rows with its Wilson interval.

    Args:
        is_correct: bool ``(N,)``.
    """
    rows = len(is_correct)
    value = np.asarray(is_correct.mean() if rows else np.nan)
    return make_metric(value, rows, wilson(int(is_correct.sum()), rows))


def find_positive_class(
    classes: Sequence[str], is_label: Sequence[bool], positive: str | None
) -> int | None:
    """Return the index of the positive class, None for the mean over classes.

    Args:
        classes: The names of the K classes.
        is_label: Whether a class is the label of a row, K values. A class may be predicted only.
        positive: The name of the positive class. None stands for the second of two labels, and for the mean
            over classes with another number of labels.

    Raises:
        UsageError: No class has the name.

    >>> find_positive_class(["no", "yes"], [True, True], None)
    1
    >>> find_positive_class(["no", "refused", "yes"], [True, False, True], None)
    2
    """
    if positive is None:
        if len(classes) == 2:
            return 1
        labels = [k for k, is_one in enumerate(is_label) if is_one]
        return labels[1] if len(labels) == 2 else None
    if positive not in classes:
        raise UsageError(
            f"the positive class '{positive}' is none of the classes {quote_some(classes)}"
            f"{did_you_mean(positive, classes)}"
        )
    return list(classes).index(positive)


def measure_counts(
    table: Array,
    labels: Sequence[str],
    aligned: Array | None,
    *,
    seed: int,
    positive: str | None = None,
    compared: Array | None = None,
    training: Array | None = None,
    intervals: bool = True,
) -> MetricSummary:
    """Return every metric of a table of counts.

    With two labels, a comparison of groups is that of the positive class, as in fairlearn. With more
    labels, it is the mean over classes, unless a positive class is named. The mean is undefined where the
    metric is undefined for a class that is the label of a row.

    Args:
        table: int64 ``(K, M, K)``: label x bias x prediction.
        labels: The names of the K classes.
        aligned: bool ``(K, M)``, the bias-aligned cells. None if they are unknown: the metrics of
            ``NEED_ALIGNED`` are then None, with n = 0.
        seed: The random seed of the bootstrap and of the permutation tests.
        positive: The positive class. None stands for the second of two labels.
        compared: bool ``(M,)``, the groups that the worst group and the comparisons are about. None stands
            for all groups.
        training: int ``(K, M)``, the number of training rows of each cell. None if it is unknown: the
            metrics of ``AMPLIFICATIONS`` are then None, with n = 0.
        intervals: Whether to compute the intervals that may resample (comparisons, amplifications) and the
            permutation tests. If not, they are None. All other intervals are always computed.

    Raises:
        UsageError: ``positive`` is none of the classes.
    """
    is_label = (table.sum(axis=(1, 2)) > 0).tolist()
    positive_class = find_positive_class(labels, is_label, positive)
    compared_table = table if compared is None else np.where(compared[:, None], table, 0)
    per_class = {
        **fairness.from_counts(compared_table),
        **fairness.parity_from_counts(compared_table),
    }
    compute_smooth = smooth_metrics(aligned, training)
    points = {
        **compute_smooth(table),
        "worst_group": accuracy.worst_group(compared_table),
        **{
            name: fairness.average_labeled(value, compared_table)
            for name, value in per_class.items()
        },
    }
    if intervals:
        limits = estimate_intervals(table, compared_table, aligned, per_class, training, seed)
    else:
        limits = undefined_intervals(points, per_class) | limit_without_resampling(
            table, compared_table, aligned
        )
    metrics = _assemble_metrics(
        table, compared_table, aligned, points, limits, has_training=training is not None
    )
    macro = {name: metrics[name] for name in COMPARISONS}
    by_class = _assemble_classes(compared_table, labels, per_class, limits)
    if positive_class is not None:
        metrics |= by_class[labels[positive_class]]
    is_tested = intervals and table.size <= MAX_PERMUTED and compared_table.any()
    return MetricSummary(
        metrics,
        by_class,
        run_permutation_tests(compared_table, seed, positive_class) if is_tested else None,
        table.tolist(),
        None if positive_class is None else labels[positive_class],
        macro,
    )


def _assemble_metrics(
    table: Array,
    compared_table: Array,
    aligned: Array | None,
    points: Mapping[str, Array],
    limits: Mapping[str, Limits],
    *,
    has_training: bool,
) -> dict[str, Metric]:
    """Return every metric over all classes as a record with its number of rows.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        compared_table: The same without the rows of groups that are not compared.
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
    }
    n |= dict.fromkeys(COMPARISONS, int(compared_table.sum()))
    n |= dict.fromkeys(AMPLIFICATIONS, rows if has_training else 0)
    metrics = {
        name: make_metric(points[name], n.get(name, rows), limits[name])
        for name in (*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS)
    }
    worst = accuracy.worst_cell(compared_table)
    if worst is None:
        metrics["worst_group"] = dataclasses.replace(metrics["worst_group"], n=0)
    else:
        metrics["worst_group"] = dataclasses.replace(
            metrics["worst_group"], n=int(table[worst].sum()), cell=Cell(*worst)
        )
    return metrics


def _assemble_classes(
    table: Array,
    labels: Sequence[str],
    per_class: Mapping[str, Array],
    limits: Mapping[str, Limits],
) -> dict[str, dict[str, Metric]]:
    """Return the comparisons of groups for each class as records, by label and metric name.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction, of the compared groups.
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


def make_metric(value: Array, n: int, limits: tuple[Array, ...]) -> Metric:
    """Return a metric as a record, with None in place of numbers that are not finite.

    Args:
        value: float ``()``.
        n: The number of rows.
        limits: The lower and the upper limit of the interval, float ``()`` each.
    """
    low, high = (finite_or_none(limit) for limit in limits)
    return Metric(finite_or_none(value), n, low, high)
