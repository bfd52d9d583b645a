"""Paired tests: comparison with scipy, with all signs and with a bootstrap of rows; undefined tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from biascon.errors import UsageError
from biascon.metrics import accuracy, fairness
from biascon.metrics.counts import count
from biascon.metrics.joint_counts import JointCounts, count_jointly
from biascon.metrics.paired_tests import (
    SeedDifference,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_t,
    wilcoxon,
)

# (label, bias, prediction of a, prediction of b)
ROW = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2))
ROWS = st.lists(ROW, max_size=40)
Rows = list[tuple[int, int, int, int]]
PairedSeedTest = Callable[[list[float], list[float]], SeedDifference]


def as_columns(rows: Rows) -> tuple[np.ndarray, ...]:
    return tuple(np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def count_rows(rows: Rows) -> JointCounts:
    return count_jointly(*as_columns(rows), n_labels=3, n_bias=2)


def simulate_predictions(n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return labels, bias and two predictions that are mostly correct on the same rows; b is worse."""
    rng = np.random.default_rng(seed)
    labels, bias = rng.integers(0, 3, n), rng.integers(0, 2, n)
    difficulty = rng.random(n)
    a = np.where(difficulty + 0.05 * rng.random(n) < 0.8, labels, rng.integers(0, 3, n))
    b = np.where(difficulty + 0.05 * rng.random(n) < 0.75, labels, rng.integers(0, 3, n))
    return labels, bias, a, b


class TestJointCounts:
    @given(ROWS)
    def test_tables_equal_those_of_each_classifier(self, rows: Rows) -> None:
        label, bias, a, b = as_columns(rows)
        counts = count_rows(rows)
        table_a, table_b = counts.tables(counts.n)
        assert np.array_equal(table_a, count(label, bias, a, n_labels=3, n_bias=2))
        assert np.array_equal(table_b, count(label, bias, b, n_labels=3, n_bias=2))

    @given(ROWS)
    def test_discordant_rows_equal_counting_row_by_row(self, rows: Rows) -> None:
        only_a = sum(y == a != b for y, _, a, b in rows)
        only_b = sum(y == b != a for y, _, a, b in rows)
        assert count_rows(rows).discordant == (only_a, only_b)

    def test_only_combinations_with_rows_are_stored(self) -> None:
        counts = count_rows([(0, 1, 2, 0), (0, 1, 2, 0), (2, 0, 1, 1)])
        assert counts.cells.tolist() == [[0, 1, 2, 0], [2, 0, 1, 1]]
        assert counts.n.tolist() == [2, 1]

    def test_leading_axes_give_one_table_each(self) -> None:
        counts = count_rows([(0, 1, 2, 0), (0, 1, 2, 1), (2, 0, 1, 1)])
        n = np.arange(12).reshape(2, 2, 3)
        table_a, table_b = counts.tables(n)
        assert table_a.shape == table_b.shape == (2, 2, 3, 2, 3)
        assert table_a[1, 1, 0, 1, 2] == 9 + 10
        assert table_b[1, 1, 0, 1, 1] == 10

    @pytest.mark.parametrize("column", range(4))
    def test_a_value_out_of_range_is_an_error(self, column: int) -> None:
        columns = [np.zeros(2, int) for _ in range(4)]
        columns[column][1] = 3
        name = ("labels", "bias", "predictions a", "predictions b")[column]
        with pytest.raises(UsageError, match=f"expected {name} in"):
            count_jointly(*columns, n_labels=3, n_bias=2)

    def test_columns_of_different_length_are_an_error(self) -> None:
        two, three = np.zeros(2, int), np.zeros(3, int)
        with pytest.raises(UsageError, match=r"but got \[2, 2, 2, 3\]"):
            count_jointly(two, two, two, three, n_labels=3, n_bias=2)


