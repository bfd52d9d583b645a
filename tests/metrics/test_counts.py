"""The counts: what is counted, that parts add up, what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biascon.errors import UsageError
from biascon.metrics.counts import Counts, count, cross, divide, group_names

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


LABELS = ("cat", "dog", "owl")
ATTRIBUTES = {"sex": ("f", "m"), "age": ("young", "mid", "old")}
PERSON = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2))
PEOPLE = st.lists(PERSON, max_size=40)
Person = tuple[int, int, int, int]


def counts_of(people: list[Person], start: Counts | None = None) -> Counts:
    label, sex, age, prediction = np.array(people, dtype=np.int64).reshape(-1, 4).T
    start = Counts.empty(LABELS, ATTRIBUTES) if start is None else start
    return start.add(label, {"sex": sex, "age": age}, prediction)


class TestCross:
    @given(PEOPLE)
    def test_the_name_tells_the_values(self, people: list[Person]) -> None:
        _, sex, age, _ = np.array(people, dtype=np.int64).reshape(-1, 4).T
        index, names = cross({"age": age, "sex": sex}, ATTRIBUTES)
        expected = [
            f"sex={ATTRIBUTES['sex'][s]}, age={ATTRIBUTES['age'][a]}" for _, s, a, _ in people
        ]
        assert [names[i] for i in index] == expected
        assert len(names) == len(set(names)) == 6

    def test_one_attribute_is_itself(self) -> None:
        column = np.array([2, 0], dtype=np.uint8)
        index, names = cross({"age": column}, {"age": ATTRIBUTES["age"]})
        assert index.tolist() == [2, 0]
        assert names == ATTRIBUTES["age"]

    def test_small_integers_do_not_overflow(self) -> None:
        column = np.array([19], dtype=np.int8)
        values = [str(i) for i in range(20)]
        index, names = cross({"a": column, "b": column}, {"a": values, "b": values})
        assert names[index[0]] == "a=19, b=19"

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"sex": [0]}, r"the attributes \['age', 'sex'\], but got \['sex'\]"),
            ({"sex": [0], "age": [0], "x": [0]}, "but got"),
            ({"sex": [0], "age": [0, 1]}, "equally long columns, but got"),
            ({"sex": [0], "age": [3]}, r"expected age in 0\.\.2, but got 3\.\.3"),
            ({"sex": [-1], "age": [0]}, r"expected sex in 0\.\.1, but got -1\.\.-1"),
        ],
    )
    def test_columns_that_do_not_fit(self, columns: dict[str, list[int]], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            cross({name: np.array(column) for name, column in columns.items()}, ATTRIBUTES)

    def test_no_attribute(self) -> None:
        with pytest.raises(UsageError, match="expected the attributes"):
            cross({}, {})

    def test_group_names_follow_the_order_of_the_attributes(self) -> None:
        swapped = {"age": ATTRIBUTES["age"], "sex": ATTRIBUTES["sex"]}
        assert group_names(ATTRIBUTES)[1] == "sex=f, age=mid"
        assert group_names(swapped)[1] == "age=young, sex=m"


class TestCounts:
    @given(PEOPLE)
    def test_against_one_row_at_a_time(self, people: list[Person]) -> None:
        expected = np.zeros((3, 6, 3), dtype=int)
        for label, sex, age, prediction in people:
            expected[label, 3 * sex + age, prediction] += 1
        found = counts_of(people)
        assert np.array_equal(found.table, expected)
        assert found.table.dtype == np.int64
        assert found.rows == len(people)
        assert found.groups == group_names(ATTRIBUTES)

    @given(PEOPLE, st.lists(st.integers(0, 40), max_size=5), st.randoms(use_true_random=False))
    def test_any_partition_and_order_gives_the_same(
        self, people: list[Person], cuts: list[int], random: object
    ) -> None:
        whole = counts_of(people)
        shuffled = list(people)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        edges = [0, *sorted(min(cut, len(people)) for cut in cuts), len(people)]
        batches = [shuffled[a:b] for a, b in itertools.pairwise(edges)]
        streamed = Counts.empty(LABELS, ATTRIBUTES)
        for batch in batches:
            streamed = counts_of(batch, streamed)
        parts = [counts_of(batch) for batch in batches]
        random.shuffle(parts)  # type: ignore[attr-defined]
        merged = parts[0]
        for part in parts[1:]:
            merged = part + merged
        assert np.array_equal(streamed.table, whole.table)
        assert np.array_equal(merged.table, whole.table)

    @given(PEOPLE, PEOPLE, PEOPLE)
    def test_adding_is_associative(
        self, one: list[Person], two: list[Person], three: list[Person]
    ) -> None:
        a, b, c = counts_of(one), counts_of(two), counts_of(three)
        assert np.array_equal(((a + b) + c).table, (a + (b + c)).table)

    @given(PEOPLE)
    def test_one_attribute_of_several_is_as_if_counted_alone(self, people: list[Person]) -> None:
        found = counts_of(people)
        columns = np.array(people, dtype=np.int64).reshape(-1, 4).T
        for name, column in (("sex", 1), ("age", 2)):
            alone = count(
                columns[0],
                columns[column],
                columns[3],
                n_labels=3,
                n_bias=len(ATTRIBUTES[name]),
            )
            assert np.array_equal(found.by(name).table, alone)
            assert found.by(name).groups == ATTRIBUTES[name]
        assert np.array_equal(found.by("sex", "age").table, found.table)

    @given(PEOPLE)
    def test_the_attributes_may_change_places(self, people: list[Person]) -> None:
        found, swapped = counts_of(people), counts_of(people).by("age", "sex")
        for i, name in enumerate(swapped.groups):
            age, sex = name.split(", ")
            j = found.groups.index(f"{sex}, {age}")
            assert np.array_equal(swapped.table[:, i], found.table[:, j])

    def test_nothing_is_changed_in_place(self) -> None:
        start = Counts.empty(LABELS, ATTRIBUTES)
        counts_of([(0, 0, 0, 0)], start)
        assert start.rows == 0

    def test_counts_of_other_things_are_not_added(self) -> None:
        one = Counts.empty(LABELS, ATTRIBUTES)
        for other in (
            Counts.empty(LABELS[:2], ATTRIBUTES),
            Counts.empty(LABELS, {"sex": ATTRIBUTES["sex"]}),
            one.by("age", "sex"),
        ):
            with pytest.raises(UsageError, match="to be added, but got counts of"):
                one + other

    @pytest.mark.parametrize("names", [(), ("sex", "sex"), ("height",)])
    def test_attributes_that_are_not_there(self, names: tuple[str, ...]) -> None:
        with pytest.raises(UsageError, match=r"some of the attributes \['sex', 'age'\], but got"):
            Counts.empty(LABELS, ATTRIBUTES).by(*names)

    @pytest.mark.parametrize("attributes", [{}, {"sex": ()}])
    def test_no_attribute_or_value(self, attributes: dict[str, tuple[str, ...]]) -> None:
        with pytest.raises(UsageError, match="expected attributes with values"):
            Counts.empty(LABELS, attributes)

    def test_wrong_predictions_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"expected predictions in 0\.\.2, but got 7\.\.7"):
            counts_of([(0, 0, 0, 7)])
