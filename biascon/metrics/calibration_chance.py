"""The calibration error that is expected of calibrated scores: it is above 0, and large for few rows."""

from __future__ import annotations

import numpy as np

from biascon.metrics.counts import divide
from biascon.utils.types import Array


def expected_error(n: Array, mean: Array, weight: Array | None = None) -> Array:
    r"""Return the mean calibration error of calibrated scores.

    Scores are calibrated if a row of score s is positive with probability s. In a bin of n rows whose mean
    score is p the number X of positive rows is then taken as binomial, and

    .. math:: E|X - np| = 2 m (1 - p) P(X = m), \quad m = \lfloor np \rfloor + 1

    (de Moivre). The calibration error is the mean of :math:`E|X - np| / n` over the bins, weighted by their
    weights. It is exact if the scores of a bin are equal, and slightly too large if they differ.

    Args:
        n: float ``(..., B)``, the rows of each bin; with weights the effective rows, which need not be whole
            numbers: :math:`E|X - np|` is then interpolated.
        mean: float ``(..., B)`` in 0..1, the mean score of each bin; ignored where n is 0.
        weight: float ``(..., B)``, the sum of the weights of each bin; None for n.

    Returns:
        float64 ``(...)`` in 0..1; NaN without rows.

    Source: Diaconis and Zabell, "Closed Form Summation for Classical Distributions", 1991.
    """
    n, p = np.asarray(n, np.float64), np.clip(np.nan_to_num(mean), 0.0, 1.0)
    weight = n if weight is None else weight
    floor = np.floor(n)
    below, above = _mean_deviation(floor, p), _mean_deviation(floor + 1, p)
    deviation = below + (n - floor) * (above - below)
    gap = np.nan_to_num(divide(deviation, n))
    error: Array = divide((weight * gap).sum(axis=-1), weight.sum(axis=-1))
    return error


def _mean_deviation(n: Array, p: Array) -> Array:
    """Return E|X - np| of a binomial X; 0 for n = 0."""
    from scipy import stats

    m = np.floor(n * p) + 1
    deviation: Array = 2 * m * (1 - p) * stats.binom.pmf(m, n, p)
    return np.nan_to_num(deviation)