class TestMcNemar:
    @given(st.integers(0, 60), st.integers(0, 60))
    @settings(deadline=None)
    def test_exact_p_equals_the_binomial_test_of_scipy(self, only_a: int, only_b: int) -> None:
        test = mcnemar(only_a, only_b)
        n = only_a + only_b
        expected = stats.binomtest(only_a, n, 0.5).pvalue if n else 1.0
        assert test.exact == pytest.approx(expected)
        assert test.exact >= test.mid

    @given(st.integers(0, 9), st.integers(0, 9))
    @settings(deadline=None)
    def test_mid_p_equals_the_sum_over_all_outcomes(self, only_a: int, only_b: int) -> None:
        n, m = only_a + only_b, min(only_a, only_b)
        share = [math.comb(n, i) / 2**n for i in range(n + 1)]
        mid = 2 * (sum(share[:m]) + share[m] / 2)
        assert mcnemar(only_a, only_b).mid == pytest.approx(mid)

    def test_p_values_equal_published_values(self) -> None:
        """Source: Fagerland et al. 2013, airway hyper-responsiveness, 1 and 7 discordant pairs."""
        test = mcnemar(1, 7)
        assert test.exact == pytest.approx(0.0703, abs=5e-5)
        assert test.mid == pytest.approx(0.0391, abs=5e-5)

    def test_p_without_discordant_rows_is_one(self) -> None:
        test = mcnemar(0, 0)
        assert (test.exact, test.mid) == (1.0, 1.0)

    def test_exact_p_of_many_rows_is_close_to_the_normal(self) -> None:
        test = mcnemar(400_000, 401_000)
        assert test.exact == pytest.approx(2 * stats.norm.sf(1000 / math.sqrt(801_000)), rel=0.01)

    def test_negative_numbers_are_an_error(self) -> None:
        with pytest.raises(UsageError, match="numbers of rows, but got -1 and 3"):
            mcnemar(-1, 3)


