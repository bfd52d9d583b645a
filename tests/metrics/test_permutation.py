"""The permutation null: the tables are those of shuffled rows, and it is rarely wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from biascon.errors import UsageError
from biascon.metrics import accuracy, fairness
from biascon.metrics.counts import count
from biascon.metrics.permutation import permutation_test, permute_bias

TABLE = np.array([[[20, 5], [6, 4]], [[3, 7], [4, 21]]])
DPD, DPR, EOD = fairness.METRICS[0], fairness.METRICS[1], fairness.METRICS[2]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def macro(tables: np.ndarray) -> dict[str, np.ndarray]:
    return {name: fairness.average_classes(v) for name, v in fairness.from_counts(tables).items()}


def drawn(table: np.ndarray, within: str, replicates: int) -> np.ndarray:
    return np.concatenate(list(permute_bias(table, within, generator(), replicates)))


class TestDeal:
    @pytest.mark.parametrize("within", ["labels", "rows"])
    @given(table=hnp.arrays(np.int64, (3, 2, 3), elements=st.integers(0, 4)))
    @settings(max_examples=20, deadline=None)
    def test_the_margins_stay(self, within: str, table: np.ndarray) -> None:
        found = drawn(table, within, 30)
        assert found.dtype == np.int64
        assert found.shape == (30, 3, 2, 3)
        assert (found >= 0).all()
        assert (found.sum(axis=2) == table.sum(axis=1)).all()  # (label, prediction)
        assert (found.sum(axis=(1, 3)) == table.sum(axis=(0, 2))).all()  # groups
        if within == "labels":
            assert (found.sum(axis=3) == table.sum(axis=2)).all()  # (label, group)

    @pytest.mark.parametrize("replicates", [1, 499, 500, 1203])
    def test_as_many_as_asked_for(self, replicates: int) -> None:
        assert len(drawn(TABLE, "rows", replicates)) == replicates

    @pytest.mark.parametrize("within", ["labels", "rows"])
    def test_against_shuffling_the_rows(self, within: str) -> None:
        """Means and variances of every cell are those of the naive shuffle."""
        label, bias, prediction = np.repeat(np.argwhere(TABLE >= 0), TABLE.reshape(-1), axis=0).T
        rng, replicates = generator(1), 3000
        slow = np.empty((replicates, *TABLE.shape))
        for i in range(replicates):
            shuffled = bias.copy()
            if within == "rows":
                rng.shuffle(shuffled)
            else:
                for y in range(2):
                    shuffled[label == y] = rng.permutation(bias[label == y])
            slow[i] = count(label, shuffled, prediction, n_labels=2, n_bias=2)
        fast = drawn(TABLE, within, replicates)
        error = np.sqrt((slow.var(axis=0) + fast.var(axis=0)) / replicates)
        assert (abs(slow.mean(axis=0) - fast.mean(axis=0)) < 5 * error).all()
        spread = 5 * math.sqrt(4 / replicates)
        assert fast.var(axis=0) == pytest.approx(slow.var(axis=0), rel=spread)

    def test_another_way_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"one of \['labels', 'rows'\], but got 'cells'"):
            drawn(TABLE, "cells", 1)


class TestPermutationTest:
    def test_a_predictor_that_follows_the_bias_is_found(self) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[:, 0, 0] = table[:, 1, 1] = 20
        for within in ("labels", "rows"):
            found = permutation_test(table, macro, generator(), within=within, lower=[DPR])
            assert found[DPD].p == found[DPR].p == found[EOD].p == 1 / 2001
            assert found[DPD].observed == 1.0
            assert found[DPD].expected < 0.3

    def test_no_disparity_at_all(self) -> None:
        table = np.array([[[6, 2], [6, 2]], [[2, 6], [2, 6]]])
        found = permutation_test(table, macro, generator(), within="labels")
        assert found[EOD].p == 1.0
        assert found[EOD].observed == 0.0
        assert found[EOD].expected > 0.1  # what chance alone gives

    def test_against_fisher_s_exact_test(self) -> None:
        """One label, two groups: P of a difference as large is the sum of hypergeometric terms."""
        table = np.zeros((2, 2, 2), dtype=int)
        table[0] = [[9, 3], [4, 8]]

        def gap(tables: np.ndarray) -> dict[str, np.ndarray]:
            rate = tables[:, 0, :, 0] / tables[:, 0].sum(axis=-1)
            return {"gap": abs(rate[:, 0] - rate[:, 1])}

        exact = stats.fisher_exact(table[0]).pvalue  # two-sided is symmetric here
        found = permutation_test(table, gap, generator(), within="labels", replicates=20000)
        assert found["gap"].p == pytest.approx(exact, abs=5 * math.sqrt(exact / 20000))

    def test_lower_turns_the_question(self) -> None:
        def both(tables: np.ndarray) -> dict[str, np.ndarray]:
            worst = accuracy.worst_group(tables)
            return {"worst": worst, "loss": -worst}

        found = permutation_test(TABLE, both, generator(), within="labels", lower=["worst"])
        assert found["worst"].p == found["loss"].p
        turned = permutation_test(TABLE, both, generator(), within="labels")
        assert turned["worst"].p + found["worst"].p >= 1

    def test_metrics_per_class_keep_their_shape(self) -> None:
        found = permutation_test(TABLE, fairness.from_counts, generator(), within="rows")
        assert found[DPD].p.shape == found[DPD].expected.shape == (2,)

    def test_an_undefined_metric_has_no_p(self) -> None:
        table = TABLE.copy()
        table[:, 1] = 0  # one group
        found = permutation_test(table, macro, generator(), within="rows")
        for null in found.values():
            assert math.isnan(null.observed)
            assert math.isnan(null.p)
            assert math.isnan(null.expected)

    def test_no_rows(self) -> None:
        for within in ("labels", "rows"):
            found = permutation_test(np.zeros_like(TABLE), macro, generator(), within=within)
            assert math.isnan(found[DPD].p)

    def test_undefined_replicates_count_as_extreme(self) -> None:
        def sometimes(tables: np.ndarray) -> dict[str, np.ndarray]:
            value = np.full(len(tables), np.nan)
            value[:1] = 1.0 if len(tables) == 1 else 0.0
            return {"x": value}

        found = permutation_test(TABLE, sometimes, generator(), within="rows", replicates=99)
        assert found["x"].p == 99 / 100  # all but the first of 99
        assert found["x"].expected == 0.0

    def test_the_same_generator_gives_the_same(self) -> None:
        one, same = (
            permutation_test(TABLE, macro, generator(3), within="rows")[DPD].p for _ in range(2)
        )
        assert one == same

    def test_what_is_refused(self) -> None:
        with pytest.raises(UsageError, match="at least one replicate, but got 0"):
            permutation_test(TABLE, macro, generator(), within="rows", replicates=0)
        with pytest.raises(UsageError, match="expected lower to hold only names of"):
            permutation_test(TABLE, macro, generator(), within="rows", lower=["accuracy"])


def false_positives(within: str, trials: int, replicates: int) -> dict[str, float]:
    """How often p <= 0.05 where groups differ by chance only."""
    rng = generator(5)
    joint = np.array([[0.45, 0.10], [0.08, 0.37]])  # (label, prediction)
    if within == "labels":  # the groups' labels differ, given them nothing does
        group = np.array([[0.8, 0.2], [0.3, 0.7]])
        truth = joint[:, None] * group[:, :, None]
    else:
        truth = joint[:, None] * np.array([0.6, 0.4])[None, :, None]
    found = {DPD: 0, EOD: 0}
    for _ in range(trials):
        table = rng.multinomial(3000, truth.reshape(-1)).reshape(2, 2, 2)
        tested = permutation_test(table, macro, rng, within=within, replicates=replicates)
        for name in found:
            found[name] += bool(tested[name].p <= 0.05)
    return {name: hits / trials for name, hits in found.items()}


def test_rarely_finds_a_disparity_where_there_is_none() -> None:
    assert 0.02 <= false_positives("labels", 250, 199)[EOD] <= 0.08
    assert 0.02 <= false_positives("rows", 250, 199)[DPD] <= 0.08


@pytest.mark.slow
def test_finds_a_disparity_where_there_is_none_one_time_in_twenty() -> None:
    assert 0.04 <= false_positives("labels", 3000, 399)[EOD] <= 0.06
    assert 0.04 <= false_positives("rows", 3000, 399)[DPD] <= 0.06
