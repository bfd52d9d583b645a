"""Intervals of two rates: published examples, scipy, and coverage in small groups."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from biascon.metrics.two_rates import (
    difference_limits,
    paired_difference_limits,
    ratio_limits,
)


def test_difference_has_the_limits_of_newcombes_paper() -> None:
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 and 9/10 - 3/10."""
    assert difference_limits(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_limits(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def test_ratio_is_the_reciprocal_of_the_swapped_ratio() -> None:
    low, high = ratio_limits(20, 200, 30, 150)
    swapped_low, swapped_high = ratio_limits(30, 150, 20, 200)
    assert (low, high) == pytest.approx((1 / swapped_high, 1 / swapped_low))


def test_ratio_of_undefined_rates_is_undefined() -> None:
    low, high = ratio_limits([0, 0, 0, 5], [10, 10, 0, 10], [5, 0, 5, 1], [10, 10, 10, 10])
    assert low[0] == 0 and 0 < high[0] < 1
    assert np.isnan(low[1:3]).all() and np.isnan(high[1:3]).all()
    assert low[3] < 5 < high[3]


def test_ratio_to_a_rate_of_0_has_a_lower_limit() -> None:
    low, high = ratio_limits(30, 100, 0, 50)
    near, _ = ratio_limits(30, 100, 1e-9, 50)
    assert low == pytest.approx(near, rel=1e-4) and high == np.inf
    rng = np.random.default_rng(3)
    x, y = rng.binomial(40, 0.3, 4000), rng.binomial(60, 0.02, 4000)
    low, high = ratio_limits(x, 40, y, 60)
    assert ((low <= 15) & (high >= 15)).mean() > 0.94
    assert (low[(y == 0) & (x > 0)] > 0).all() and (y == 0).mean() > 0.2


@pytest.mark.parametrize(("n", "rates"), [((20, 20), (0.2, 0.5)), ((10, 200), (0.1, 0.1))])
def test_difference_and_ratio_cover_the_truth(
    n: tuple[int, int], rates: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.binomial(n[0], rates[0], 4000), rng.binomial(n[1], rates[1], 4000)
    low, high = difference_limits(x, n[0], y, n[1])
    assert ((low <= rates[0] - rates[1]) & (rates[0] - rates[1] <= high)).mean() > 0.93
    low, high = ratio_limits(x, n[0], y, n[1])
    defined = y > 0
    ratio = rates[0] / rates[1]
    assert ((low <= ratio) & (ratio <= high))[defined].mean() > 0.93


def test_paired_difference_covers_the_truth_and_uses_the_pairs() -> None:
    rng = np.random.default_rng(2)
    cells = (0.6, 0.2, 0.1, 0.1)
    tables = rng.multinomial(30, cells, 4000).T
    low, high = paired_difference_limits(*tables)
    assert ((low <= 0.1) & (high >= 0.1)).mean() > 0.93
    low, high = paired_difference_limits(800, 12, 8, 180)
    free_low, free_high = difference_limits(812, 1000, 808, 1000)
    assert high - low < 0.5 * (free_high - free_low)
    normal = scipy.stats.norm.ppf(0.975) * np.sqrt(20 / 1000**2)
    assert high - low == pytest.approx(2 * normal, rel=0.15)
