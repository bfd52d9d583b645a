"""Accuracies: comparison with hand-worked tables and with plain loops over the cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biascon.metrics import accuracy

# [label][bias][prediction]; the cell (1, 0) has no rows
TABLE = np.array([[[8, 2], [1, 3]], [[0, 0], [6, 0]]])
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


def compute_with_loops(table: np.ndarray, aligned: np.ndarray) -> dict[str, float]:
    """Return every accuracy by plain loops over the cells; NaN for the mean of an empty list."""

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    def divide_sums(pairs: list[tuple[int, int]]) -> float:
        rows = sum(n for _, n in pairs)
        return sum(hits for hits, _ in pairs) / rows if rows else math.nan

    cells = {
        (y, b): (int(table[y, b, y]), int(table[y, b].sum()))
        for y in range(table.shape[0])
        for b in range(table.shape[1])
    }
    with_rows = {cell: pair for cell, pair in cells.items() if pair[1]}
    rate = {cell: hits / n for cell, (hits, n) in with_rows.items()}
    return {
        "top1": divide_sums(list(with_rows.values())),
        "unbiased": mean(list(rate.values())),
        "bias_aligned": mean([r for cell, r in rate.items() if aligned[cell]]),
        "bias_conflicting": mean([r for cell, r in rate.items() if not aligned[cell]]),
        "aligned_samples": divide_sums([p for cell, p in with_rows.items() if aligned[cell]]),
        "conflicting_samples": divide_sums(
            [p for cell, p in with_rows.items() if not aligned[cell]]
        ),
        "worst_group": min(rate.values(), default=math.nan),
    }


def test_accuracies_equal_a_hand_worked_table() -> None:
    assert accuracy.correct(TABLE).tolist() == [[8, 1], [0, 0]]
    cells = accuracy.cell_accuracy(TABLE)
    assert cells[0].tolist() == [0.8, 0.25]
    assert math.isnan(cells[1, 0])
    assert cells[1, 1] == 0.0
    assert accuracy.top1(TABLE) == 9 / 20
    assert accuracy.unbiased(TABLE) == pytest.approx((0.8 + 0.25 + 0.0) / 3)
    assert accuracy.bias_aligned(TABLE, ALIGNED) == pytest.approx((0.8 + 0.0) / 2)
    assert accuracy.bias_conflicting(TABLE, ALIGNED) == 0.25
    assert accuracy.aligned_samples(TABLE, ALIGNED) == 8 / 16
    assert accuracy.conflicting_samples(TABLE, ALIGNED) == 1 / 4
    assert accuracy.worst_group(TABLE) == 0.0
    assert accuracy.worst_cell(TABLE) == (1, 1)


def test_predictions_that_follow_the_bias_are_right_on_aligned_cells_only() -> None:
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
    assert accuracy.top1(table) == 270 / 300  # high, although the label has no influence
    assert accuracy.worst_group(table) == 0.0


def test_predictions_that_follow_the_label_are_right_on_all_cells() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    table[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1]] = [90, 5, 5, 90]
    for function in FUNCTIONS.values():
        assert function(table, ALIGNED) == 1.0


def test_without_rows_every_accuracy_is_nan() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    for name, function in FUNCTIONS.items():
        assert math.isnan(function(table, ALIGNED)), name
    assert accuracy.worst_cell(table) is None


def test_without_conflicting_rows_their_accuracy_is_nan() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    table[0, 0, 0] = table[1, 1, 0] = 3
    assert math.isnan(accuracy.bias_conflicting(table, ALIGNED))
    assert math.isnan(accuracy.conflicting_samples(table, ALIGNED))
    assert accuracy.bias_aligned(table, ALIGNED) == 0.5
    assert math.isnan(accuracy.bias_aligned(table, ~ALIGNED))


def test_labels_may_outnumber_bias_values() -> None:
    table = np.zeros((3, 2, 3), dtype=int)
    table[2, 1] = [1, 0, 3]
    assert accuracy.cell_accuracy(table).shape == (3, 2)
    assert accuracy.cell_accuracy(table)[2, 1] == 0.75
    assert accuracy.worst_cell(table) == (2, 1)


@given(TABLES)
def test_accuracies_equal_plain_loops_over_cells(table: np.ndarray) -> None:
    aligned = np.arange(table.shape[0])[:, None] % table.shape[1] == np.arange(table.shape[1])
    expected = compute_with_loops(table, aligned)
    for name, function in FUNCTIONS.items():
        assert function(table, aligned) == pytest.approx(expected[name], nan_ok=True), name


@given(TABLES)
def test_worst_cell_has_the_worst_group_accuracy(table: np.ndarray) -> None:
    cell = accuracy.worst_cell(table)
    if cell is None:
        assert not table.any()
    else:
        assert accuracy.cell_accuracy(table)[cell] == accuracy.worst_group(table)


@given(hnp.arrays(np.int64, (2, 3, 3, 2, 3), elements=st.integers(0, 3)))
def test_leading_axes_equal_one_table_at_a_time(tables: np.ndarray) -> None:
    aligned = np.array([[True, False], [False, True], [False, False]])
    for name, function in FUNCTIONS.items():
        values = function(tables, aligned)
        assert values.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                expected = function(tables[i, j], aligned)
                assert values[i, j] == pytest.approx(expected, nan_ok=True), name


@given(TABLES, st.integers(2, 5))
def test_multiplying_all_counts_changes_no_accuracy(table: np.ndarray, times: int) -> None:
    aligned = np.arange(table.shape[0])[:, None] == np.arange(table.shape[1])
    for name, function in FUNCTIONS.items():
        before, after = function(table, aligned), function(table * times, aligned)
        assert after == pytest.approx(before, nan_ok=True), name


@given(hnp.arrays(np.int64, (3, 2, 3), elements=st.integers(0, 4)), st.permutations(range(3)))
def test_permuting_the_classes_changes_no_accuracy(table: np.ndarray, order: list[int]) -> None:
    aligned = np.array([[True, False], [False, True], [False, False]])
    renamed = table[order][:, :, order]
    for name, function in FUNCTIONS.items():
        before, after = function(table, aligned), function(renamed, aligned[order])
        assert after == pytest.approx(before, nan_ok=True), name
