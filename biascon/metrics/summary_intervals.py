"""The 95 % intervals of the metrics of a summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from biascon.metrics import accuracy
from biascon.metrics.intervals import bootstrap, mean_of_rates, wilson
from biascon.metrics.simultaneous_intervals import Limits, comparison_limits, worst_group_limits
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array


def estimate_intervals(
    table: Array,
    compared_table: Array,
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
        compared_table: The same without the rows of groups that are not compared.
        aligned: bool ``(K, M)``, the bias-aligned cells, or None.
        per_class: float ``(K,)`` by metric of ``COMPARISONS``, of ``compared_table``.
        smooth_metrics: Returns the metrics of the percentile bootstrap.
        seed: The random seed.

    Returns:
        (low, high): float ``()`` by metric name, and float ``(K,)`` by ``"class/" + name`` for the
        comparisons of groups.
    """
    limits: dict[str, Limits] = {
        **bootstrap(table, smooth_metrics, numpy_generator(seed, "bootstrap"))
    }
    limits |= _rate_intervals(table, aligned, limits)
    limits["worst_group"] = worst_group_limits(compared_table)
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
