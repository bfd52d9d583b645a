"""Bias amplification: hand-worked tables, plain loops over rows, what is undefined."""

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

ZHAO, FORTH, BACK = amplification.METRICS
SHAPES = st.tuples(st.integers(2, 3), st.integers(2, 3))
PROBLEMS = SHAPES.flatmap(
    lambda s: st.tuples(
        hnp.arrays(np.int64, s, elements=st.integers(0, 5)),
        hnp.arrays(np.int64, (*s, s[0]), elements=st.integers(0, 3)),
        hnp.arrays(np.int64, (*s, s[1]), elements=st.integers(0, 3)),
    )
)


def mean(values: list[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan


def share(numbers: list[bool]) -> float:
    return sum(numbers) / len(numbers) if numbers else math.nan


def rows(table: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(cell) for cell in np.argwhere(table >= 0) for _ in range(table[tuple(cell)])]


def naive_zhao(training: np.ndarray, counts: np.ndarray) -> float:
    """The paper's double sum, over rows."""
    seen, predicted = rows(training), [(p, b) for _, b, p in rows(counts)]
    groups = sorted({b for _, b in seen})
    of_class = []
    for k in range(training.shape[0]):
        total = 0.0
        if not any(y == k for y, _ in seen) or not any(p == k for p, _ in predicted):
            continue
        for g in groups:
            before = share([b == g for y, b in seen if y == k])
            n = sum(y == k for y, _ in seen)
            if sum((y, b) == (k, g) for y, b in seen) * len(groups) > n:
                total += share([b == g for p, b in predicted if p == k]) - before
        of_class.append(total)
    return mean(of_class)


def naive_directional(training: np.ndarray, table: np.ndarray, *, to_task: bool) -> float:
    """Rows as indicator vectors, as the authors' code has them."""
    seen, tested = rows(training), rows(table)
    terms = []
    for t in range(training.shape[0]):
        for a in range(training.shape[1]):
            n_t, n_a = sum(y == t for y, _ in seen), sum(b == a for _, b in seen)
            if not n_t or not n_a:
                continue
            n_ta = sum((y, b) == (t, a) for y, b in seen)
            sign = np.sign(n_ta * len(seen) - n_t * n_a)
            if to_task:
                kept = [(y == t, p == t) for y, b, p in tested if b == a]
            else:
                kept = [(b == a, g == a) for y, b, g in tested if y == t]
            terms.append(sign * (share([p for _, p in kept]) - share([y for y, _ in kept])))
    return mean(terms)


class TestByHand:
    # class 0 comes with group 0 in 3 of 4, class 1 with group 1 in 3 of 4
    training = np.array([[30, 10], [10, 30]])
    # a balanced test set: 10 of each cell; the bias is followed in half of the conflicting cells
    counts = np.array([[[10, 0], [5, 5]], [[5, 5], [0, 10]]])

    def test_zhao(self) -> None:
        # predicted 0: 15 in group 0, 5 in group 1, as in training
        assert amplification.co_occurrence(self.training, self.counts).tolist() == [0.0, 0.0]
        always = np.zeros((2, 2, 2), dtype=int)
        always[:, 0, 0] = always[:, 1, 1] = 10  # only the bias: predicted 0 is all of group 0
        assert amplification.co_occurrence(self.training, always).tolist() == [0.25, 0.25]
        found = amplification.from_counts(self.training, always)
        assert found[ZHAO] == 0.25

    def test_a_perfect_classifier_on_a_balanced_set_seems_to_reduce_the_bias(self) -> None:
        """Zhao compares two sets; the directional measure does not."""
        perfect = np.zeros((2, 2, 2), dtype=int)
        perfect[0, :, 0] = perfect[1, :, 1] = 10
        found = amplification.from_counts(self.training, perfect)
        assert found[ZHAO] == -0.25
        assert found[FORTH] == 0.0

    def test_attribute_to_task(self) -> None:
        # in group 0, 15 of 20 are predicted 0 where 10 are; the pair (0, 0) is tied: +0.25
        terms = amplification.attribute_to_task(self.training, self.counts)
        assert terms.tolist() == [[0.25, 0.25], [0.25, 0.25]]
        assert amplification.from_counts(self.training, self.counts)[FORTH] == 0.25

    def test_against_the_bias_it_is_negative(self) -> None:
        contrary = self.counts[:, :, ::-1]
        assert amplification.from_counts(self.training, contrary)[FORTH] == -0.25

    def test_task_to_attribute(self) -> None:
        # of class 0, 12 of 20 are predicted to be in group 0 where 10 are
        table = np.array([[[10, 0], [2, 8]], [[6, 4], [0, 10]]])
        terms = amplification.task_to_attribute(self.training, table)
        assert terms == pytest.approx(np.array([[0.1, 0.1], [0.2, 0.2]]))
        found = amplification.from_counts(self.training, self.counts, table)
        assert found[BACK] == pytest.approx(0.15)

    def test_without_predicted_attributes_the_way_back_is_undefined(self) -> None:
        assert math.isnan(amplification.from_counts(self.training, self.counts)[BACK])

    def test_an_unbiased_training_set_has_nothing_to_amplify(self) -> None:
        found = amplification.from_counts(np.full((2, 2), 7), self.counts)
        assert found[ZHAO] == 0.0
        assert found[FORTH] == 0.0


class TestUndefined:
    training = np.array([[30, 10], [10, 30]])

    def test_a_class_that_is_never_predicted(self) -> None:
        counts = np.zeros((2, 2, 2), dtype=int)
        counts[:, :, 0] = 10
        found = amplification.co_occurrence(self.training, counts)
        assert found[0] == -0.25
        assert math.isnan(found[1])
        assert amplification.from_counts(self.training, counts)[ZHAO] == -0.25

    def test_a_group_without_test_rows(self) -> None:
        counts = np.zeros((2, 2, 2), dtype=int)
        counts[:, 0] = [[8, 2], [4, 6]]
        terms = amplification.attribute_to_task(self.training, counts)
        assert np.isnan(terms[:, 1]).all()
        assert terms[:, 0] == pytest.approx([0.1, 0.1])

    def test_a_class_or_group_without_training_rows(self) -> None:
        training = np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])
        counts = np.ones((3, 3, 3), dtype=int)
        assert math.isnan(amplification.co_occurrence(training, counts)[2])
        terms = amplification.attribute_to_task(training, counts)
        assert np.isnan(terms[2]).all()
        assert np.isnan(terms[:, 2]).all()
        assert not np.isnan(terms[:2, :2]).any()

    def test_no_rows_at_all(self) -> None:
        nothing = np.zeros((2, 2, 2), dtype=int)
        for value in amplification.from_counts(self.training, nothing, nothing).values():
            assert math.isnan(value)
        for value in amplification.from_counts(nothing[0], nothing, nothing).values():
            assert math.isnan(value)


