"""Bias amplification: hand-worked tables, plain loops over rows, undefined values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biascon.errors import UsageError
from biascon.metrics import amplification
from biascon.metrics.fairness import average_classes

CO_OCCURRENCE, ATTRIBUTE_TO_TASK, TASK_TO_ATTRIBUTE = amplification.METRICS
SHAPES = st.tuples(st.integers(2, 3), st.integers(2, 3))
# (training table, test table, test table of predicted groups)
PROBLEMS = SHAPES.flatmap(
    lambda s: st.tuples(
        hnp.arrays(np.int64, s, elements=st.integers(0, 5)),
        hnp.arrays(np.int64, (*s, s[0]), elements=st.integers(0, 3)),
        hnp.arrays(np.int64, (*s, s[1]), elements=st.integers(0, 3)),
    )
)


def mean_without_nan(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def share_of_true(flags: list[bool]) -> float:
    return sum(flags) / len(flags) if flags else math.nan


def expand_rows(table: np.ndarray) -> list[tuple[int, ...]]:
    """Return the rows that a table counts, one tuple of indices per row."""
    return [tuple(cell) for cell in np.argwhere(table >= 0) for _ in range(table[tuple(cell)])]


def co_occurrence_with_loops(training: np.ndarray, counts: np.ndarray) -> float:
    """Return the double sum of Zhao et al. by loops over rows."""
    training_rows = expand_rows(training)
    predicted = [(p, b) for _, b, p in expand_rows(counts)]
    groups = sorted({b for _, b in training_rows})
    per_class = []
    for k in range(training.shape[0]):
        if not any(y == k for y, _ in training_rows) or not any(p == k for p, _ in predicted):
            continue
        total = 0.0
        for g in groups:
            training_share = share_of_true([b == g for y, b in training_rows if y == k])
            n = sum(y == k for y, _ in training_rows)
            if sum((y, b) == (k, g) for y, b in training_rows) * len(groups) > n:
                total += share_of_true([b == g for p, b in predicted if p == k]) - training_share
        per_class.append(total)
    return mean_without_nan(per_class)


def directional_with_loops(training: np.ndarray, table: np.ndarray, *, to_task: bool) -> float:
    """Return directional amplification by loops over rows, as in the code of its authors."""
    training_rows, test_rows = expand_rows(training), expand_rows(table)
    terms = []
    for t in range(training.shape[0]):
        for a in range(training.shape[1]):
            n_t = sum(y == t for y, _ in training_rows)
            n_a = sum(b == a for _, b in training_rows)
            if not n_t or not n_a:
                continue
            n_ta = sum((y, b) == (t, a) for y, b in training_rows)
            sign = np.sign(n_ta * len(training_rows) - n_t * n_a)
            if to_task:
                pairs = [(y == t, p == t) for y, b, p in test_rows if b == a]
            else:
                pairs = [(b == a, g == a) for y, b, g in test_rows if y == t]
            actual_share = share_of_true([actual for actual, _ in pairs])
            predicted_share = share_of_true([predicted for _, predicted in pairs])
            terms.append(sign * (predicted_share - actual_share))
    return mean_without_nan(terms)


class TestByHand:
    # 3 of 4 rows of class 0 are in group 0, 3 of 4 rows of class 1 are in group 1.
    training = np.array([[30, 10], [10, 30]])
    # A balanced test set with 10 rows per cell. Half of the bias-conflicting rows are predicted as the
    # class that is correlated with their group.
    counts = np.array([[[10, 0], [5, 5]], [[5, 5], [0, 10]]])

    def test_co_occurrence_equals_a_hand_worked_table(self) -> None:
        # Of 20 predictions of class 0, 15 are in group 0: the same share as in training.
        assert amplification.co_occurrence(self.training, self.counts).tolist() == [0.0, 0.0]
        # Predictions that follow the bias only: class 0 is predicted for all rows of group 0.
        follows_bias = np.zeros((2, 2, 2), dtype=int)
        follows_bias[:, 0, 0] = follows_bias[:, 1, 1] = 10
        assert amplification.co_occurrence(self.training, follows_bias).tolist() == [0.25, 0.25]
        values = amplification.from_counts(self.training, follows_bias)
        assert values[CO_OCCURRENCE] == 0.25

    def test_perfect_predictions_on_a_balanced_set_have_negative_co_occurrence(self) -> None:
        """Co-occurrence compares two sets; directional amplification does not."""
        perfect = np.zeros((2, 2, 2), dtype=int)
        perfect[0, :, 0] = perfect[1, :, 1] = 10
        values = amplification.from_counts(self.training, perfect)
        assert values[CO_OCCURRENCE] == -0.25
        assert values[ATTRIBUTE_TO_TASK] == 0.0

    def test_attribute_to_task_equals_a_hand_worked_table(self) -> None:
        # In group 0, 15 of 20 rows are predicted as class 0 and 10 have this label. The pair (0, 0) is
        # positively correlated in training, so its term is +0.25.
        terms = amplification.attribute_to_task(self.training, self.counts)
        assert terms.tolist() == [[0.25, 0.25], [0.25, 0.25]]
        assert amplification.from_counts(self.training, self.counts)[ATTRIBUTE_TO_TASK] == 0.25

    def test_predictions_against_the_bias_have_negative_attribute_to_task(self) -> None:
        reversed_predictions = self.counts[:, :, ::-1]
        assert (
            amplification.from_counts(self.training, reversed_predictions)[ATTRIBUTE_TO_TASK]
            == -0.25
        )

    def test_task_to_attribute_equals_a_hand_worked_table(self) -> None:
        # Of class 0, 12 of 20 rows are predicted to be in group 0 and 10 are in this group.
        table = np.array([[[10, 0], [2, 8]], [[6, 4], [0, 10]]])
        terms = amplification.task_to_attribute(self.training, table)
        assert terms == pytest.approx(np.array([[0.1, 0.1], [0.2, 0.2]]))
        values = amplification.from_counts(self.training, self.counts, table)
        assert values[TASK_TO_ATTRIBUTE] == pytest.approx(0.15)

    def test_without_predicted_attributes_task_to_attribute_is_nan(self) -> None:
        assert math.isnan(amplification.from_counts(self.training, self.counts)[TASK_TO_ATTRIBUTE])

    def test_uncorrelated_training_labels_give_zero_amplification(self) -> None:
        values = amplification.from_counts(np.full((2, 2), 7), self.counts)
        assert values[CO_OCCURRENCE] == 0.0
        assert values[ATTRIBUTE_TO_TASK] == 0.0


class TestUndefined:
    training = np.array([[30, 10], [10, 30]])

    def test_a_class_that_is_never_predicted_is_nan(self) -> None:
        counts = np.zeros((2, 2, 2), dtype=int)
        counts[:, :, 0] = 10
        per_class = amplification.co_occurrence(self.training, counts)
        assert per_class[0] == -0.25
        assert math.isnan(per_class[1])
        assert amplification.from_counts(self.training, counts)[CO_OCCURRENCE] == -0.25

    def test_pairs_of_a_group_without_test_rows_are_nan(self) -> None:
        counts = np.zeros((2, 2, 2), dtype=int)
        counts[:, 0] = [[8, 2], [4, 6]]
        terms = amplification.attribute_to_task(self.training, counts)
        assert np.isnan(terms[:, 1]).all()
        assert terms[:, 0] == pytest.approx([0.1, 0.1])

    def test_a_class_or_group_without_training_rows_is_nan(self) -> None:
        training = np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])
        counts = np.ones((3, 3, 3), dtype=int)
        assert math.isnan(amplification.co_occurrence(training, counts)[2])
        terms = amplification.attribute_to_task(training, counts)
        assert np.isnan(terms[2]).all()
        assert np.isnan(terms[:, 2]).all()
        assert not np.isnan(terms[:2, :2]).any()

    def test_without_any_rows_every_metric_is_nan(self) -> None:
        no_rows = np.zeros((2, 2, 2), dtype=int)
        for value in amplification.from_counts(self.training, no_rows, no_rows).values():
            assert math.isnan(value)
        for value in amplification.from_counts(no_rows[0], no_rows, no_rows).values():
            assert math.isnan(value)


@given(PROBLEMS)
@settings(max_examples=60, deadline=None)
def test_amplifications_equal_plain_loops_over_rows(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    training, counts, attribute_counts = problem
    values = amplification.from_counts(training, counts, attribute_counts)
    expected = {
        CO_OCCURRENCE: co_occurrence_with_loops(training, counts),
        ATTRIBUTE_TO_TASK: directional_with_loops(training, counts, to_task=True),
        TASK_TO_ATTRIBUTE: directional_with_loops(training, attribute_counts, to_task=False),
    }
    for name, value in values.items():
        assert value == pytest.approx(expected[name], nan_ok=True, abs=1e-12), name


@given(hnp.arrays(np.int64, (3, 2), elements=st.integers(0, 5)), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_leading_axes_equal_one_table_at_a_time(training: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, (2, 3, 3, 2, 3))
    attribute_counts = rng.integers(0, 3, (2, 3, 3, 2, 2))
    values = amplification.from_counts(training, counts, attribute_counts)
    for name, value in values.items():
        assert value.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                single = amplification.from_counts(training, counts[i, j], attribute_counts[i, j])
                assert value[i, j] == pytest.approx(single[name], nan_ok=True, abs=1e-12), name


def test_large_counts_do_not_overflow() -> None:
    training = np.array([[3, 1], [1, 3]]) * 10**12
    counts = np.array([[[10, 0], [5, 5]], [[5, 5], [0, 10]]])
    assert amplification.attribute_to_task(training, counts).tolist() == [[0.25, 0.25]] * 2


def test_co_occurrence_is_averaged_over_classes() -> None:
    training = np.array([[4, 0], [1, 3]])
    counts = np.array([[[5, 1], [2, 2]], [[3, 2], [1, 4]]])
    per_class = amplification.co_occurrence(training, counts)
    assert amplification.from_counts(training, counts)[CO_OCCURRENCE] == average_classes(per_class)


@pytest.mark.parametrize(
    ("training", "counts", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2, 2), int), r"of integers \(K, M\), but got float64"),
        (np.zeros(2, int), np.zeros((2, 2, 2), int), r"of integers \(K, M\), but got int64 \(2,\)"),
        (np.zeros((2, 3), int), np.zeros((2, 2, 2), int), r"expected counts .*\(2, 3, 2\)"),
    ],
)
def test_tables_that_do_not_fit_are_an_error(
    training: np.ndarray, counts: np.ndarray, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        amplification.from_counts(training, counts)
