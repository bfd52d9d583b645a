"""Simultaneous intervals: coverage in simulations, hand-worked limits, undefined metrics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biascon.metrics import accuracy, fairness
from biascon.metrics.simultaneous_intervals import comparison_limits, worst_group_limits
from biascon.metrics.summary import COMPARISONS
from biascon.utils.seeds import numpy_generator
from tests.metrics.count_tables import expand_rows

TABLES = 100
REPLICATES = 200


def draw_truth(
    rng: np.random.Generator, n_labels: int, n_bias: int, mean_accuracy: float, sd: float
) -> np.ndarray:
    """Return the probabilities ``(K, M, K)`` of a classifier with normally distributed cell accuracies."""
    p = np.zeros((n_labels, n_bias, n_labels))
    for k, m in np.ndindex(n_labels, n_bias):
        accuracy_of_cell = np.clip(rng.normal(mean_accuracy, sd), 0.05, 0.99)
        errors = rng.dirichlet(np.ones(n_labels - 1)) * (1 - accuracy_of_cell)
        p[k, m] = np.insert(errors, k, accuracy_of_cell)
    return p / p.sum()


def compare_groups(table: np.ndarray) -> dict[str, np.ndarray]:
    """Return every comparison of groups per class."""
    return {**fairness.from_counts(table), **fairness.parity_from_counts(table)}


@pytest.mark.parametrize(
    ("rows", "n_labels", "n_bias", "mean_accuracy", "sd"),
    [
        (10_000, 10, 10, 0.8, 0.0),  # all true differences are 0
        (10_000, 10, 10, 0.985, 0.01),  # nearly all rows are correct
        (1_000, 10, 10, 0.8, 0.1),  # ten rows per cell
        (5_000, 2, 2, 0.8, 0.0),
        (300, 2, 3, 0.9, 0.05),
    ],
)
def test_coverage_is_at_least_the_level(
    rows: int, n_labels: int, n_bias: int, mean_accuracy: float, sd: float
) -> None:
    rng = numpy_generator(0, f"extremes/{rows}/{n_labels}/{n_bias}/{mean_accuracy}/{sd}")
    p = draw_truth(rng, n_labels, n_bias, mean_accuracy, sd)
    truth = {name: float(value.mean()) for name, value in compare_groups(p).items()}
    truth["worst_group"] = float(accuracy.worst_group(p))
    is_covered: dict[str, list[bool]] = {name: [] for name in truth}
    tables = TABLES if n_labels < 10 else 50  # a table of a hundred cells takes longer
    for table in rng.multinomial(rows, p.reshape(-1), tables).reshape(-1, *p.shape):
        per_class = compare_groups(table)
        limits = comparison_limits(table, per_class, rng, replicates=REPLICATES)
        limits["worst_group"] = worst_group_limits(table)
        estimates = {
            name: fairness.average_labeled(value, table) for name, value in per_class.items()
        }
        estimates["worst_group"] = accuracy.worst_group(table)
        for name, value in truth.items():
            low, high = limits[name]
            if np.isnan(estimates[name]):
                assert np.isnan(low) and np.isnan(high)
                continue
            assert 0 <= low <= estimates[name] + 1e-12 and estimates[name] - 1e-12 <= high <= 1
            is_covered[name].append(low - 1e-12 <= value <= high + 1e-12)
    for name, flags in is_covered.items():
        if len(flags) > tables / 2:
            assert np.mean(flags) >= 0.88, name  # 0.95 minus 2.3 standard errors of 50 tables


@pytest.mark.parametrize(
    ("rows", "accuracy_of_cells", "names"),
    [
        (np.full((10, 10), 4), np.full((10, 10), 0.9), {"worst_group"}),
        (
            np.array([[2000, 3], [2000, 400]]),
            np.array([[0.99, 0.5], [0.99, 0.99]]),
            {"worst_group", "equal_opportunity_difference", "equalized_odds_difference"},
        ),
    ],
)
def test_coverage_is_at_least_the_level_with_few_rows_in_a_cell(
    rows: np.ndarray, accuracy_of_cells: np.ndarray, names: set[str]
) -> None:
    rng = np.random.default_rng(0)
    p = np.empty((*rows.shape, len(rows)))
    p[:] = (1 - accuracy_of_cells[..., None]) / (len(rows) - 1)
    for k in range(len(rows)):
        p[k, :, k] = accuracy_of_cells[k]
    truth = {name: value.mean() for name, value in compare_groups(p * rows[..., None]).items()}
    truth["worst_group"] = accuracy_of_cells.min()
    n_covered = dict.fromkeys(names, 0)
    for _ in range(TABLES):
        table = rng.multinomial(rows, p)
        limits = {"worst_group": worst_group_limits(table)}
        if names != {"worst_group"}:
            limits |= comparison_limits(table, compare_groups(table), rng, replicates=REPLICATES)
        for name in names:
            n_covered[name] += limits[name][0] <= truth[name] <= limits[name][1]
    assert min(n_covered.values()) >= 0.9 * TABLES, n_covered


def test_interval_of_two_groups_equals_the_normal_interval() -> None:
    table = np.array([[[800, 200], [300, 200]], [[250, 750], [150, 350]]])
    low, high = comparison_limits(
        table, compare_groups(table), np.random.default_rng(0), replicates=20_000
    )["equal_opportunity_difference"]
    rates = (0.8, 0.6), (0.75, 0.7)  # of the two groups, for each class
    standard_errors = [np.sqrt(a * (1 - a) / 1000 + b * (1 - b) / 500) for a, b in rates]
    per_class = comparison_limits(
        table, compare_groups(table), np.random.default_rng(0), replicates=20_000
    )["class/equal_opportunity_difference"]
    for k, (a, b) in enumerate(rates):
        assert per_class[0][k] == pytest.approx(a - b - 1.96 * standard_errors[k], abs=0.003)
        assert per_class[1][k] == pytest.approx(a - b + 1.96 * standard_errors[k], abs=0.003)
    assert 0 < low < 0.125 < high < 0.25


def test_interval_equals_a_bootstrap_of_rows() -> None:
    """The radius is the quantile of the mean over classes of the range of errors over groups."""
    rng = np.random.default_rng(1)
    p = draw_truth(rng, 3, 4, 0.8, 0.1)
    table = rng.multinomial(6000, p.reshape(-1)).reshape(p.shape)
    estimate = compare_groups(table)["demographic_parity_difference"]
    _, prediction, bias = expand_rows(table)

    def selection_rates(prediction: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return np.array([[(prediction[bias == m] == k).mean() for m in range(4)] for k in range(3)])

    rates = selection_rates(prediction, bias)
    radii = []
    for _ in range(1500):
        rows = rng.integers(0, len(prediction), len(prediction))
        errors = selection_rates(prediction[rows], bias[rows]) - rates
        radii.append(np.ptp(errors, axis=1).mean())
    limits = comparison_limits(table, compare_groups(table), rng)
    low, high = limits["demographic_parity_difference"]
    assert (high - low) / 2 == pytest.approx(np.quantile(radii, 0.95), rel=0.06)
    assert (high + low) / 2 == pytest.approx(estimate.mean())


def test_mean_over_classes_needs_every_labeled_class() -> None:
    table = np.array([[[40, 10], [30, 20]], [[0, 0], [15, 35]]])  # no label 1 in group 0
    limits = comparison_limits(table, compare_groups(table), np.random.default_rng(0))
    low, high = limits["class/equal_opportunity_difference"]
    assert np.isnan(low[1]) and np.isnan(high[1]) and low[0] < 0.2 < high[0]
    assert np.isnan(limits["equal_opportunity_difference"]).all()
    assert np.isnan(limits["class/equalized_odds_difference"][0]).all()


def test_mean_over_classes_leaves_a_class_without_labels_out() -> None:
    table = np.zeros((3, 2, 3), dtype=int)  # class 2 is predicted, and the label of no row
    table[:2, :, :2] = [[[40, 10], [30, 20]], [[10, 40], [15, 35]]]
    table[0, :, 2] = 5
    limits = comparison_limits(table, compare_groups(table), np.random.default_rng(0))
    low, high = limits["equal_opportunity_difference"]
    assert 0 <= low < (10 / 55 + 0.1) / 2 < high


def test_limits_of_fewer_than_two_groups_are_nan() -> None:
    table = np.array([[[40, 10]], [[5, 45]]])
    for counts in (table, np.zeros_like(table)):
        limits = comparison_limits(counts, compare_groups(counts), np.random.default_rng(0))
        assert set(limits) == {*COMPARISONS, *(f"class/{name}" for name in COMPARISONS)}
        assert all(np.isnan(side).all() for pair in limits.values() for side in pair)
        assert all(side.shape == (2,) for side in limits["class/equalized_odds_ratio"])
    assert all(np.isnan(worst_group_limits(np.zeros_like(table))))


def test_groups_without_rows_change_no_limit() -> None:
    table = np.array([[[40, 10], [30, 20]], [[10, 50], [15, 35]]])
    with_empty_group = np.insert(table, 1, 0, axis=1)
    expected, limits = (
        comparison_limits(counts, compare_groups(counts), np.random.default_rng(0))
        for counts in (table, with_empty_group)
    )
    assert expected.keys() == limits.keys()
    for name, (low, high) in expected.items():
        np.testing.assert_array_equal(low, limits[name][0])
        np.testing.assert_array_equal(high, limits[name][1])


def test_intervals_of_perfect_predictions_have_a_width() -> None:
    table = np.zeros((2, 2, 2), np.int64)
    table[[0, 1], :, [0, 1]] = 20
    limits = comparison_limits(table, compare_groups(table), np.random.default_rng(0))
    low, high = limits["equal_opportunity_difference"]
    assert low == 0 and 0.05 < high < 0.4
    low, high = worst_group_limits(table)
    expected_low = ((1 - 0.95**0.25) / 2) ** (1 / 20)  # four cells with 20 rows each
    assert (low, high) == pytest.approx((expected_low, 1.0))


def test_worst_group_limits_equal_exact_intervals_of_scipy() -> None:
    table = np.array([[[90, 10], [4, 6]], [[0, 0], [20, 80]]])
    low, high = worst_group_limits(table)
    cells = [
        stats.binomtest(k, n).proportion_ci(0.95 ** (1 / 3), "exact")
        for k, n in ((90, 100), (4, 10), (80, 100))
    ]
    assert low == pytest.approx(min(pair.low for pair in cells)) == pytest.approx(cells[1].low)
    assert high == pytest.approx(min(pair.high for pair in cells))


def test_interval_of_unequal_groups_is_that_of_newcombe() -> None:
    """Newcombe, Statistics in Medicine 17, 1998, method 10: 56 of 70 against 48 of 80."""
    table = np.array([[[75, 5], [85, 5]], [[14, 56], [32, 48]]])
    limits = comparison_limits(table, compare_groups(table), np.random.default_rng(0))
    low, high = limits["class/equal_opportunity_difference"]
    # Newcombe: 0.0524 to 0.3339. Here, the wider of Wilson's and Jeffreys' limits.
    assert 0.050 < low[1] <= 0.0525
    assert 0.3338 <= high[1] < 0.336


def test_a_small_group_does_not_hide_the_gap_of_large_ones() -> None:
    rates, rows = np.array([0.9, 0.8, 0.85]), np.array([2500, 2500, 60])
    right = np.rint(rates * rows).astype(int)
    table = np.array([np.stack([right, rows - right], -1), np.stack([rows - right, right], -1)])
    limits = comparison_limits(table, compare_groups(table), np.random.default_rng(0))
    low, high = limits["class/equal_opportunity_difference"]
    assert 0.06 < low[1] < 0.1 < high[1] < 0.25
    assert 0.06 < limits["equal_opportunity_difference"][0] < 0.1


def test_precision_without_a_common_label_has_an_interval_of_some_width() -> None:
    """8 right rows of 8 against 0 of 8: exact limits allow a difference of 0.16."""
    table = np.array([[[0, 0], [12, 8]], [[12, 8], [0, 0]]])
    limits = comparison_limits(table, compare_groups(table), np.random.default_rng(0))
    low, high = limits["class/predictive_parity_difference"]
    assert 0.4 < low[1] < 0.7
    assert high[1] == 1


def test_ratio_of_a_rate_of_zero_has_an_upper_limit_above_zero() -> None:
    table = np.array([[[100, 0], [90, 10]], [[50, 50], [50, 50]]])
    limits = comparison_limits(table, compare_groups(table), np.random.default_rng(0))
    low, high = limits["class/equalized_odds_ratio"]
    assert low[1] == 0
    assert 0.1 < high[1] < 0.7


def test_a_rate_of_0_in_every_group_leaves_an_upper_limit_of_the_ratio() -> None:
    """No false positive: the true rates may still differ, so the lower limit is 0."""
    table = np.array([[[2000, 0], [2000, 0]], [[200, 1800], [1000, 1000]]])
    limits = comparison_limits(table, compare_groups(table), np.random.default_rng(0))
    low, high = limits["class/equalized_odds_ratio"]
    assert low[1] == 0
    assert 1000 / 1800 < high[1] < 0.62
