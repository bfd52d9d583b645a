"""The counts: what is counted, that parts add up, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biascon.errors import UsageError
from biascon.metrics.counts import count, divide

ROW = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 2))
ROWS = st.lists(ROW, max_size=40)


def table(rows: list[tuple[int, int, int]]) -> np.ndarray:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return count(*columns, n_labels=3, n_bias=2)


class TestCount:
    def test_by_hand(self) -> None:
        found = table([(0, 1, 2), (0, 1, 2), (2, 0, 0), (1, 1, 1)])
        expected = np.zeros((3, 2, 3), dtype=int)
        expected[0, 1, 2], expected[2, 0, 0], expected[1, 1, 1] = 2, 1, 1
        assert found.dtype == np.int64
        assert np.array_equal(found, expected)

    @given(ROWS)
    def test_against_one_row_at_a_time(self, rows: list[tuple[int, int, int]]) -> None:
        expected = np.zeros((3, 2, 3), dtype=int)
        for row in rows:
            expected[row] += 1
        assert np.array_equal(table(rows), expected)

    @given(ROWS, ROWS)
    def test_counts_of_parts_add_up(
        self, one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]
    ) -> None:
        assert np.array_equal(table(one) + table(other), table(other + one))

    def test_no_rows(self) -> None:
        nothing = np.array([], dtype=np.int64)
        found = count(nothing, nothing, nothing, n_labels=2, n_bias=3)
        assert found.shape == (2, 3, 2)
        assert not found.any()

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
    def test_small_integers_do_not_overflow(self, dtype: type) -> None:
        labels = np.array([9], dtype=dtype)
        found = count(labels, labels, labels, n_labels=10, n_bias=10)
        assert found[9, 9, 9] == found.sum() == 1

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
    def test_values_out_of_range(self, column: int, value: int, message: str) -> None:
        columns = np.zeros((3, 2), dtype=np.int64)
        columns[column, 1] = value
        with pytest.raises(UsageError, match=message):
            count(*columns, n_labels=3, n_bias=2)

    def test_columns_of_different_length(self) -> None:
        two, three = np.zeros(2, dtype=int), np.zeros(3, dtype=int)
        with pytest.raises(UsageError, match=r"equally long columns, but got \[2, 2, 3\]"):
            count(two, two, three, n_labels=1, n_bias=1)


def test_division_by_zero_is_undefined_and_not_zero() -> None:
    found = divide(np.array([0, 1, 3]), np.array([0, 0, 4]))
    assert found.dtype == np.float64
    assert np.isnan(found[:2]).all()
    assert found[2] == 0.75
    assert np.isnan(divide(np.int64(0), np.int64(0)))
    assert divide(np.array([[1], [2]]), np.array([2, 4])).tolist() == [[0.5, 0.25], [1.0, 0.5]]
