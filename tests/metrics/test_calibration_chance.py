"""The calibration error of calibrated scores: exact for equal scores, and the mean over drawn labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biascon.metrics.calibration_chance import expected_error


@pytest.mark.parametrize("n", [1, 2, 7, 60, 5000])
@pytest.mark.parametrize("p", [0.0, 0.001, 0.3, 0.5, 0.97, 1.0])
def test_equal_scores_have_the_exact_mean(n: int, p: float) -> None:
    k = np.arange(n + 1)
    expected = (stats.binom.pmf(k, n, p) * np.abs(k / n - p)).sum()
    assert expected_error(np.array([n]), np.array([p])) == pytest.approx(expected, abs=1e-12)


def test_bins_are_weighted_and_empty_bins_are_left_out() -> None:
    n, p = np.array([[10.0, 30.0, 0.0], [0.0, 0.0, 0.0]]), np.array([[0.1, 0.6, np.nan]] * 2)
    one, two = (expected_error(n[0, k : k + 1], p[0, k : k + 1]) for k in range(2))
    assert expected_error(n, p)[0] == pytest.approx((10 * one + 30 * two) / 40)
    assert np.isnan(expected_error(n, p)[1])
    weights = np.array([1.0, 2.0, 0.0])
    assert expected_error(n[0], p[0], weights) == pytest.approx((one + 2 * two) / 3)


def test_effective_rows_are_interpolated() -> None:
    """E|X - n/2| is 1/2 for one row and for two rows."""
    values = expected_error(np.array([[1.0], [1.5], [2.0]]), np.full((3, 1), 0.5))
    assert values == pytest.approx([1 / 2, 1 / 3, 1 / 4])