def compute_metrics(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Return two metrics of shape (), and one of shape (K,)."""
    return {
        "top1": accuracy.top1(tables),
        "unbiased": accuracy.unbiased(tables),
        "parity": fairness.from_counts(tables)["demographic_parity_difference"],
    }


class TestPairedBootstrap:
    def test_limits_are_quantiles_of_a_bootstrap_of_rows(self) -> None:
        rows = simulate_predictions(150, 0)
        label, bias, a, b = rows
        count_replicates, row_replicates = 6000, 2000
        differences = paired_bootstrap(
            count_jointly(*rows, n_labels=3, n_bias=2),
            compute_metrics,
            np.random.default_rng(1),
            replicates=count_replicates,
        )
        rng = np.random.default_rng(2)
        tables = []
        for _ in range(row_replicates):
            d = rng.integers(0, 150, 150)
            tables.append(
                [count(label[d], bias[d], p[d], n_labels=3, n_bias=2) for p in (a, b)],
            )
        metrics_a, metrics_b = (compute_metrics(np.stack(t)) for t in zip(*tables, strict=True))
        error = math.sqrt(0.025 * 0.975 * (1 / count_replicates + 1 / row_replicates))
        for name, difference in differences.items():
            values = metrics_a[name] - metrics_b[name]
            # The metrics are discrete: many replicates may be equal to a limit.
            for share_outside, share_outside_or_equal in (
                ((values < difference.low).mean(axis=0), (values <= difference.low).mean(axis=0)),
                ((values > difference.high).mean(axis=0), (values >= difference.high).mean(axis=0)),
            ):
                assert np.all(share_outside < 0.025 + 5 * error), name
                assert np.all(share_outside_or_equal > 0.025 - 5 * error), name

    def test_value_equals_the_difference_of_the_metrics(self) -> None:
        rows = simulate_predictions(300, 3)
        label, bias, a, b = rows
        differences = paired_bootstrap(
            count_jointly(*rows, n_labels=3, n_bias=2),
            compute_metrics,
            np.random.default_rng(0),
            replicates=99,
        )
        metrics_a, metrics_b = (
            compute_metrics(count(label, bias, p, n_labels=3, n_bias=2)) for p in (a, b)
        )
        for name, difference in differences.items():
            np.testing.assert_array_equal(difference.value, metrics_a[name] - metrics_b[name])
            assert difference.low.shape == difference.value.shape

    def test_paired_interval_is_narrower_than_an_unpaired_one(self) -> None:
        rows = simulate_predictions(2000, 4)
        label, _, a, b = rows
        difference = paired_bootstrap(
            count_jointly(*rows, n_labels=3, n_bias=2), compute_metrics, np.random.default_rng(0)
        )["top1"]
        rate = [(p == label).mean() for p in (a, b)]
        unpaired_width = 2 * 1.96 * math.sqrt(sum(r * (1 - r) / 2000 for r in rate))
        assert 0 < difference.high - difference.low < 0.7 * unpaired_width

    def test_difference_of_equal_predictions_is_zero(self) -> None:
        label, bias, a, _ = simulate_predictions(200, 5)
        differences = paired_bootstrap(
            count_jointly(label, bias, a, a, n_labels=3, n_bias=2),
            compute_metrics,
            np.random.default_rng(0),
        )
        for difference in differences.values():
            assert not np.any([difference.value, difference.low, difference.high])

    def test_difference_without_rows_is_nan(self) -> None:
        for difference in paired_bootstrap(
            count_rows([]), compute_metrics, np.random.default_rng(0)
        ).values():
            assert np.isnan([difference.value, difference.low, difference.high]).all()

    def test_limits_of_an_undefined_metric_are_nan(self) -> None:
        rows = [(0, 0, 0, 1)] * 20 + [(1, 0, 1, 1)] * 20  # only one group has rows
        differences = paired_bootstrap(count_rows(rows), compute_metrics, np.random.default_rng(0))
        assert np.isnan(differences["parity"].low).all()
        assert differences["top1"].value == 0.5

    def test_blocks_add_up_to_all_replicates(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes = []

        def compute_top1(tables: np.ndarray) -> dict[str, np.ndarray]:
            sizes.append(len(tables))
            return {"top1": accuracy.top1(tables)}

        monkeypatch.setattr("biascon.metrics.paired_tests._BLOCK", 18 * 7)
        paired_bootstrap(
            count_rows([(0, 0, 0, 1), (1, 1, 1, 1)]),
            compute_top1,
            np.random.default_rng(0),
            replicates=20,
        )
        assert sizes == [1, 1, 7, 7, 7, 7, 6, 6]


VALUES = st.lists(st.integers(-6, 6), min_size=2, max_size=9)


class TestPairedT:
    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9))
    @settings(deadline=None)
    def test_p_equals_the_paired_test_of_scipy(self, pairs: list[tuple[float, float]]) -> None:
        a, b = np.array(pairs).T
        test = paired_t(a, b)
        assert test.n == len(pairs)
        assert test.mean == pytest.approx((a - b).mean())
        if np.ptp(a - b) > 1e-6:
            assert test.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-6)

    @pytest.mark.parametrize(
        ("a", "b"),
        [([], []), ([0.5], [0.4]), ([0.5, 0.6], [0.5, 0.6]), ([0.3, 0.4, 0.6], [0.2, 0.3, 0.5])],
    )
    def test_p_without_spread_or_seeds_is_nan(self, a: list[float], b: list[float]) -> None:
        test = paired_t(a, b)
        assert test.n == len(a)
        assert math.isnan(test.p)


class TestWilcoxon:
    @given(st.permutations(range(1, 10)), st.lists(st.booleans(), min_size=9, max_size=9))
    @settings(deadline=None)
    def test_p_equals_the_exact_test_of_scipy_without_ties(
        self, sizes: list[int], signs: list[bool]
    ) -> None:
        d = np.array(sizes) * np.where(signs, 1, -1)
        test = wilcoxon(d, np.zeros(9))
        assert test.p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)

    @given(VALUES.filter(any))
    @settings(max_examples=60, deadline=None)
    def test_p_equals_the_sum_over_all_signs_with_ties_and_zeros(self, values: list[int]) -> None:
        test = wilcoxon(np.array(values) / 10, np.zeros(len(values)))
        nonzero = [v for v in values if v]
        ranks = stats.rankdata(np.abs(nonzero))
        rank_sums = [
            sum(r for r, s in zip(ranks, signs, strict=True) if s)
            for signs in itertools.product([0, 1], repeat=len(nonzero))
        ]
        observed = sum(r for r, v in zip(ranks, nonzero, strict=True) if v > 0)
        smaller = min(observed, ranks.sum() - observed)
        p = min(1.0, 2 * sum(s <= smaller for s in rank_sums) / len(rank_sums))
        assert test.n == len(nonzero)
        assert test.p == pytest.approx(p)
        assert test.mean == pytest.approx(np.mean(values) / 10)

    @pytest.mark.parametrize(("n", "smallest_p"), [(2, 0.5), (3, 0.25), (5, 0.0625), (8, 2 / 256)])
    def test_few_seeds_cannot_give_a_small_p(self, n: int, smallest_p: float) -> None:
        assert wilcoxon(np.arange(1, n + 1), np.zeros(n)).p == smallest_p

    def test_differences_that_differ_by_rounding_are_tied(self) -> None:
        assert 0.3 - 0.2 != 0.2 - 0.1
        test = wilcoxon([0.3, 0.2, 0.5], [0.2, 0.1, 0.6])
        assert test.p == wilcoxon([1, 1, -1], [0, 0, 0]).p

    def test_p_of_many_seeds_is_the_normal_approximation(self) -> None:
        d = np.random.default_rng(0).normal(0.2, 1, 201)
        exact, normal = wilcoxon(d[:200], np.zeros(200)), wilcoxon(d, np.zeros(201))
        assert exact.p == pytest.approx(stats.wilcoxon(d[:200], method="approx").pvalue, rel=0.1)
        assert normal.p == stats.wilcoxon(d, method="approx").pvalue

    @pytest.mark.parametrize("a", [[], [0.5], [0.0, 0.0, 0.0]])
    def test_p_without_nonzero_differences_is_nan(self, a: list[float]) -> None:
        test = wilcoxon(a, np.zeros(len(a)))
        assert math.isnan(test.p)
        assert test.n == sum(map(bool, a))


@pytest.mark.parametrize("run_test", [paired_t, wilcoxon])
def test_values_that_do_not_fit_are_an_error(run_test: PairedSeedTest) -> None:
    with pytest.raises(
        UsageError, match=r"one value per seed for a and b, but got \(2,\) and \(3,\)"
    ):
        run_test([1, 2], [1, 2, 3])
    with pytest.raises(
        UsageError, match="expected finite values, but got a = nan and b = 2 at index 1"
    ):
        run_test([1, np.nan], [1, 2])


class TestHolm:
    def test_adjusted_p_equals_a_hand_worked_example(self) -> None:
        # Sorted: 0.005 0.01 0.03 0.04. Times 4 3 2 1: 0.02 0.03 0.06 0.04. Not below the previous one: 0.06.
        adjusted = holm([0.01, 0.04, 0.03, 0.005])
        assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])

    @given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.999))
    def test_rejections_equal_the_step_down_procedure(self, p: list[float], alpha: float) -> None:
        """Reject the smallest p-value while p <= alpha / (number of remaining tests)."""
        rejected = set()
        for step, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
            if p[i] * (len(p) - step) > alpha:
                break
            rejected.add(i)
        assert {i for i, q in enumerate(holm(p)) if q <= alpha} == rejected

    def test_nan_does_not_count_as_a_test(self) -> None:
        adjusted = holm([0.02, np.nan, 0.03])
        assert adjusted[[0, 2]].tolist() == [0.04, 0.04]
        assert math.isnan(adjusted[1])
        assert np.isnan(holm([np.nan])).all()

    @pytest.mark.parametrize("p", [[-0.1], [1.5, 0.2], [[0.1]]])
    def test_values_outside_zero_and_one_are_an_error(self, p: list[float]) -> None:
        with pytest.raises(UsageError, match=r"p-values in 0\.\.1, but got"):
            holm(p)
