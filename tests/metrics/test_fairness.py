"""Group fairness: both functions agree with loops and with fairlearn; undefined metrics are NaN."""

from __future__ import annotations

import math
from collections.abc import Callable

import fairlearn.metrics
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biascon.metrics.fairness import METRICS, average_classes, from_counts
from tests.metrics.count_tables import expand_rows
from tests.metrics.metric_frame import compute_with_metric_frame

DPD, DPR, EOD, EOR, EOPP = METRICS
Compute = Callable[[np.ndarray], dict[str, np.ndarray]]
SHAPES = st.tuples(st.integers(2, 3), st.integers(1, 3)).map(lambda s: (s[0], s[1], s[0]))
TABLES = SHAPES.flatmap(lambda s: hnp.arrays(np.int64, s, elements=st.integers(0, 4)))


def from_rows(table: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics of the rows that a table counts, computed by fairlearn's MetricFrame."""
    return compute_with_metric_frame(*expand_rows(table), table.shape[0])


def compute_with_loops(table: np.ndarray, k: int) -> dict[str, float]:
    """Return the metrics of class k against all other classes, by plain loops over rows."""
    label, prediction, bias = (x.tolist() for x in expand_rows(table))

    def rate(group: int, uses_label: Callable[[int], bool]) -> float:
        is_selected = [
            p == k
            for y, p, b in zip(label, prediction, bias, strict=True)
            if b == group and uses_label(y)
        ]
        return sum(is_selected) / len(is_selected) if is_selected else math.nan

    def compare(uses_label: Callable[[int], bool]) -> tuple[float, float]:
        rates = [rate(group, uses_label) for group in sorted(set(bias))]
        if len(rates) < 2 or any(math.isnan(r) for r in rates):
            return math.nan, math.nan
        low, high = min(rates), max(rates)
        return high - low, low / high if high else math.nan

    selection = compare(lambda y: True)
    tpr, fpr = compare(lambda y: y == k), compare(lambda y: y != k)

    undefined = math.isnan(tpr[0]) or math.isnan(fpr[0])
    ratios = [ratio for ratio in (tpr[1], fpr[1]) if not math.isnan(ratio)]
    return {
        DPD: selection[0],
        DPR: selection[1],
        EOD: math.nan if undefined else max(tpr[0], fpr[0]),
        EOR: math.nan if undefined else min(ratios, default=math.nan),
        EOPP: tpr[0],
    }


def test_metrics_equal_a_hand_worked_table() -> None:
    # Group 0: 10 rows of class 0 (8 correct) and 10 rows of class 1 (6 correct).
    # Group 1: 5 rows of class 0 (1 correct) and 20 rows of class 1 (15 correct).
    table = np.array([[[8, 2], [1, 4]], [[4, 6], [5, 15]]])
    metrics = from_counts(table)
    selection = (8 + 4) / 20, (1 + 5) / 25  # share predicted as class 0 in each group
    tpr, fpr = (8 / 10, 1 / 5), (4 / 10, 5 / 20)
    assert metrics[DPD][0] == pytest.approx(selection[0] - selection[1])
    assert metrics[DPR][0] == pytest.approx(selection[1] / selection[0])
    assert metrics[EOD][0] == pytest.approx(max(tpr[0] - tpr[1], fpr[0] - fpr[1]))
    assert metrics[EOR][0] == pytest.approx(min(tpr[1] / tpr[0], fpr[1] / fpr[0]))
    assert metrics[EOPP][0] == pytest.approx(tpr[0] - tpr[1])
    # Class 1: its rates are one minus those of class 0, with true and false positives exchanged.
    assert metrics[DPD][1] == pytest.approx(metrics[DPD][0])
    assert metrics[EOD][1] == pytest.approx(metrics[EOD][0])
    assert metrics[EOPP][1] == pytest.approx(15 / 20 - 6 / 10)


@pytest.mark.parametrize("compute", [from_counts, from_rows])
class TestBothFunctions:
    def test_predictions_that_follow_the_bias_have_the_worst_values(self, compute: Compute) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[:, 0, 0], table[:, 1, 1] = 10, 10
        metrics = compute(table)
        for name, worst in ((DPD, 1.0), (DPR, 0.0), (EOD, 1.0), (EOR, 0.0), (EOPP, 1.0)):
            assert metrics[name].tolist() == [worst, worst], name

    def test_equal_rates_in_both_groups_have_the_best_values(self, compute: Compute) -> None:
        table = np.array([[[6, 2], [3, 1]], [[1, 3], [2, 6]]])  # TPR 3/4, FPR 1/4
        metrics = compute(table)
        for name, best in ((EOD, 0.0), (EOR, 1.0), (EOPP, 0.0)):
            assert metrics[name] == pytest.approx([best, best]), name
        assert metrics[DPD] == pytest.approx(
            [7 / 12 - 5 / 12] * 2
        )  # the label distributions differ

    def test_metrics_of_a_single_group_are_nan(self, compute: Compute) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[:, 0] = [[3, 1], [2, 4]]
        for name, value in compute(table).items():
            assert np.isnan(value).all(), name

    def test_a_group_without_rows_of_the_class_makes_its_metrics_nan(
        self, compute: Compute
    ) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[:, 0], table[1, 1] = [[3, 1], [2, 2]], [1, 3]  # group 1 has no row of class 0
        metrics = compute(table)
        assert metrics[DPD] == pytest.approx([5 / 8 - 1 / 4] * 2)
        assert metrics[DPR] == pytest.approx([(1 / 4) / (5 / 8), (3 / 8) / (3 / 4)])
        for name in (EOD, EOR):
            assert np.isnan(metrics[name]).all(), name  # class 1 has no FPR in group 1
        assert math.isnan(metrics[EOPP][0])
        assert metrics[EOPP][1] == pytest.approx(3 / 4 - 1 / 2)

    def test_a_group_without_rows_is_ignored(self, compute: Compute) -> None:
        two = np.array([[[6, 2], [3, 3]], [[1, 3], [2, 6]]])
        three = np.concatenate([two[:, :1], np.zeros((2, 1, 2), int), two[:, 1:]], axis=1)
        expected, metrics = compute(two), compute(three)
        for name in METRICS:
            assert metrics[name] == pytest.approx(expected[name]), name
            assert not np.isnan(metrics[name]).any()

    def test_a_class_without_labels_and_predictions_has_only_parity_difference(
        self, compute: Compute
    ) -> None:
        table = np.zeros((3, 2, 3), dtype=int)
        table[:2, :, :2] = [[[6, 2], [3, 3]], [[1, 3], [2, 6]]]
        metrics = compute(table)
        assert metrics[DPD][2] == 0.0  # the selection rate is 0 in every group
        for name in (DPR, EOD, EOR, EOPP):
            assert math.isnan(metrics[name][2]), name
        assert not any(np.isnan(metrics[name][:2]).any() for name in METRICS)


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_metrics_from_counts_equal_plain_loops_over_rows(table: np.ndarray) -> None:
    metrics = from_counts(table)
    for k in range(table.shape[0]):
        expected = compute_with_loops(table, k)
        for name in METRICS:
            assert metrics[name][k] == pytest.approx(expected[name], nan_ok=True), (name, k)


@given(TABLES)
@settings(max_examples=30, deadline=None)
def test_metrics_from_counts_equal_metrics_from_rows(table: np.ndarray) -> None:
    assume(table.sum() > 1)  # a single row has a test of its own below
    by_counts, by_rows = from_counts(table), from_rows(table)
    assert set(by_counts) == set(by_rows) == set(METRICS)
    for name in METRICS:
        np.testing.assert_allclose(by_rows[name], by_counts[name], rtol=1e-12, atol=1e-15)


@given(
    SHAPES.filter(lambda s: s[1] > 1).flatmap(
        lambda s: hnp.arrays(np.int64, s, elements=st.integers(1, 6))
    )
)
@settings(max_examples=12, deadline=None)
def test_both_functions_equal_fairlearn_where_every_rate_is_defined(table: np.ndarray) -> None:
    label, prediction, bias = expand_rows(table)
    results = from_counts(table), from_rows(table)
    for k in range(table.shape[0]):
        for name in METRICS:
            expected = getattr(fairlearn.metrics, name)(
                label == k, prediction == k, sensitive_features=bias
            )
            for metrics in results:
                assert metrics[name][k] == pytest.approx(expected, rel=1e-12, abs=1e-15), (name, k)


@pytest.mark.parametrize("hits", [(18, 10), (0, 0)])
def test_a_rate_of_0_in_every_group_leaves_the_other_ratio(hits: tuple[int, int]) -> None:
    """No false positive in either group; where no row is selected at all, the ratio is undefined."""
    table = np.array([[[20, 0], [20, 0]], [[20 - h, h] for h in hits]])
    label, prediction, bias = expand_rows(table)
    ratio = fairlearn.metrics.equalized_odds_ratio(label, prediction, sensitive_features=bias)
    assert ratio == pytest.approx(10 / 18 if hits[0] else math.nan, nan_ok=True)
    assert from_counts(table)[EOR][1] == pytest.approx(ratio, nan_ok=True)


def test_a_false_positive_rate_without_rows_leaves_no_ratio() -> None:
    table = np.array([[[20, 0], [0, 0]], [[2, 18], [10, 10]]])
    assert math.isnan(from_counts(table)[EOR][1])


def test_metrics_of_a_single_row_are_nan() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    table[0, 1, 0] = 1
    for name, value in from_rows(table).items():
        assert np.isnan(value).all(), name


def test_fairlearn_returns_zero_where_a_rate_is_undefined() -> None:
    """Reason for NaN in this package. If this test fails, fairlearn has changed its definition."""
    table = np.zeros((2, 2, 2), dtype=int)
    table[:, 0], table[1, 1] = [[0, 4], [2, 2]], [1, 3]
    label, prediction, bias = expand_rows(table)
    fairlearn_value = fairlearn.metrics.equal_opportunity_difference(
        label == 0, prediction == 0, sensitive_features=bias
    )
    assert fairlearn_value == 0.0
    assert math.isnan(from_counts(table)[EOPP][0])


@given(hnp.arrays(np.int64, (2, 3, 3, 2, 3), elements=st.integers(0, 3)))
@settings(max_examples=40, deadline=None)
def test_leading_axes_equal_one_table_at_a_time(tables: np.ndarray) -> None:
    metrics = from_counts(tables)
    for name in METRICS:
        assert metrics[name].shape == (2, 3, 3)
        for i in range(2):
            for j in range(3):
                np.testing.assert_array_equal(metrics[name][i, j], from_counts(tables[i, j])[name])


@given(
    hnp.arrays(np.int64, (3, 3, 3), elements=st.integers(0, 4)),
    st.permutations(range(3)),
    st.permutations(range(3)),
)
@settings(deadline=None)
def test_permuting_classes_and_groups_changes_no_metric(
    table: np.ndarray, classes: list[int], groups: list[int]
) -> None:
    before, after = from_counts(table), from_counts(table[classes][:, groups][:, :, classes])
    for name in METRICS:
        np.testing.assert_allclose(after[name], before[name][classes], rtol=1e-12)


class TestAverageClasses:
    def test_average_is_over_the_classes_with_a_value(self) -> None:
        values = np.array([[0.2, np.nan, 0.6], [np.nan, np.nan, np.nan], [0.0, 0.3, 0.6]])
        averages = average_classes(values)
        assert averages[0] == pytest.approx(0.4)
        assert math.isnan(averages[1])
        assert averages[2] == pytest.approx(0.3)

    def test_average_of_one_table_is_a_number(self) -> None:
        assert average_classes(np.array([0.25, 0.75])) == 0.5
        assert math.isnan(average_classes(np.array([np.nan])))


@settings(deadline=None, max_examples=30)
@given(TABLES)
def test_counts_and_metric_frames_give_the_same_bits(table: np.ndarray) -> None:
    """The reported values come from counts; earlier ones came from MetricFrame."""
    assume(table.sum() > 0)
    counted, framed = from_counts(table), from_rows(table)
    for name in METRICS:
        np.testing.assert_array_equal(counted[name], framed[name], err_msg=name)
