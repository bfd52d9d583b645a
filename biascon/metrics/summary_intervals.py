"""The 95 % intervals of the metrics of a summary."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from biascon.metrics import accuracy, amplification
from biascon.metrics.estimates import ACCURACIES, AMPLIFICATIONS, NEED_ALIGNED, accuracy_metrics
from biascon.metrics.intervals import bootstrap, wilson
from biascon.metrics.rate_intervals import mean_of_rates
from biascon.metrics.simultaneous_intervals import Limits, comparison_limits, worst_group_limits
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array


def estimate_intervals(
    table: Array,
    compared_table: Array,
    aligned: Array | None,
    per_class: Mapping[str, Array],
    training: Array | None,
    seed: int,
) -> dict[str, Limits]:
    """Return the 95 % interval of every metric.

    The method depends on the metric:

    - a single rate (top-1, accuracy over the rows of a set of cells): Wilson's interval
    - a mean over cells (unbiased, bias-aligned, bias-conflicting): ``mean_of_rates``
    - the worst group and the comparisons of groups: ``simultaneous_intervals``
    - the amplifications, and any other accuracy: the percentile bootstrap

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        compared_table: The same without the rows of groups that are not compared.
        aligned: bool ``(K, M)``, the bias-aligned cells, or None.
        per_class: float ``(K,)`` by metric of ``COMPARISONS``, of ``compared_table``.
        training: int ``(K, M)``, the number of training rows of each cell, or None.
        seed: The random seed.

    Returns:
        (low, high): float ``()`` by metric name, and float ``(K,)`` by ``"class/" + name`` for the
        comparisons of groups.
    """
    limits = limit_without_resampling(table, compared_table, aligned)
    others = [name for name in ACCURACIES if name not in limits]
    if others:
        limits |= bootstrap(
            table,
            lambda tables: {name: accuracy_metrics(tables, aligned)[name] for name in others},
            numpy_generator(seed, "bootstrap/accuracies"),
        )
    limits |= _limit_amplifications(table, training, seed)
    limits |= comparison_limits(compared_table, per_class, numpy_generator(seed, "comparisons"))
    return limits


def undefined_intervals(
    points: Mapping[str, Array], per_class: Mapping[str, Array]
) -> dict[str, Limits]:
    """Return NaN limits for every metric over all classes and for each class."""
    limits: dict[str, Limits] = {name: (np.full((), np.nan),) * 2 for name in points}
    for name, value in per_class.items():
        limits[f"class/{name}"] = (np.full(value.shape, np.nan),) * 2
    return limits


def limit_without_resampling(
    table: Array, compared_table: Array, aligned: Array | None
) -> dict[str, Limits]:
    """Return the intervals of every metric of ``ACCURACIES``: they take no time at any size of the table.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        compared_table: The same for the groups that the worst group is about.
        aligned: bool ``(K, M)``, the bias-aligned cells, or None.
    """
    return limit_rates(table, aligned) | {"worst_group": worst_group_limits(compared_table)}


def limit_rates(table: Array, aligned: Array | None) -> dict[str, Limits]:
    """Return the intervals of single rates and of means over cells, which need no resampling.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells. None if they are unknown: the limits of the metrics
            of ``NEED_ALIGNED`` are then NaN.

    Returns:
        (low, high), float ``()`` each, for every metric of ``ACCURACIES`` but the worst group.
    """
    hits, rows = accuracy.correct(table), table.sum(axis=-1)
    # (single rate, mean of rates, cells)
    families = [("top1", "unbiased", np.ones(rows.shape, dtype=bool))]
    if aligned is not None:
        families += [
            ("bias_aligned_samples", "bias_aligned", aligned),
            ("bias_conflicting_samples", "bias_conflicting", ~aligned),
        ]
    intervals: dict[str, Limits] = {name: (np.full((), np.nan),) * 2 for name in NEED_ALIGNED}
    for rate_name, mean_name, cells in families:
        intervals[rate_name] = wilson(hits[cells].sum(), rows[cells].sum())
        intervals[mean_name] = mean_of_rates(hits[cells], rows[cells])
    return intervals


def _limit_amplifications(table: Array, training: Array | None, seed: int) -> dict[str, Limits]:
    """Return the bootstrap intervals of ``AMPLIFICATIONS``; NaN without training rows."""
    if training is None:
        return {name: (np.full((), np.nan),) * 2 for name in AMPLIFICATIONS}
    rows = training

    def compute_amplifications(tables: Array) -> dict[str, Array]:
        values = amplification.from_counts(rows, tables)
        return {name: values[name] for name in AMPLIFICATIONS}

    return dict(bootstrap(table, compute_amplifications, numpy_generator(seed, "bootstrap")))
