"""The names of the metrics of a summary, and their values for tables of counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from biascon.metrics import accuracy, amplification, fairness
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


def smooth_metrics(
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


def finite_or_none(value: Array | float) -> float | None:
    """Return a number as a Python float, None where it is not finite."""
    number = float(value)
    return number if np.isfinite(number) else None
