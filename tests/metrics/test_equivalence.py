"""A mean difference: interval, p-value and equivalence test, beside scipy's one-sample tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from biascon.errors import UsageError
from biascon.metrics.equivalence import MeanDifference


@pytest.fixture
def sample() -> np.ndarray:
    return np.random.default_rng(0).normal(0.3, 1.0, 12)


@pytest.fixture
def difference(sample: np.ndarray) -> MeanDifference:
    n = len(sample)
    return MeanDifference.combine(float(sample.mean()), (float(sample.var(ddof=1)) / n, n - 1.0))


def test_one_part_is_the_t_test(sample: np.ndarray, difference: MeanDifference) -> None:
    expected = stats.ttest_1samp(sample, 0.0)
    assert difference.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.9)
    assert difference.interval(0.9) == pytest.approx((interval.low, interval.high))


def test_equivalence_is_the_larger_one_sided_p(
    sample: np.ndarray, difference: MeanDifference
) -> None:
    low = stats.ttest_1samp(sample, -0.8, alternative="greater").pvalue
    high = stats.ttest_1samp(sample, 0.8, alternative="less").pvalue
    assert difference.equivalence_p(0.8) == pytest.approx(max(low, high))


def test_equivalence_at_5_percent_is_the_90_percent_interval_within_the_margin(
    difference: MeanDifference,
) -> None:
    low, high = difference.interval(0.9)
    edge = max(abs(low), abs(high))
    assert difference.equivalence_p(edge * 1.0001) < 0.05 < difference.equivalence_p(edge * 0.9999)


def test_two_parts_with_equal_variances_add_their_degrees_of_freedom() -> None:
    total = MeanDifference.combine(1.0, (0.5, 9.0), (0.5, 9.0))
    assert total.standard_error == pytest.approx(1.0)
    assert total.df == pytest.approx(18.0)


@pytest.mark.parametrize("variance", [math.nan, 0.0])
def test_without_a_variance_nothing_is_shown(variance: float) -> None:
    difference = MeanDifference.combine(1.0, (variance, 9.0))
    assert math.isnan(difference.p)
    assert math.isnan(difference.equivalence_p(0.1))


def test_a_margin_of_0_is_refused(difference: MeanDifference) -> None:
    with pytest.raises(UsageError, match="margin above 0"):
        difference.equivalence_p(0.0)
