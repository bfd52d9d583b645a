"""Intervals of maxima and minima over groups: they hold the truth at least as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biascon.metrics import accuracy, fairness
from biascon.metrics.intervals import mean_of_rates, wilson
from biascon.metrics.simultaneous_intervals import comparison_limits, worst_group_limits
from biascon.metrics.summary import COMPARISONS
from biascon.utils.seeds import numpy_generator

TABLES = 150
REPLICATES = 400


def truth_of(
    rng: np.random.Generator, n_labels: int, n_bias: int, right: float, spread: float
) -> np.ndarray:
    """Probabilities ``(K, M, K)`` of a classifier whose cells have accuracies about ``right``."""
    p = np.zeros((n_labels, n_bias, n_labels))
    for k, m in np.ndindex(n_labels, n_bias):
        hit = np.clip(rng.normal(right, spread), 0.05, 0.99)
        p[k, m] = np.insert(rng.dirichlet(np.ones(n_labels - 1)) * (1 - hit), k, hit)
    return p / p.sum()


def points(table: np.ndarray) -> dict[str, np.ndarray]:
    return {**fairness.from_counts(table), **fairness.parity_from_counts(table)}


@pytest.mark.parametrize(
    ("rows", "n_labels", "n_bias", "right", "spread"),
    [
        (10_000, 10, 10, 0.8, 0.1),  # some groups differ much
        (10_000, 10, 10, 0.8, 0.0),  # none does: the differences are 0
        (10_000, 10, 10, 0.985, 0.01),  # nearly all is right
        (1_000, 10, 10, 0.8, 0.1),  # ten rows a cell
        (5_000, 2, 2, 0.8, 0.0),
        (300, 2, 3, 0.9, 0.05),
    ],
)
def test_the_truth_is_held(
    rows: int, n_labels: int, n_bias: int, right: float, spread: float
) -> None:
    rng = numpy_generator(0, f"extremes/{rows}/{n_labels}/{n_bias}/{right}/{spread}")
    p = truth_of(rng, n_labels, n_bias, right, spread)
    exact = {name: float(value.mean()) for name, value in points(p).items()}
    exact["worst_group"] = float(accuracy.worst_group(p))
    held = {name: [] for name in exact}
    for table in rng.multinomial(rows, p.reshape(-1), TABLES).reshape(-1, *p.shape):
        found = points(table)
        limits = comparison_limits(table, found, rng, replicates=REPLICATES)
        limits["worst_group"] = worst_group_limits(table)
        values = {name: fairness.average_classes(value) for name, value in found.items()}
        values["worst_group"] = accuracy.worst_group(table)
        for name, value in exact.items():
            low, high = limits[name]
            if np.isnan(values[name]):
                assert np.isnan(low) and np.isnan(high)
                continue
            assert 0 <= low <= values[name] + 1e-12 and values[name] - 1e-12 <= high <= 1
            held[name].append(low - 1e-12 <= value <= high + 1e-12)
    for name, told in held.items():
        if len(told) > TABLES / 2:
            assert np.mean(told) >= 0.92, name  # 0.95 less two standard errors


@pytest.mark.parametrize(
    ("rows", "right", "names"),
    [
        (np.full((10, 10), 4), np.full((10, 10), 0.9), {"worst_group"}),
        (
            np.array([[2000, 3], [2000, 400]]),
            np.array([[0.99, 0.5], [0.99, 0.99]]),
            {"worst_group", "equal_opportunity_difference", "equalized_odds_difference"},
        ),
    ],
)
def test_the_truth_is_held_with_few_rows_in_a_cell(
    rows: np.ndarray, right: np.ndarray, names: set[str]
) -> None:
    rng = np.random.default_rng(0)
    p = np.empty((*rows.shape, len(rows)))
    p[:] = (1 - right[..., None]) / (len(rows) - 1)
    for k in range(len(rows)):
        p[k, :, k] = right[k]
    exact = {name: value.mean() for name, value in points(p * rows[..., None]).items()}
    exact["worst_group"] = right.min()
    held = dict.fromkeys(names, 0)
    for _ in range(TABLES):
        table = rng.multinomial(rows, p)
        limits = comparison_limits(table, points(table), rng, replicates=REPLICATES)
        limits["worst_group"] = worst_group_limits(table)
        for name in names:
            held[name] += limits[name][0] <= exact[name] <= limits[name][1]
    assert min(held.values()) >= 0.92 * TABLES, held


def test_of_two_groups_it_is_the_usual_interval() -> None:
    table = np.array([[[800, 200], [300, 200]], [[250, 750], [150, 350]]])
    low, high = comparison_limits(
        table, points(table), np.random.default_rng(0), replicates=20_000
    )["equal_opportunity_difference"]
    rates = (0.8, 0.6), (0.75, 0.7)  # of each class in the two groups
    se = [np.sqrt(a * (1 - a) / 1000 + b * (1 - b) / 500) for a, b in rates]
    per_class = comparison_limits(
        table, points(table), np.random.default_rng(0), replicates=20_000
    )["class/equal_opportunity_difference"]
    for k, (a, b) in enumerate(rates):
        assert per_class[0][k] == pytest.approx(a - b - 1.96 * se[k], abs=0.003)
        assert per_class[1][k] == pytest.approx(a - b + 1.96 * se[k], abs=0.003)
    assert 0 < low < 0.125 < high < 0.25


def test_the_radius_is_that_of_plain_loops() -> None:
    """The quantile of the mean over classes of the range of errors, by rows."""
    rng = np.random.default_rng(1)
    p = truth_of(rng, 3, 4, 0.8, 0.1)
    table = rng.multinomial(6000, p.reshape(-1)).reshape(p.shape)
    point = points(table)["demographic_parity_difference"]
    label, bias, told = np.repeat(np.argwhere(table >= 0), table.reshape(-1), axis=0).T
    del label
    rate = np.array([[(told[bias == m] == k).mean() for m in range(4)] for k in range(3)])
    off = []
    for _ in range(1500):
        drawn = rng.integers(0, len(told), len(told))
        t, b = told[drawn], bias[drawn]
        error = np.array([[(t[b == m] == k).mean() for m in range(4)] for k in range(3)]) - rate
        off.append(np.ptp(error, axis=1).mean())
    low, high = comparison_limits(table, points(table), rng)["demographic_parity_difference"]
    assert (high - low) / 2 == pytest.approx(np.quantile(off, 0.95), rel=0.06)
    assert (high + low) / 2 == pytest.approx(point.mean())


def test_undefined_classes_are_left_out() -> None:
    table = np.array([[[40, 10], [30, 20]], [[0, 0], [15, 35]]])  # no label 1 in group 0
    limits = comparison_limits(table, points(table), np.random.default_rng(0))
    low, high = limits["class/equal_opportunity_difference"]
    assert np.isnan(low[1]) and np.isnan(high[1]) and low[0] < 0.2 < high[0]
    mean = limits["equal_opportunity_difference"]
    assert (float(mean[0]), float(mean[1])) == pytest.approx((low[0], high[0]))
    assert np.isnan(limits["class/equalized_odds_difference"][0]).all()


def test_one_group_or_none() -> None:
    table = np.array([[[40, 10]], [[5, 45]]])
    for given in (table, np.zeros_like(table)):
        limits = comparison_limits(given, points(given), np.random.default_rng(0))
        assert set(limits) == {*COMPARISONS, *(f"class/{name}" for name in COMPARISONS)}
        assert all(np.isnan(side).all() for pair in limits.values() for side in pair)
        assert all(side.shape == (2,) for side in limits["class/equalized_odds_ratio"])
    assert all(np.isnan(worst_group_limits(np.zeros_like(table))))


def test_groups_without_rows_change_nothing() -> None:
    table = np.array([[[40, 10], [30, 20]], [[10, 50], [15, 35]]])
    wide = np.insert(table, 1, 0, axis=1)
    a, b = (comparison_limits(t, points(t), np.random.default_rng(0)) for t in (table, wide))
    for name, (low, high) in a.items():
        np.testing.assert_array_equal(low, b[name][0])
        np.testing.assert_array_equal(high, b[name][1])


def test_nothing_wrong_is_not_without_doubt() -> None:
    table = np.zeros((2, 2, 2), np.int64)
    table[[0, 1], :, [0, 1]] = 20
    limits = comparison_limits(table, points(table), np.random.default_rng(0))
    low, high = limits["equal_opportunity_difference"]
    assert low == 0 and 0.05 < high < 0.4
    low, high = worst_group_limits(table)
    assert (low, high) == pytest.approx(
        (((1 - 0.95**0.25) / 2) ** (1 / 20), 1.0)
    )  # four cells of 20


def test_the_worst_group_by_hand() -> None:
    table = np.array([[[90, 10], [4, 6]], [[0, 0], [20, 80]]])
    low, high = worst_group_limits(table)
    cells = [
        stats.binomtest(k, n).proportion_ci(0.95 ** (1 / 3), "exact")
        for k, n in ((90, 100), (4, 10), (80, 100))
    ]
    assert low == pytest.approx(min(pair.low for pair in cells)) == pytest.approx(cells[1].low)
    assert high == pytest.approx(min(pair.high for pair in cells))


@pytest.mark.parametrize(("right", "least"), [(0.7, 0.93), (0.97, 0.93), (0.995, 0.9)])
def test_of_a_mean_of_rates(right: float, least: float) -> None:
    rng = numpy_generator(0, f"mean of rates/{right}")
    n = np.array([20, 50, 100, 30, 200])
    rates = np.clip(right + np.linspace(-0.02, 0.004, 5), 0, 1)
    held = []
    for hits in rng.binomial(n, rates, (1000, 5)):
        low, high = mean_of_rates(hits, n)
        held.append(low <= rates.mean() <= high)
    assert np.mean(held) >= least


def test_a_mean_of_rates_without_rows() -> None:
    assert np.isnan(mean_of_rates([0, 0], [0, 0])).all()
    assert mean_of_rates([5, 0], [10, 0]) == pytest.approx(mean_of_rates([5], [10]))
    low, high = mean_of_rates(8, 10)
    assert (low, high) == pytest.approx(tuple(float(x) for x in wilson(8, 10)))
