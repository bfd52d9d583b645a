"""The summary of a table of counts: the positive class, the mean over classes, and the compared groups."""

from __future__ import annotations

import numpy as np
import pytest

from biascon.errors import UsageError
from biascon.metrics import fairness
from biascon.metrics.records import Cell, MetricSummary
from biascon.metrics.summary import COMPARISONS, find_positive_class, measure_counts

LABELS = ["no", "yes"]
# 30 of 200 rows of the first group and 20 of 200 rows of the second group are selected.
SELECTION = np.array([[[150, 10], [160, 5]], [[20, 20], [20, 15]]])


def measure(table: np.ndarray, **options: object) -> MetricSummary:
    labels = LABELS if len(table) == 2 else [f"class {k}" for k in range(len(table))]
    return measure_counts(table, labels, None, seed=0, intervals=False, **options)  # type: ignore[arg-type]


def test_headline_of_two_classes_is_that_of_the_positive_class() -> None:
    summary = measure(SELECTION)
    assert summary.positive == "yes"
    assert summary["demographic_parity_ratio"].value == pytest.approx(2 / 3)
    assert summary.macro["demographic_parity_ratio"].value == pytest.approx((2 / 3 + 170 / 180) / 2)
    assert all(summary[name] == summary.by_class["yes"][name] for name in COMPARISONS)


def test_the_positive_class_can_be_named() -> None:
    summary = measure(SELECTION, positive="no")
    assert summary.positive == "no"
    assert summary["demographic_parity_ratio"].value == pytest.approx(170 / 180)
    assert summary.macro == measure(SELECTION).macro


def test_a_positive_class_is_one_of_the_classes() -> None:
    with pytest.raises(UsageError, match="none of the classes"):
        find_positive_class(LABELS, [True, True], "Yes")
    assert find_positive_class(["a", "b", "c"], [True] * 3, "a") == 0
    assert find_positive_class(["a", "b", "c"], [True] * 3, None) is None
    assert find_positive_class(["a"], [True], None) is None


def test_a_value_that_is_only_predicted_leaves_two_labels_two_classes() -> None:
    """One row of each group is predicted as "refused", which is the label of no row."""
    table = np.zeros((3, 2, 3), dtype=int)
    table[np.ix_([0, 2], [0, 1], [0, 2])] = SELECTION
    table[0, :, 1] = 1
    names = ["no", "refused", "yes"]
    summary = measure_counts(table, names, None, seed=0, intervals=False)
    assert summary.positive == "yes"
    assert summary["demographic_parity_ratio"].value == pytest.approx((20 / 201) / (30 / 201))


def test_a_value_that_is_only_predicted_changes_no_mean() -> None:
    """One row of four classes is predicted as the fourth one, which is the label of no row."""
    table = np.zeros((4, 2, 4), dtype=int)
    table[:3, :, :3] = np.random.default_rng(0).integers(500, 900, (3, 2, 3))
    before = measure_counts(table[:3, :, :3], ["a", "b", "c"], None, seed=0)
    table[0, 0, 3] = 1
    after = measure_counts(table, ["a", "b", "c", "d"], None, seed=0)
    for name in ("demographic_parity_difference", "equalized_odds_ratio"):
        value, low, high = after[name].value, after[name].low, after[name].high
        assert value == pytest.approx(before[name].value, abs=0.002)
        assert (low, high) == pytest.approx((before[name].low, before[name].high), abs=0.01)
    alone = measure_counts(
        np.concatenate([table, np.zeros((4, 1, 4), int)], axis=1),
        ["a", "b", "c", "d"], None, seed=0, compared=np.array([True, True, False]),
    )  # fmt: skip
    assert (
        alone["demographic_parity_difference"].value == after["demographic_parity_difference"].value
    )


