"""Predictive parity: comparison with scikit-learn's precision and fairlearn's MetricFrame."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import precision_score

from biascon.errors import UsageError
from biascon.metrics import fairness
from tests.metrics.count_tables import expand_rows

SHAPES = st.tuples(st.integers(2, 3), st.integers(1, 3)).map(lambda s: (s[0], s[1], s[0]))
TABLES = SHAPES.flatmap(lambda s: hnp.arrays(np.int64, s, elements=st.integers(0, 4)))
FULL = SHAPES.filter(lambda s: s[1] > 1).flatmap(
    lambda s: hnp.arrays(np.int64, s, elements=st.integers(1, 6))
)
DIFFERENCE, RATIO = fairness.PARITY_METRICS


def compute_with_loops(table: np.ndarray, k: int) -> tuple[float, float]:
    """Return difference and ratio of the precisions of class k, by plain loops over rows."""
    label, prediction, bias = (x.tolist() for x in expand_rows(table))
    rates = []
    for group in sorted(set(bias)):
        is_correct = [
            y == k for y, p, b in zip(label, prediction, bias, strict=True) if p == k and b == group
        ]
        rates.append(sum(is_correct) / len(is_correct) if is_correct else math.nan)
    if len(rates) < 2 or any(math.isnan(rate) for rate in rates):
        return math.nan, math.nan
    low, high = min(rates), max(rates)
    return high - low, low / high if high else math.nan


def test_metrics_equal_a_hand_worked_table() -> None:
    # Predictions of class 0: 8 of 12 are correct in group 0, 1 of 6 in group 1.
    table = np.array([[[8, 2], [1, 4]], [[4, 6], [5, 15]]])
    assert fairness.compute_precision(table) == pytest.approx(
        np.array([[8 / 12, 1 / 6], [6 / 8, 15 / 19]])
    )
    metrics = fairness.parity_from_counts(table)
    assert metrics[DIFFERENCE] == pytest.approx([8 / 12 - 1 / 6, 15 / 19 - 6 / 8])
    assert metrics[RATIO] == pytest.approx([(1 / 6) / (8 / 12), (6 / 8) / (15 / 19)])


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_metrics_equal_plain_loops_over_rows(table: np.ndarray) -> None:
    metrics = fairness.parity_from_counts(table)
    for k in range(table.shape[0]):
        expected = compute_with_loops(table, k)
        assert metrics[DIFFERENCE][k] == pytest.approx(expected[0], nan_ok=True)
        assert metrics[RATIO][k] == pytest.approx(expected[1], nan_ok=True)


@given(FULL)
@settings(max_examples=15, deadline=None)
def test_metrics_equal_fairlearn_and_scikit_learn_where_defined(table: np.ndarray) -> None:
    label, prediction, bias = expand_rows(table)
    metrics = fairness.parity_from_counts(table)
    for k in range(table.shape[0]):
        frame = MetricFrame(
            metrics=precision_score,
            y_true=(label == k).astype(int),
            y_pred=(prediction == k).astype(int),
            sensitive_features=bias,
        )
        assert metrics[DIFFERENCE][k] == pytest.approx(frame.difference(), rel=1e-12, abs=1e-15)
        assert metrics[RATIO][k] == pytest.approx(frame.ratio(), rel=1e-12)
        assert fairness.compute_precision(table)[k] == pytest.approx(frame.by_group.to_numpy(float))


def test_a_group_that_is_never_given_the_class_has_no_precision() -> None:
    """Where scikit-learn, asked not to warn, has 0.0."""
    table = np.zeros((2, 2, 2), dtype=int)
    table[:, 0], table[:, 1] = [[3, 1], [1, 3]], [[4, 0], [2, 0]]  # group 1 is always predicted 0
    metrics = fairness.parity_from_counts(table)
    label, prediction, bias = expand_rows(table)
    expected = precision_score(label[bias == 1], prediction[bias == 1], zero_division=0)
    assert expected == 0.0
    assert math.isnan(metrics[DIFFERENCE][1])
    assert math.isnan(metrics[RATIO][1])
    assert metrics[DIFFERENCE][0] == pytest.approx(3 / 4 - 4 / 6)


def test_two_precisions_of_zero_have_difference_zero_and_no_ratio() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    table[0, :, 1] = table[1, :, 0] = 5  # every prediction is wrong
    metrics = fairness.parity_from_counts(table)
    assert metrics[DIFFERENCE].tolist() == [0.0, 0.0]
    assert np.isnan(metrics[RATIO]).all()


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_groups_without_rows_are_ignored(groups: int) -> None:
    table = np.zeros((2, groups, 2), dtype=int)
    table[:, 0] = [[3, 1], [2, 4]]
    for value in fairness.parity_from_counts(table).values():
        assert np.isnan(value).all()


@given(hnp.arrays(np.int64, (2, 3, 3, 2, 3), elements=st.integers(0, 3)))
@settings(max_examples=30, deadline=None)
def test_leading_axes_equal_one_table_at_a_time(tables: np.ndarray) -> None:
    metrics = fairness.parity_from_counts(tables)
    for name, value in metrics.items():
        assert value.shape == (2, 3, 3)
        for i in range(2):
            for j in range(3):
                np.testing.assert_array_equal(
                    value[i, j], fairness.parity_from_counts(tables[i, j])[name]
                )


class TestSelectPositiveClass:
    def test_selected_metric_is_that_of_class_one(self) -> None:
        assert fairness.select_positive_class(np.array([[0.1, 0.3], [0.5, np.nan]]))[0] == 0.3
        assert math.isnan(fairness.select_positive_class(np.array([0.5, np.nan])))

    @given(
        hnp.arrays(np.int64, (2, 3, 2), elements=st.integers(1, 6)),
    )
    @settings(max_examples=12, deadline=None)
    def test_selected_metric_equals_fairlearn_for_labels_zero_and_one(
        self, table: np.ndarray
    ) -> None:
        import fairlearn.metrics

        label, prediction, bias = expand_rows(table)
        for name, value in fairness.from_counts(table).items():
            expected = getattr(fairlearn.metrics, name)(label, prediction, sensitive_features=bias)
            assert fairness.select_positive_class(value) == pytest.approx(
                expected, rel=1e-12, abs=1e-15
            ), name

    def test_three_classes_are_an_error(self) -> None:
        with pytest.raises(UsageError, match="of two classes, but got 3"):
            fairness.select_positive_class(np.zeros(3))
