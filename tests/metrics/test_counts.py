"""Counts: comparison with counting row by row, addition of tables, invalid columns, division."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biascon.errors import UsageError
from biascon.metrics.counts import count, divide

Row = tuple[int, int, int]  # (label, bias, prediction)
ROW = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 2))
ROWS = st.lists(ROW, max_size=40)


def count_rows(rows: list[Row]) -> np.ndarray:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return count(*columns, n_labels=3, n_bias=2)


class TestCount:
    def test_counts_equal_a_hand_worked_table(self) -> None:
        table = count_rows([(0, 1, 2), (0, 1, 2), (2, 0, 0), (1, 1, 1)])
        expected = np.zeros((3, 2, 3), dtype=int)
        expected[0, 1, 2], expected[2, 0, 0], expected[1, 1, 1] = 2, 1, 1
        assert table.dtype == np.int64
        assert np.array_equal(table, expected)

    @given(ROWS)
    def test_counts_equal_counting_row_by_row(self, rows: list[Row]) -> None:
        expected = np.zeros((3, 2, 3), dtype=int)
        for row in rows:
            expected[row] += 1
        assert np.array_equal(count_rows(rows), expected)

    @given(ROWS, ROWS)
    def test_tables_of_two_parts_add_up_to_the_whole(
        self, first: list[Row], second: list[Row]
    ) -> None:
        assert np.array_equal(count_rows(first) + count_rows(second), count_rows(second + first))

    @given(ROWS, st.lists(st.integers(0, 40), max_size=5), st.randoms(use_true_random=False))
    def test_any_partition_and_order_gives_the_same_table(
        self, rows: list[Row], cuts: list[int], shuffler: random.Random
    ) -> None:
        shuffled = list(rows)
        shuffler.shuffle(shuffled)
        edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
        tables = [count_rows(shuffled[start:end]) for start, end in itertools.pairwise(edges)]
        assert np.array_equal(sum(tables), count_rows(rows))

    def test_no_rows_give_a_table_of_zeros(self) -> None:
        no_rows = np.array([], dtype=np.int64)
        table = count(no_rows, no_rows, no_rows, n_labels=2, n_bias=3)
        assert table.shape == (2, 3, 2)
        assert not table.any()

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
    def test_small_integers_do_not_overflow(self, dtype: type) -> None:
        labels = np.array([9], dtype=dtype)
        table = count(labels, labels, labels, n_labels=10, n_bias=10)
        assert table[9, 9, 9] == table.sum() == 1

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            (0, 3, r"expected labels in 0\.\.2, but got 0\.\.3"),
            (0, -1, r"expected labels in 0\.\.2, but got -1\.\.0"),
            (1, 2, r"expected bias in 0\.\.1, but got 0\.\.2"),
            (1, -2, r"expected bias in 0\.\.1, but got -2\.\.0"),
            (2, 5, r"expected predictions in 0\.\.2, but got 0\.\.5"),
            (2, -1, r"expected predictions in 0\.\.2, but got -1\.\.0"),
        ],
    )
    def test_a_value_out_of_range_is_an_error(self, column: int, value: int, message: str) -> None:
        columns = np.zeros((3, 2), dtype=np.int64)
        columns[column, 1] = value
        with pytest.raises(UsageError, match=message):
            count(*columns, n_labels=3, n_bias=2)

    def test_columns_of_different_length_are_an_error(self) -> None:
        two, three = np.zeros(2, dtype=int), np.zeros(3, dtype=int)
        with pytest.raises(UsageError, match=r"equally long columns, but got \[2, 2, 3\]"):
            count(two, two, three, n_labels=1, n_bias=1)


def test_division_by_zero_is_nan_and_not_zero() -> None:
    quotient = divide(np.array([0, 1, 3]), np.array([0, 0, 4]))
    assert quotient.dtype == np.float64
    assert np.isnan(quotient[:2]).all()
    assert quotient[2] == 0.75
    assert np.isnan(divide(np.int64(0), np.int64(0)))
    assert divide(np.array([[1], [2]]), np.array([2, 4])).tolist() == [[0.5, 0.25], [1.0, 0.5]]
