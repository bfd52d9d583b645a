"""Averages of cell accuracies with given coefficients: their values and intervals, alone and paired.

A sum over cells of c_i A_i has coefficients c of either sign. With the cells of positive coefficients P and
those of negative ones N, it is W_P m_P - W_N m_N: W is the sum of abs(c) over a set, and m the mean of the
rates with the shares abs(c) / W. Both means are independent and have the limits (l, u) of
``rate_intervals.mean_limits``. The limits of the sum are (method MOVER: Zou and Donner, Statistics in
Medicine 27, 2008)::

    value - sqrt((W_P (m_P - l_P))^2 + (W_N (u_N - m_N))^2)
    value + sqrt((W_P (u_P - m_P))^2 + (W_N (m_N - l_N))^2)

Wilson's limits of every single cell, joined in the same way, are not used: for 100 cells of which ten have
99.7 % of the weight, at a rate of 0.99, they held the truth in 88 % of tables, and these in 98 %
(``tests/benchmarks/weighted_averages.py``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from biascon.metrics.accuracy import correct
from biascon.metrics.counts import divide
from biascon.metrics.intervals import LEVEL
from biascon.metrics.joint_counts import JointCounts
from biascon.metrics.paired_difference import mean_paired_difference
from biascon.metrics.paired_tests import MetricDifference
from biascon.metrics.rate_intervals import mean_limits
from biascon.metrics.records import UNDEFINED, Metric
from biascon.utils.types import Array

ADJUSTED_AVERAGE = "adjusted_average"


def training_shares(training: Array) -> Array:
    """Return the share of each cell among the training rows, float64; all 0 without training rows.

    Args:
        training: int of any shape, the number of training rows of each cell.
    """
    return np.nan_to_num(divide(training, np.asarray(training).sum()))


def weighted_sum(counts: Array, coefficients: Array) -> Array:
    """Return the sum of coefficient x accuracy over cells.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.
        coefficients: float64 ``(K, M)``. A cell with the coefficient 0 does not count.

    Returns:
        float64 ``(...)``; NaN where a cell that counts has no rows, and where no cell counts.
    """
    used = coefficients != 0
    rates = divide(correct(counts)[..., used], counts.sum(axis=-1)[..., used])
    total: Array = (coefficients[used] * rates).sum(axis=-1)
    return total if used.any() else np.full(counts.shape[:-3], np.nan)


def adjusted_average(counts: Array, training: Array) -> Array:
    """Return the adjusted average accuracy: the mean of A with the shares of the cells in training.

    Sagawa et al., "Distributionally robust neural networks for group shifts", ICLR 2020.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.
        training: int ``(K, M)``, the number of training rows of each cell.

    Returns:
        float64 ``(...)``; NaN where a cell with training rows has no rows here, and without training rows.
    """
    return weighted_sum(counts, training_shares(training))


def measure_adjusted_average(counts: Array, training: Array) -> Metric:
    """Return ``adjusted_average`` of one table with its n and 95 % interval.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        training: int ``(K, M)``, the number of training rows of each cell.
    """
    return measure_weighted_sum(correct(counts), counts.sum(axis=-1), training_shares(training))


def measure_weighted_sum(hits: Array, rows: Array, coefficients: Array) -> Metric:
    """Return the sum of coefficient x hits / rows over cells, with its 95 % interval.

    Args:
        hits: Numbers of any shape, the correct rows of each cell; effective rows need not be whole.
        rows: The rows of each cell, of the same shape.
        coefficients: float64 of the same shape, as in ``weighted_sum``.

    Returns:
        The sum; n is the number of rows of the cells that count. Undefined, of 0 rows, where a cell that
        counts has no rows, and where no cell counts.
    """
    k, n = np.asarray(hits, np.float64), np.asarray(rows, np.float64)
    used = coefficients != 0
    if not used.any() or (n[used] == 0).any():
        return UNDEFINED
    value, low, high = _join(
        coefficients, lambda cells, shares: mean_limits(k[cells], n[cells], LEVEL, shares)
    )
    return Metric(value, int(n[used].sum()), low, high)


def weighted_paired_difference(counts: JointCounts, coefficients: Array) -> MetricDifference:
    """Return the sum of coefficient x (accuracy of a - accuracy of b) over cells, with its 95 % interval.

    The means of the two sets of cells have the interval of ``mean_paired_difference``.

    Args:
        counts: The joint counts of a and b.
        coefficients: float64 ``(K, M)``, as in ``weighted_sum``.

    Returns:
        The difference; NaN where a cell that counts has no rows, and where no cell counts.
    """
    only_a, only_b, rows = counts.discordant_cells
    used = coefficients != 0
    if not used.any() or (rows[used] == 0).any():
        return MetricDifference(*(np.asarray(np.nan),) * 3)

    def limit(cells: Array, shares: Array) -> tuple[Array, Array, Array]:
        found = mean_paired_difference(
            only_a[cells], only_b[cells], rows[cells], LEVEL, shares=shares
        )
        return found.value, found.low, found.high

    value, low, high = (np.asarray(x) for x in _join(coefficients, limit))
    return MetricDifference(value, low, high)


def _join(
    coefficients: Array, limit: Callable[[Array, Array], tuple[Array, Array, Array]]
) -> tuple[float, float, float]:
    """Return the sum over the cells of positive minus that over those of negative coefficients, with limits.

    Args:
        coefficients: float64 of any shape.
        limit: A function from a mask of cells and their shares to a mean with its limits, float ``()`` each.
    """
    value = below = above = 0.0
    for sign in (1, -1):
        cells = sign * coefficients > 0
        if not cells.any():
            continue
        weights = sign * coefficients[cells]
        total = weights.sum()
        mean, low, high = (float(total * x) for x in limit(cells, weights / total))
        value += sign * mean
        down, up = (mean - low, high - mean) if sign > 0 else (high - mean, mean - low)
        below, above = float(np.hypot(below, down)), float(np.hypot(above, up))
    return value, max(value - below, -1.0), min(value + above, 1.0)
