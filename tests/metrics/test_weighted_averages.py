"""The adjusted average accuracy and other weighted sums of accuracies: loops, limits, undefined cells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from biascon.metrics.joint_counts import count_jointly
from biascon.metrics.paired_difference import mean_paired_difference
from biascon.metrics.rate_intervals import mean_of_rates
from biascon.metrics.records import UNDEFINED
from biascon.metrics.weighted_averages import (
    adjusted_average,
    measure_adjusted_average,
    measure_weighted_sum,
    weighted_paired_difference,
    weighted_sum,
)

TRAINING = np.array([[3498, 184], [56, 1057]])  # Waterbirds


def draw_table(seed: int, k: int = 2, m: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 30, (k, m, k))


def adjusted_by_loop(table: np.ndarray, training: np.ndarray) -> float:
    total = 0.0
    for y in range(table.shape[0]):
        for b in range(table.shape[1]):
            if training[y, b]:
                total += training[y, b] / training.sum() * table[y, b, y] / table[y, b].sum()
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_adjusted_average_equals_a_loop(seed: int) -> None:
    table, training = draw_table(seed, 3, 4), np.random.default_rng(seed).integers(0, 9, (3, 4))
    expected = adjusted_by_loop(table, training)
    assert float(adjusted_average(table, training)) == pytest.approx(expected)
    metric = measure_adjusted_average(table, training)
    assert metric.value == pytest.approx(expected)
    assert metric.n == table[training > 0].sum()
    assert metric.low is not None and metric.high is not None
    assert 0 <= metric.low < expected < metric.high <= 1
    both = adjusted_average(np.stack([table, table[::-1]]), training)
    np.testing.assert_allclose(both[0], expected)  # leading axes


def test_waterbirds_by_hand() -> None:
    """(3498 x 90 + 184 x 60 + 56 x 50 + 1057 x 80) / 4795 = 413220 / 4795 %."""
    hits = np.array([[90, 60], [50, 80]])
    table = np.zeros((2, 2, 2), np.int64)
    for y in range(2):
        table[y, :, y], table[y, :, 1 - y] = hits[y], 100 - hits[y]
    metric = measure_adjusted_average(table, TRAINING)
    assert metric.value == pytest.approx(413220 / 479500)
    assert metric.value != pytest.approx(hits.sum() / 400)


def test_a_training_cell_without_test_rows_is_undefined() -> None:
    table = draw_table(0)
    table[1, 0] = 0
    assert math.isnan(adjusted_average(table, TRAINING))
    assert measure_adjusted_average(table, TRAINING) == UNDEFINED
    without = TRAINING.copy()
    without[1, 0] = 0  # that cell then does not count
    assert measure_adjusted_average(table, without).value == pytest.approx(
        adjusted_by_loop(table, without)
    )
    assert measure_adjusted_average(table, np.zeros((2, 2), np.int64)) == UNDEFINED


def test_equal_shares_have_the_interval_of_the_unweighted_mean() -> None:
    table = draw_table(3)
    metric = measure_adjusted_average(table, np.ones((2, 2), np.int64))
    hits, rows = np.array([table[y, b, y] for y in range(2) for b in range(2)]), table.sum(axis=-1)
    low, high = mean_of_rates(hits, rows.reshape(-1))
    assert (metric.low, metric.high) == (pytest.approx(float(low)), pytest.approx(float(high)))


def test_a_contrast_has_the_limits_of_two_independent_means() -> None:
    hits, rows, c = (
        np.array([[9.0, 5], [0, 20]]),
        np.full((2, 2), 20.0),
        np.array([[0.5, -1], [0.5, 0]]),
    )
    metric = measure_weighted_sum(hits, rows, c)
    assert metric.value == pytest.approx(0.5 * 9 / 20 - 5 / 20)
    assert metric.n == 60  # a cell with the coefficient 0 does not count
    (low, high), (other_low, other_high) = mean_of_rates([9, 0], [20, 20]), mean_of_rates([5], [20])
    assert metric.low == pytest.approx(-0.025 - math.hypot(0.225 - low, other_high - 0.25))
    assert metric.high == pytest.approx(-0.025 + math.hypot(high - 0.225, 0.25 - other_low))


def test_the_interval_holds_with_many_cells_of_small_weight() -> None:
    """100 cells of 100 rows, ten of them with 99.7 % of the weight at a rate of 0.99."""
    rng = np.random.default_rng(0)
    is_large = np.eye(10, dtype=bool)
    shares = np.where(is_large, 0.0997, 0.003 / 90)
    rates, rows = np.where(is_large, 0.99, 0.5), np.full((10, 10), 100)
    truth = float((shares * rates).sum())
    metrics = [measure_weighted_sum(rng.binomial(100, rates), rows, shares) for _ in range(400)]
    assert np.mean([m.low <= truth <= m.high for m in metrics]) > 0.93  # type: ignore[operator]


def test_a_paired_difference_equals_the_difference_of_two_values() -> None:
    rng = np.random.default_rng(1)
    labels, bias, a, b = (rng.integers(0, size, 900) for size in (2, 2, 2, 2))
    counts = count_jointly(labels, bias, a, b, n_labels=2, n_bias=2)
    shares = TRAINING / TRAINING.sum()
    for c in (shares, shares - np.array([[0.5, 0], [0, 0.5]])):
        found = weighted_paired_difference(counts, c)
        of_a, of_b = (weighted_sum(table, c) for table in counts.tables(counts.n))
        assert float(found.value) == pytest.approx(float(of_a - of_b))
        assert found.low < found.value < found.high
    even = weighted_paired_difference(counts, np.full((2, 2), 0.25))
    expected = mean_paired_difference(*(x.reshape(-1) for x in counts.discordant_cells))
    assert [float(even.low), float(even.high)] == pytest.approx(
        [float(expected.low), float(expected.high)]
    )
    empty = count_jointly(labels[:0], bias[:0], a[:0], b[:0], n_labels=2, n_bias=2)
    assert math.isnan(weighted_paired_difference(empty, shares).value)