def test_a_named_class_of_three_is_compared_with_the_rest() -> None:
    table = np.random.default_rng(0).integers(5, 50, (3, 2, 3))
    summary = measure(table, positive="class 1")
    assert summary.positive == "class 1"
    assert all(summary[name] == summary.by_class["class 1"][name] for name in COMPARISONS)


def test_headline_of_more_classes_is_the_mean() -> None:
    table = np.random.default_rng(0).integers(5, 50, (3, 2, 3))
    summary = measure(table)
    assert summary.positive is None
    for name, values in fairness.from_counts(table).items():
        assert summary[name].value == pytest.approx(values.mean())
        assert summary.macro[name] == summary[name]


def test_a_group_without_a_positive_row_leaves_no_number_behind() -> None:
    """Class "yes" differs by 40 points between the first two groups; the third has no row of it."""
    table = np.array([[[50, 0], [50, 0], [50, 0]], [[10, 40], [30, 20], [0, 0]]])
    summary = measure(table)
    assert summary["equal_opportunity_difference"].value is None
    assert summary.macro["equal_opportunity_difference"].value is None
    assert summary.by_class["no"]["equal_opportunity_difference"].value == 0
    compared = measure(table, compared=np.array([True, True, False]))
    assert compared["equal_opportunity_difference"].value == pytest.approx(0.4)
    assert compared["equal_opportunity_difference"].n == 200
    assert compared["top1"].n == 250


def test_worst_group_is_one_of_the_compared_groups() -> None:
    table = np.array([[[1, 1], [50, 0], [40, 10]], [[0, 2], [0, 50], [5, 45]]])
    assert measure(table)["worst_group"].cell == Cell(0, 0)
    summary = measure(table, compared=np.array([False, True, True]))
    assert summary["worst_group"].cell == Cell(0, 2)
    assert (summary["worst_group"].value, summary["worst_group"].n) == (0.8, 50)


def test_without_compared_groups_the_comparisons_are_undefined() -> None:
    summary = measure_counts(SELECTION, LABELS, None, seed=0, compared=np.array([False, False]))
    assert summary["worst_group"].value is None and summary["worst_group"].n == 0
    assert all(summary[name].value is None for name in COMPARISONS)
    assert summary["top1"].value is not None
    assert summary.disparity is None


def test_intervals_and_tests_are_those_of_the_positive_class() -> None:
    for positive in LABELS:
        summary = measure_counts(SELECTION, LABELS, None, seed=0, positive=positive)
        assert (
            summary["equal_opportunity_difference"]
            == (summary.by_class[positive]["equal_opportunity_difference"])
        )
        assert summary["equal_opportunity_difference"].interval is not None
        value = summary["equal_opportunity_difference"].value
        assert value == pytest.approx(10 / 160 - 5 / 165 if positive == "no" else 20 / 40 - 15 / 35)
    copy = MetricSummary.from_json(summary.to_json(), tuple(summary.metrics))
    assert copy.macro == summary.macro and copy.positive == "yes"


def test_multi_class_equalized_odds_are_tested_with_more_than_two_classes() -> None:
    """Predictions that depend on the label alone, in groups with other mixes of labels."""
    name, odds = "multiclass_equalized_odds_difference", "equalized_odds_difference"
    rates = np.array([[90, 0, 10], [10, 80, 10], [30, 0, 70]])
    mix = np.array([[8, 1], [1, 8], [1, 1]])  # label x group
    table = rates[:, None] * mix[:, :, None]
    labels = ["a", "b", "c"]
    composition = measure_counts(table, labels, None, seed=0)
    assert composition.disparity is not None
    assert (composition[odds].value or 0) > 0.02
    assert composition.disparity[name].p == 1
    other = table.copy()
    other[0, 0] = [500, 0, 300]
    found = measure_counts(other, labels, None, seed=0).disparity
    assert found is not None and (found[name].p or 1) < 0.005
    assert found[name].within == "labels"
    assert name not in (measure(SELECTION).disparity or {})
