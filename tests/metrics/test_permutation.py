"""Permutation tests: comparison with shuffled rows, exact p-values, rate of false positives."""

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
from biascon.metrics.margins import Margins
from biascon.metrics.permutation import permutation_test, permute_bias, permute_margins
from tests.metrics.count_tables import expand_rows

TABLE = np.array([[[20, 5], [6, 4]], [[3, 7], [4, 21]]])
DPD, DPR, EOD = fairness.METRICS[0], fairness.METRICS[1], fairness.METRICS[2]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def compute_fairness(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Return the means over classes of the fairness metrics."""
    return {name: fairness.average_classes(v) for name, v in fairness.from_counts(tables).items()}


def draw_permuted(table: np.ndarray, within: str, replicates: int) -> np.ndarray:
    """Return permuted tables ``(replicates, K, M, K)``."""
    return np.concatenate(list(permute_bias(table, within, generator(), replicates)))


class TestPermuteBias:
    @pytest.mark.parametrize("within", ["labels", "rows"])
    @given(table=hnp.arrays(np.int64, (3, 2, 3), elements=st.integers(0, 4)))
    @settings(max_examples=20, deadline=None)
    def test_permuted_tables_keep_the_margins(self, within: str, table: np.ndarray) -> None:
        tables = draw_permuted(table, within, 30)
        assert tables.dtype == np.int64
        assert tables.shape == (30, 3, 2, 3)
        assert (tables >= 0).all()
        assert (tables.sum(axis=2) == table.sum(axis=1)).all()  # (label, prediction)
        assert (tables.sum(axis=(1, 3)) == table.sum(axis=(0, 2))).all()  # groups
        if within == "labels":
            assert (tables.sum(axis=3) == table.sum(axis=2)).all()  # (label, group)

    @pytest.mark.parametrize("replicates", [1, 499, 500, 1203])
    def test_number_of_tables_equals_the_number_of_replicates(self, replicates: int) -> None:
        assert len(draw_permuted(TABLE, "rows", replicates)) == replicates

    @pytest.mark.parametrize("within", ["labels", "rows"])
    def test_permuted_tables_have_the_moments_of_shuffled_rows(self, within: str) -> None:
        """Compare the mean and the variance of every table entry."""
        label, prediction, bias = expand_rows(TABLE)
        rng, replicates = generator(1), 3000
        expected = np.empty((replicates, *TABLE.shape))
        for i in range(replicates):
            shuffled = bias.copy()
            if within == "rows":
                rng.shuffle(shuffled)
            else:
                for y in range(2):
                    shuffled[label == y] = rng.permutation(bias[label == y])
            expected[i] = count(label, shuffled, prediction, n_labels=2, n_bias=2)
        tables = draw_permuted(TABLE, within, replicates)
        error = np.sqrt((expected.var(axis=0) + tables.var(axis=0)) / replicates)
        assert (abs(expected.mean(axis=0) - tables.mean(axis=0)) < 5 * error).all()
        tolerance = 5 * math.sqrt(4 / replicates)
        assert tables.var(axis=0) == pytest.approx(expected.var(axis=0), rel=tolerance)

    def test_an_unknown_kind_of_permutation_is_an_error(self) -> None:
        with pytest.raises(UsageError, match=r"one of \['labels', 'rows'\], but got 'cells'"):
            draw_permuted(TABLE, "cells", 1)


class TestPermutationTest:
    def test_predictions_that_follow_the_bias_have_the_smallest_p(self) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[:, 0, 0] = table[:, 1, 1] = 20
        for within in ("labels", "rows"):
            tests = permutation_test(
                table, compute_fairness, generator(), within=within, lower=[DPR]
            )
            assert tests[DPD].p == tests[DPR].p == tests[EOD].p == 1 / 2001
            assert tests[DPD].observed == 1.0
            assert tests[DPD].expected < 0.3

    def test_equal_groups_have_a_p_of_one(self) -> None:
        table = np.array([[[6, 2], [6, 2]], [[2, 6], [2, 6]]])
        tests = permutation_test(table, compute_fairness, generator(), within="labels")
        assert tests[EOD].p == 1.0
        assert tests[EOD].observed == 0.0
        assert tests[EOD].expected > 0.1  # the mean over permutations

    def test_p_value_equals_fisher_s_exact_test(self) -> None:
        """With one label and two groups, the exact p-value is a sum of hypergeometric terms."""
        table = np.zeros((2, 2, 2), dtype=int)
        table[0] = [[9, 3], [4, 8]]

        def compute_gap(tables: np.ndarray) -> dict[str, np.ndarray]:
            rate = tables[:, 0, :, 0] / tables[:, 0].sum(axis=-1)
            return {"gap": abs(rate[:, 0] - rate[:, 1])}

        exact = stats.fisher_exact(table[0]).pvalue  # the two tails are symmetric here
        tests = permutation_test(table, compute_gap, generator(), within="labels", replicates=20000)
        assert tests["gap"].p == pytest.approx(exact, abs=5 * math.sqrt(exact / 20000))

    def test_lower_makes_small_values_extreme(self) -> None:
        def compute_both_signs(tables: np.ndarray) -> dict[str, np.ndarray]:
            worst = accuracy.worst_group(tables)
            return {"worst": worst, "negative": -worst}

        tests = permutation_test(
            TABLE, compute_both_signs, generator(), within="labels", lower=["worst"]
        )
        assert tests["worst"].p == tests["negative"].p
        reverse = permutation_test(TABLE, compute_both_signs, generator(), within="labels")
        assert reverse["worst"].p + tests["worst"].p >= 1

    def test_metrics_per_class_keep_their_shape(self) -> None:
        tests = permutation_test(TABLE, fairness.from_counts, generator(), within="rows")
        assert tests[DPD].p.shape == tests[DPD].expected.shape == (2,)

    def test_an_undefined_metric_has_a_p_of_nan(self) -> None:
        table = TABLE.copy()
        table[:, 1] = 0  # only one group is left
        tests = permutation_test(table, compute_fairness, generator(), within="rows")
        for null in tests.values():
            assert math.isnan(null.observed)
            assert math.isnan(null.p)
            assert math.isnan(null.expected)

    def test_without_rows_p_is_nan(self) -> None:
        for within in ("labels", "rows"):
            tests = permutation_test(
                np.zeros_like(TABLE), compute_fairness, generator(), within=within
            )
            assert math.isnan(tests[DPD].p)

    def test_undefined_replicates_count_as_extreme(self) -> None:
        def compute_rarely_defined(tables: np.ndarray) -> dict[str, np.ndarray]:
            value = np.full(len(tables), np.nan)
            value[:1] = 1.0 if len(tables) == 1 else 0.0
            return {"x": value}

        tests = permutation_test(
            TABLE, compute_rarely_defined, generator(), within="rows", replicates=99
        )
        assert tests["x"].p == 99 / 100  # 98 undefined replicates of 99, plus 1
        assert tests["x"].expected == 0.0

    def test_the_same_seed_gives_the_same_p_value(self) -> None:
        first, second = (
            permutation_test(TABLE, compute_fairness, generator(3), within="rows")[DPD].p
            for _ in range(2)
        )
        assert first == second

    def test_zero_replicates_and_unknown_metrics_are_an_error(self) -> None:
        with pytest.raises(UsageError, match="at least one replicate, but got 0"):
            permutation_test(TABLE, compute_fairness, generator(), within="rows", replicates=0)
        with pytest.raises(UsageError, match="expected lower to hold only names of"):
            permutation_test(
                TABLE, compute_fairness, generator(), within="rows", lower=["accuracy"]
            )


def measure_false_positives(within: str, trials: int, replicates: int) -> dict[str, float]:
    """Return the share of simulated tables with p <= 0.05, where the null hypothesis is true."""
    rng = generator(5)
    joint = np.array([[0.45, 0.10], [0.08, 0.37]])  # (label, prediction)
    if within == "labels":  # the label distributions of the groups differ
        group = np.array([[0.8, 0.2], [0.3, 0.7]])
        truth = joint[:, None] * group[:, :, None]
    else:
        truth = joint[:, None] * np.array([0.6, 0.4])[None, :, None]
    rejections = {DPD: 0, EOD: 0}
    for _ in range(trials):
        table = rng.multinomial(3000, truth.reshape(-1)).reshape(2, 2, 2)
        tests = permutation_test(table, compute_fairness, rng, within=within, replicates=replicates)
        for name in rejections:
            rejections[name] += bool(tests[name].p <= 0.05)
    return {name: n_rejected / trials for name, n_rejected in rejections.items()}


def test_false_positive_rate_is_near_five_percent() -> None:
    assert 0.02 <= measure_false_positives("labels", 250, 199)[EOD] <= 0.08
    assert 0.02 <= measure_false_positives("rows", 250, 199)[DPD] <= 0.08


@pytest.mark.slow
def test_false_positive_rate_is_five_percent_over_many_tables() -> None:
    assert 0.04 <= measure_false_positives("labels", 3000, 399)[EOD] <= 0.06
    assert 0.04 <= measure_false_positives("rows", 3000, 399)[DPD] <= 0.06


def test_margins_of_a_label_with_one_prediction_equal_those_of_whole_tables() -> None:
    """All rows of label 0 are right, so that the table of this label has one row of predictions."""
    table = np.zeros((3, 2, 3), dtype=np.int64)
    table[0, :, 0] = 10, 30
    table[1, :, 1] = 25, 5
    table[1, :, 0] = 5, 25
    table[2, 0, 2] = 20  # in one group only
    for within in ("labels", "rows"):
        drawn = np.concatenate(
            [
                Margins.of(t).selected
                for t in permute_bias(table, within, np.random.default_rng(0), 400)
            ]
        )
        sums = np.concatenate(
            [m.selected for m in permute_margins(table, within, np.random.default_rng(1), 400)]
        )
        assert (sums >= 0).all() and (sums.sum(axis=2) == table.sum(axis=(0, 1))).all()
        np.testing.assert_allclose(sums.mean(axis=0), drawn.mean(axis=0), atol=0.7)
    (margins,) = permute_margins(table, "labels", np.random.default_rng(0), 50)
    assert (margins.hits[:, 0] == [10, 30]).all() and (margins.hits[:, 2] == [20, 0]).all()
    assert (margins.hits[:, 1].sum(axis=1) == 30).all()


def test_tables_of_one_group_or_one_class_stay_what_they_are() -> None:
    for table in (
        np.array([[[8, 2]], [[1, 9]]]),  # one group
        np.array([[[5], [7]]]),  # one class
    ):
        for within in ("labels", "rows"):
            for tables in permute_bias(table, within, np.random.default_rng(0), 5):
                assert (tables == table).all()
