"""Accuracies, against hand-worked tables and against plain loops over the cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biascon.metrics import accuracy

# [label][bias][prediction]; the cell (1, 0) is empty
HAND = np.array([[[8, 2], [1, 3]], [[0, 0], [6, 0]]])
ALIGNED = np.eye(2, dtype=bool)
TABLES = st.integers(2, 4).flatmap(
    lambda k: st.integers(1, 3).flatmap(
        lambda m: hnp.arrays(np.int64, (k, m, k), elements=st.integers(0, 4))
    )
)
FUNCTIONS = {
    "top1": lambda t, a: accuracy.top1(t),
    "unbiased": lambda t, a: accuracy.unbiased(t),
    "bias_aligned": accuracy.bias_aligned,
    "bias_conflicting": accuracy.bias_conflicting,
    "aligned_samples": accuracy.aligned_samples,
    "conflicting_samples": accuracy.conflicting_samples,
    "worst_group": lambda t, a: accuracy.worst_group(t),
}


def naive(table: np.ndarray, aligned: np.ndarray) -> dict[str, float]:
    """Every accuracy by plain loops; ``nan`` for a mean of nothing."""

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    def share(pairs: list[tuple[int, int]]) -> float:
        rows = sum(n for _, n in pairs)
        return sum(right for right, _ in pairs) / rows if rows else math.nan

    cells = {
        (y, b): (int(table[y, b, y]), int(table[y, b].sum()))
        for y in range(table.shape[0])
        for b in range(table.shape[1])
    }
    filled = {cell: pair for cell, pair in cells.items() if pair[1]}
    rate = {cell: right / n for cell, (right, n) in filled.items()}
    return {
        "top1": share(list(filled.values())),
        "unbiased": mean(list(rate.values())),
        "bias_aligned": mean([r for cell, r in rate.items() if aligned[cell]]),
        "bias_conflicting": mean([r for cell, r in rate.items() if not aligned[cell]]),
        "aligned_samples": share([p for cell, p in filled.items() if aligned[cell]]),
        "conflicting_samples": share([p for cell, p in filled.items() if not aligned[cell]]),
        "worst_group": min(rate.values(), default=math.nan),
    }


def test_by_hand() -> None:
    assert accuracy.correct(HAND).tolist() == [[8, 1], [0, 0]]
    cells = accuracy.cell_accuracy(HAND)
    assert cells[0].tolist() == [0.8, 0.25]
    assert math.isnan(cells[1, 0])
    assert cells[1, 1] == 0.0
    assert accuracy.top1(HAND) == 9 / 20
    assert accuracy.unbiased(HAND) == pytest.approx((0.8 + 0.25 + 0.0) / 3)
    assert accuracy.bias_aligned(HAND, ALIGNED) == pytest.approx((0.8 + 0.0) / 2)
    assert accuracy.bias_conflicting(HAND, ALIGNED) == 0.25
    assert accuracy.aligned_samples(HAND, ALIGNED) == 8 / 16
    assert accuracy.conflicting_samples(HAND, ALIGNED) == 1 / 4
    assert accuracy.worst_group(HAND) == 0.0
    assert accuracy.worst_cell(HAND) == (1, 1)


def test_a_predictor_that_only_follows_the_bias() -> None:
    table = np.zeros((3, 3, 3), dtype=int)
    for label in range(3):
        for bias in range(3):
            table[label, bias, bias] = 90 if label == bias else 5
    aligned = np.eye(3, dtype=bool)
    assert accuracy.bias_aligned(table, aligned) == 1.0
    assert accuracy.aligned_samples(table, aligned) == 1.0
    assert accuracy.bias_conflicting(table, aligned) == 0.0
    assert accuracy.conflicting_samples(table, aligned) == 0.0
    assert accuracy.unbiased(table) == pytest.approx(1 / 3)
    assert accuracy.top1(table) == 270 / 300  # which looks good
    assert accuracy.worst_group(table) == 0.0


def test_a_predictor_that_ignores_the_bias() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    table[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1]] = [90, 5, 5, 90]
    for function in FUNCTIONS.values():
        assert function(table, ALIGNED) == 1.0


def test_without_rows_everything_is_undefined() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    for name, function in FUNCTIONS.items():
        assert math.isnan(function(table, ALIGNED)), name
    assert accuracy.worst_cell(table) is None


def test_without_conflicting_rows_their_accuracy_is_undefined() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    table[0, 0, 0] = table[1, 1, 0] = 3
    assert math.isnan(accuracy.bias_conflicting(table, ALIGNED))
    assert math.isnan(accuracy.conflicting_samples(table, ALIGNED))
    assert accuracy.bias_aligned(table, ALIGNED) == 0.5
    assert math.isnan(accuracy.bias_aligned(table, ~ALIGNED))


def test_more_labels_than_bias_values() -> None:
    table = np.zeros((3, 2, 3), dtype=int)
    table[2, 1] = [1, 0, 3]
    assert accuracy.cell_accuracy(table).shape == (3, 2)
    assert accuracy.cell_accuracy(table)[2, 1] == 0.75
    assert accuracy.worst_cell(table) == (2, 1)


@given(TABLES, st.randoms())
def test_against_plain_loops(table: np.ndarray, rng: object) -> None:
    aligned = np.arange(table.shape[0])[:, None] % table.shape[1] == np.arange(table.shape[1])
    expected = naive(table, aligned)
    for name, function in FUNCTIONS.items():
        assert function(table, aligned) == pytest.approx(expected[name], nan_ok=True), name


@given(TABLES)
def test_the_worst_cell_is_where_the_worst_group_is(table: np.ndarray) -> None:
    cell = accuracy.worst_cell(table)
    if cell is None:
        assert not table.any()
    else:
        assert accuracy.cell_accuracy(table)[cell] == accuracy.worst_group(table)


@given(hnp.arrays(np.int64, (2, 3, 3, 2, 3), elements=st.integers(0, 3)))
def test_leading_axes_are_one_by_one(tables: np.ndarray) -> None:
    aligned = np.array([[True, False], [False, True], [False, False]])
    for name, function in FUNCTIONS.items():
        found = function(tables, aligned)
        assert found.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                alone = function(tables[i, j], aligned)
                assert found[i, j] == pytest.approx(alone, nan_ok=True), name


@given(TABLES, st.integers(2, 5))
def test_more_of_the_same_changes_nothing(table: np.ndarray, times: int) -> None:
    aligned = np.arange(table.shape[0])[:, None] == np.arange(table.shape[1])
    for name, function in FUNCTIONS.items():
        once, often = function(table, aligned), function(table * times, aligned)
        assert often == pytest.approx(once, nan_ok=True), name


@given(hnp.arrays(np.int64, (3, 2, 3), elements=st.integers(0, 4)), st.permutations(range(3)))
def test_renaming_the_classes_changes_nothing(table: np.ndarray, order: list[int]) -> None:
    aligned = np.array([[True, False], [False, True], [False, False]])
    renamed = table[order][:, :, order]
    for name, function in FUNCTIONS.items():
        before, after = function(table, aligned), function(renamed, aligned[order])
        assert after == pytest.approx(before, nan_ok=True), name
