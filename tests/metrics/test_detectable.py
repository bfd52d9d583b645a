"""The smallest detectable difference: a simulation of the z test finds it with the stated power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from biascon.metrics.detectable import (
    LEVEL,
    POWER,
    detectable_difference,
    smallest_difference,
)
from biascon.utils.types import Array


def simulate_power(q: tuple[float, float], n: tuple[int, int], tests: int, seed: int) -> float:
    """Return how often the two-sided z test of two proportions rejects, at Sidak's level."""
    rng = np.random.default_rng(seed)
    x, y = (rng.binomial(size, rate, 20_000) / size for size, rate in zip(n, q, strict=True))
    mean = (n[0] * x + n[1] * y) / sum(n)
    error = np.sqrt(mean * (1 - mean) * (1 / n[0] + 1 / n[1]))
    critical = stats.norm.isf((1 - (1 - LEVEL) ** (1 / tests)) / 2)
    return float((np.abs(x - y) > critical * error).mean())


@pytest.mark.parametrize(
    ("pooled", "n", "tests"),
    [
        (0.5, (100, 100), 1),
        (0.3, (200, 50), 1),
        (0.1, (100, 400), 2),
        (0.02, (300, 300), 1),
        (0.9, (60, 60), 45),
        (0.98, (1000, 40), 6),
    ],
)
def test_the_difference_is_found_with_the_stated_power(
    pooled: float, n: tuple[int, int], tests: int
) -> None:
    value = smallest_difference(pooled, n, tests=tests)
    assert value is not None
    powers = [
        simulate_power((pooled, other), sizes, tests, seed)
        for seed, sizes in enumerate((n, n[::-1]))
        for other in (pooled - value, pooled + value)
        if 0 <= other <= 1
    ]
    # The hardest direction has the stated power; near 0 and 1 the approximation is off by some points.
    assert POWER - 0.02 < min(powers) < POWER + 0.05


def test_half_the_difference_is_found_much_less_often() -> None:
    value = smallest_difference(0.3, (150, 150))
    assert value is not None
    assert simulate_power((0.3, 0.3 + value / 2), (150, 150), 1, 0) < 0.4


def test_few_rows_detect_nothing_and_more_tests_detect_less() -> None:
    assert smallest_difference(0.5, (3, 3)) is None
    one, many = (smallest_difference(0.4, (100, 100), tests=tests) for tests in (1, 100))
    assert one is not None and many is not None and one < many


@pytest.mark.parametrize("pooled", [0.0, 1.0])
def test_a_pooled_rate_of_0_or_1_leaves_one_direction(pooled: float) -> None:
    assert 0 < (smallest_difference(pooled, (100, 100)) or math.nan) < 0.1


def make_rates(rows: list[int], hits: list[int]) -> dict[str, tuple[Array, Array]]:
    """The same hits and rows for every rate."""
    pair = np.array(hits), np.array(rows)
    return dict.fromkeys(("selection", "true_positive", "false_positive", "precision"), pair)


def test_the_two_groups_with_the_fewest_rows_are_compared() -> None:
    rates = make_rates([800, 120, 180], [400, 60, 90])
    found = detectable_difference(rates, "demographic_parity_difference")
    assert found is not None
    assert (found.groups, found.n, found.tests, found.pooled) == ((1, 2), (120, 180), 3, 0.5)
    assert found.value == smallest_difference(0.5, (120, 180), tests=3)
    assert found.to_json("abc")["groups"] == ["b", "c"]


def test_equalized_odds_have_the_rate_that_needs_the_larger_difference() -> None:
    rates = make_rates([800, 800], [400, 400])
    rates["false_positive"] = np.array([25, 10]), np.array([50, 40])
    found = detectable_difference(rates, "equalized_odds_difference")
    assert found is not None
    assert (found.rate, found.n, found.tests) == ("false_positive", (50, 40), 2)


@pytest.mark.parametrize(
    "metric", ["top1", "demographic_parity_ratio", "worst_group", "unknown_difference"]
)
def test_other_metrics_have_no_detectable_difference(metric: str) -> None:
    assert detectable_difference(make_rates([9, 9], [3, 3]), metric) is None


def test_one_group_or_a_group_without_rows_has_none() -> None:
    name = "equal_opportunity_difference"
    assert detectable_difference(make_rates([9], [3]), name) is None
    assert detectable_difference(make_rates([9, 0], [3, 0]), name) is None