@given(PROBLEMS)
@settings(max_examples=60, deadline=None)
def test_against_plain_loops(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    training, counts, of_groups = problem
    found = amplification.from_counts(training, counts, of_groups)
    expected = {
        ZHAO: naive_zhao(training, counts),
        FORTH: naive_directional(training, counts, to_task=True),
        BACK: naive_directional(training, of_groups, to_task=False),
    }
    for name, value in found.items():
        assert value == pytest.approx(expected[name], nan_ok=True, abs=1e-12), name


@given(hnp.arrays(np.int64, (3, 2), elements=st.integers(0, 5)), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_leading_axes_are_one_by_one(training: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, (2, 3, 3, 2, 3))
    of_groups = rng.integers(0, 3, (2, 3, 3, 2, 2))
    found = amplification.from_counts(training, counts, of_groups)
    for name, value in found.items():
        assert value.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                alone = amplification.from_counts(training, counts[i, j], of_groups[i, j])[name]
                assert value[i, j] == pytest.approx(alone, nan_ok=True, abs=1e-12), name


def test_large_counts_do_not_overflow() -> None:
    training = np.array([[3, 1], [1, 3]]) * 10**12
    counts = np.array([[[10, 0], [5, 5]], [[5, 5], [0, 10]]])
    assert amplification.attribute_to_task(training, counts).tolist() == [[0.25, 0.25]] * 2


def test_the_mean_is_over_classes() -> None:
    training = np.array([[4, 0], [1, 3]])
    counts = np.array([[[5, 1], [2, 2]], [[3, 2], [1, 4]]])
    per_class = amplification.co_occurrence(training, counts)
    assert amplification.from_counts(training, counts)[ZHAO] == average_classes(per_class)


@pytest.mark.parametrize(
    ("training", "counts", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2, 2), int), r"of integers \(K, M\), but got float64"),
        (np.zeros(2, int), np.zeros((2, 2, 2), int), r"of integers \(K, M\), but got int64 \(2,\)"),
        (np.zeros((2, 3), int), np.zeros((2, 2, 2), int), r"expected counts .*\(2, 3, 2\)"),
    ],
)
def test_tables_that_do_not_fit(training: np.ndarray, counts: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        amplification.from_counts(training, counts)
