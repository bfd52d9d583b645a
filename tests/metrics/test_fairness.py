"""Group fairness: two ways to the same numbers, both as fairlearn defines them, never 0 for nothing."""

from __future__ import annotations

import math

import fairlearn.metrics
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biascon.metrics.fairness import METRICS, average_classes, from_counts, through_metric_frame

DPD, DPR, EOD, EOR, EOPP = METRICS
SHAPES = st.tuples(st.integers(2, 3), st.integers(1, 3)).map(lambda s: (s[0], s[1], s[0]))
TABLES = SHAPES.flatmap(lambda s: hnp.arrays(np.int64, s, elements=st.integers(0, 4)))


def rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and bias of the rows that a table counts."""
    label, bias, prediction = np.repeat(np.argwhere(table >= 0), table.reshape(-1), axis=0).T
    return label, prediction, bias


def framed(table: np.ndarray) -> dict[str, np.ndarray]:
    return through_metric_frame(*rows(table), table.shape[0])


def naive(table: np.ndarray, k: int) -> dict[str, float]:
    """The metrics of class k against the rest, by plain loops over rows."""
    label, prediction, bias = (x.tolist() for x in rows(table))

    def rate(group: int, keep: object) -> float:
        chosen = [
            p == k
            for y, p, b in zip(label, prediction, bias, strict=True)
            if b == group and keep(y)  # type: ignore[operator]
        ]
        return sum(chosen) / len(chosen) if chosen else math.nan

    def compare(keep: object) -> tuple[float, float]:
        rates = [rate(group, keep) for group in sorted(set(bias))]
        if len(rates) < 2 or any(math.isnan(r) for r in rates):
            return math.nan, math.nan
        low, high = min(rates), max(rates)
        return high - low, low / high if high else math.nan

    selection = compare(lambda y: True)
    tpr, fpr = compare(lambda y: y == k), compare(lambda y: y != k)

    def worse(pick: object, one: float, other: float) -> float:
        undefined = math.isnan(one) or math.isnan(other)
        return math.nan if undefined else pick(one, other)  # type: ignore[operator]

    return {
        DPD: selection[0],
        DPR: selection[1],
        EOD: worse(max, tpr[0], fpr[0]),
        EOR: worse(min, tpr[1], fpr[1]),
        EOPP: tpr[0],
    }


def test_by_hand() -> None:
    # group 0: 10 of class 0 (8 right), 10 of class 1 (6 right); group 1: 5 (1 right), 20 (15 right)
    table = np.array([[[8, 2], [1, 4]], [[4, 6], [5, 15]]])
    found = from_counts(table)
    selection = (8 + 4) / 20, (1 + 5) / 25  # predicted 0
    tpr, fpr = (8 / 10, 1 / 5), (4 / 10, 5 / 20)
    assert found[DPD][0] == pytest.approx(selection[0] - selection[1])
    assert found[DPR][0] == pytest.approx(selection[1] / selection[0])
    assert found[EOD][0] == pytest.approx(max(tpr[0] - tpr[1], fpr[0] - fpr[1]))
    assert found[EOR][0] == pytest.approx(min(tpr[1] / tpr[0], fpr[1] / fpr[0]))
    assert found[EOPP][0] == pytest.approx(tpr[0] - tpr[1])
    # of class 1: the rates are one minus those of class 0, and true and false change places
    assert found[DPD][1] == pytest.approx(found[DPD][0])
    assert found[EOD][1] == pytest.approx(found[EOD][0])
    assert found[EOPP][1] == pytest.approx(15 / 20 - 6 / 10)


@pytest.mark.parametrize("way", [from_counts, framed])
class TestBothWays:
    def test_a_predictor_that_only_follows_the_bias(self, way: object) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[:, 0, 0], table[:, 1, 1] = 10, 10
        found = way(table)  # type: ignore[operator]
        for name, worst in ((DPD, 1.0), (DPR, 0.0), (EOD, 1.0), (EOR, 0.0), (EOPP, 1.0)):
            assert found[name].tolist() == [worst, worst], name

    def test_a_predictor_that_treats_groups_alike(self, way: object) -> None:
        table = np.array([[[6, 2], [3, 1]], [[1, 3], [2, 6]]])  # tpr 3/4 and fpr 1/4 in both
        found = way(table)  # type: ignore[operator]
        for name, best in ((EOD, 0.0), (EOR, 1.0), (EOPP, 0.0)):
            assert found[name] == pytest.approx([best, best]), name
        assert found[DPD] == pytest.approx([7 / 12 - 5 / 12] * 2)  # the groups' labels differ

    def test_one_group_only_is_undefined(self, way: object) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[:, 0] = [[3, 1], [2, 4]]
        for name, value in way(table).items():  # type: ignore[operator]
            assert np.isnan(value).all(), name

    def test_a_group_without_positives(self, way: object) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[:, 0], table[1, 1] = [[3, 1], [2, 2]], [1, 3]  # group 1 has no row of class 0
        found = way(table)  # type: ignore[operator]
        assert found[DPD] == pytest.approx([5 / 8 - 1 / 4] * 2)
        assert found[DPR] == pytest.approx([(1 / 4) / (5 / 8), (3 / 8) / (3 / 4)])
        for name in (EOD, EOR):
            assert np.isnan(found[name]).all(), name  # of class 1 it is the false positive rate
        assert math.isnan(found[EOPP][0])
        assert found[EOPP][1] == pytest.approx(3 / 4 - 1 / 2)

    def test_a_group_without_rows_is_no_group(self, way: object) -> None:
        two = np.array([[[6, 2], [3, 3]], [[1, 3], [2, 6]]])
        three = np.concatenate([two[:, :1], np.zeros((2, 1, 2), int), two[:, 1:]], axis=1)
        without, with_empty = way(two), way(three)  # type: ignore[operator]
        for name in METRICS:
            assert with_empty[name] == pytest.approx(without[name]), name
            assert not np.isnan(with_empty[name]).any()

    def test_a_class_that_nobody_has_or_is_given(self, way: object) -> None:
        table = np.zeros((3, 2, 3), dtype=int)
        table[:2, :, :2] = [[[6, 2], [3, 3]], [[1, 3], [2, 6]]]
        found = way(table)  # type: ignore[operator]
        assert found[DPD][2] == 0.0  # every group selects it alike, namely never
        for name in (DPR, EOD, EOR, EOPP):
            assert math.isnan(found[name][2]), name
        assert not any(np.isnan(found[name][:2]).any() for name in METRICS)


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_counts_against_plain_loops(table: np.ndarray) -> None:
    found = from_counts(table)
    for k in range(table.shape[0]):
        expected = naive(table, k)
        for name in METRICS:
            assert found[name][k] == pytest.approx(expected[name], nan_ok=True), (name, k)


@given(TABLES)
@settings(max_examples=30, deadline=None)
def test_counts_and_rows_give_the_same(table: np.ndarray) -> None:
    assume(table.sum() > 1)  # of one row see below
    counted, through_rows = from_counts(table), framed(table)
    assert set(counted) == set(through_rows) == set(METRICS)
    for name in METRICS:
        np.testing.assert_allclose(through_rows[name], counted[name], rtol=1e-12, atol=1e-15)


@given(
    SHAPES.filter(lambda s: s[1] > 1).flatmap(
        lambda s: hnp.arrays(np.int64, s, elements=st.integers(1, 6))
    )
)
@settings(max_examples=12, deadline=None)
def test_both_agree_with_fairlearn_where_every_rate_is_defined(table: np.ndarray) -> None:
    label, prediction, bias = rows(table)
    ways = from_counts(table), framed(table)
    for k in range(table.shape[0]):
        for name in METRICS:
            expected = getattr(fairlearn.metrics, name)(
                label == k, prediction == k, sensitive_features=bias
            )
            for found in ways:
                assert found[name][k] == pytest.approx(expected, rel=1e-12, abs=1e-15), (name, k)


def test_one_row_is_one_group() -> None:
    table = np.zeros((2, 2, 2), dtype=int)
    table[0, 1, 0] = 1
    for name, value in framed(table).items():
        assert np.isnan(value).all(), name


def test_fairlearn_gives_zero_for_what_is_undefined_here() -> None:
    """The reason for the NaN above; if this fails, fairlearn has changed."""
    table = np.zeros((2, 2, 2), dtype=int)
    table[:, 0], table[1, 1] = [[0, 4], [2, 2]], [1, 3]
    label, prediction, bias = rows(table)
    theirs = fairlearn.metrics.equal_opportunity_difference(
        label == 0, prediction == 0, sensitive_features=bias
    )
    assert theirs == 0.0
    assert math.isnan(from_counts(table)[EOPP][0])


@given(hnp.arrays(np.int64, (2, 3, 3, 2, 3), elements=st.integers(0, 3)))
@settings(max_examples=40, deadline=None)
def test_leading_axes_are_one_by_one(tables: np.ndarray) -> None:
    found = from_counts(tables)
    for name in METRICS:
        assert found[name].shape == (2, 3, 3)
        for i in range(2):
            for j in range(3):
                np.testing.assert_array_equal(found[name][i, j], from_counts(tables[i, j])[name])


@given(
    hnp.arrays(np.int64, (3, 3, 3), elements=st.integers(0, 4)),
    st.permutations(range(3)),
    st.permutations(range(3)),
)
@settings(deadline=None)
def test_renaming_classes_and_groups_changes_nothing(
    table: np.ndarray, classes: list[int], groups: list[int]
) -> None:
    before, after = from_counts(table), from_counts(table[classes][:, groups][:, :, classes])
    for name in METRICS:
        np.testing.assert_allclose(after[name], before[name][classes], rtol=1e-12)


class TestMacro:
    def test_is_the_mean_over_the_classes_that_have_one(self) -> None:
        values = np.array([[0.2, np.nan, 0.6], [np.nan, np.nan, np.nan], [0.0, 0.3, 0.6]])
        found = average_classes(values)
        assert found[0] == pytest.approx(0.4)
        assert math.isnan(found[1])
        assert found[2] == pytest.approx(0.3)

    def test_of_one_table(self) -> None:
        assert average_classes(np.array([0.25, 0.75])) == 0.5
        assert math.isnan(average_classes(np.array([np.nan])))
