"""Intervals of comparisons of groups in audits: how often they hold the truth in unequal groups."""

from __future__ import annotations

import numpy as np
import pytest

from biascon.auditing.display.formats import format_ratio
from biascon.auditing.group_rates import WeightTables, measure_rates
from biascon.auditing.reference import average_odds_difference, compare_to_reference
from biascon.auditing.weighted import measure_weighted
from biascon.metrics.records import MetricSummary
from biascon.utils.types import Array

UNEQUAL = (3000, 1000, 300, 100, 60, 40, 40, 40, 40, 40)


def draw_rows(
    rng: np.random.Generator, n: tuple[int, ...], rate: float
) -> tuple[Array, Array, Array]:
    """Labels, groups and predictions that are right at one rate for both labels and all groups."""
    groups = np.repeat(np.arange(len(n)), n)
    labels = rng.integers(0, 2, len(groups))
    return labels, groups, np.where(rng.random(len(groups)) < rate, labels, 1 - labels)


def add_weights(rows: tuple[Array, Array, Array], weights: Array, groups: int) -> Array:
    """Sums of weights by label, group and prediction."""
    table = np.zeros((2, groups, 2), weights.dtype)
    np.add.at(table, rows, weights)
    return table


def summarize_weighted(
    rows: tuple[Array, Array, Array], weights: Array, groups: int
) -> MetricSummary:
    counts, sums, squares = (
        add_weights(rows, w, groups) for w in (np.ones_like(rows[0]), weights, weights**2)
    )
    tables = WeightTables.from_arrays("w", sums, squares)
    compared = np.ones(groups, dtype=bool)
    return measure_weighted(counts, tables, ["0", "1"], None, positive=1, compared=compared)


@pytest.mark.parametrize(("n", "rate"), [((5000, 40), 0.98), (UNEQUAL, 0.98)])
def test_average_odds_of_unequal_groups_cover_the_truth(n: tuple[int, ...], rate: float) -> None:
    """Wilson's limits of all pairs held 0 in 90 % of these tables."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        rows = draw_rows(rng, n, rate)
        counts = add_weights(rows, np.ones_like(rows[0]), len(n))
        metric = average_odds_difference(measure_rates(counts), 1, np.ones(len(n), dtype=bool))
        found += metric.low == 0
    assert found >= 0.95 * 300


@pytest.mark.parametrize("equal", [True, False])
def test_weighted_comparisons_of_unequal_groups_cover_the_truth(equal: bool) -> None:
    """Wilson's limits of all pairs held the truth in 89 to 91 % of these tables."""
    rng = np.random.default_rng(2)
    truth = {"equalized_odds_difference": 0, "equal_opportunity_difference": 0,
             "predictive_parity_difference": 0, "equalized_odds_ratio": 1}  # fmt: skip
    found = dict.fromkeys(truth, 0)
    for _ in range(200):
        rows = draw_rows(rng, UNEQUAL, 0.98)
        weights = np.ones(len(rows[0])) if equal else rng.choice([0.5, 1, 2], len(rows[0]))
        metrics = summarize_weighted(rows, weights, len(UNEQUAL)).metrics
        for name, value in truth.items():
            metric = metrics[name]
            # No interval: a group without a selected row, or no row that is wrong.
            found[name] += metric.low is None or metric.low <= value <= metric.high
    assert min(found.values()) >= 0.94 * 200, found


def test_a_group_without_weight_leaves_the_others_their_interval() -> None:
    rows = draw_rows(np.random.default_rng(3), (200, 200, 20), 0.9)
    weights = np.where(rows[1] < 2, 1.0, 0.0)
    both = summarize_weighted(rows, weights, 3).metrics
    kept = tuple(values[rows[1] < 2] for values in rows)
    alone = summarize_weighted(kept, np.ones(len(kept[0])), 2).metrics
    for name in ("equalized_odds_difference", "demographic_parity_ratio"):
        assert both[name].value == pytest.approx(alone[name].value)
        assert both[name].low == pytest.approx(alone[name].low)
        assert both[name].high == pytest.approx(alone[name].high)


def test_weights_tied_to_the_outcome_have_intervals_that_cover_the_truth() -> None:
    """3 % of the rows are thirty times as heavy and right in 30 % in place of 95 %: 90 % with Kish's n."""
    share, weight, right = np.array([0.97, 0.03]), np.array([1.0, 30.0]), np.array([0.95, 0.3])
    truth = (share * weight * right).sum() / (share * weight).sum()
    rng = np.random.default_rng(4)
    found = 0
    for rows in rng.multinomial(1000, share, 400):
        hits = rng.binomial(rows, right)
        tables = np.zeros(
            (3, 2, 1, 2)
        )  # weights to the power 0, 1 and 2; all rows have the label 1
        for power in range(3):
            tables[power, 1, 0] = (
                ((rows - hits) * weight**power).sum(),
                (hits * weight**power).sum(),
            )
        weights = WeightTables.from_arrays("w", *tables[1:])
        metric = (
            measure_rates(tables[0].astype(int), weights)
            .by_class["true_positive_rate"]
            .metric(1, 0)
        )
        found += metric.low <= truth <= metric.high
    assert found >= 0.93 * 400
    all_rows = measure_weighted(
        tables[0].astype(int),
        weights,
        ["0", "1"],
        None,
        positive=1,
        compared=np.ones(1, dtype=bool),
    ).metrics["top1"]
    assert (all_rows.low, all_rows.high) == pytest.approx((metric.low, metric.high))


def test_the_ratio_to_a_rate_of_0_keeps_its_lower_limit() -> None:
    """Groups with a false positive rate of 5/50, of 0/50 and of 0/50, and true positive rates of 1."""
    counts = np.array([[[45, 5], [50, 0], [50, 0]], [[0, 50], [0, 50], [0, 50]]])
    first, third = compare_to_reference(
        measure_rates(counts), 1, 1, np.ones(counts.shape[1], dtype=bool)
    )
    ratio = first.ratios["false_positive_rate"]
    assert ratio.value is None and ratio.high is None and 0 < ratio.low < 2
    assert format_ratio(ratio) == f"- [{ratio.low:.2f}, -]"
    undefined = third.ratios["false_positive_rate"]
    assert (undefined.value, undefined.low, undefined.high) == (None, None, None)
    assert format_ratio(undefined) == "-"
