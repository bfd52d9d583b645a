"""Paired tests: against scipy, against all signs and all rows, and where they are undefined."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from biascon.errors import UsageError
from biascon.metrics import accuracy, fairness
from biascon.metrics.counts import count
from biascon.metrics.paired_tests import (
    JointCounts,
    count_jointly,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_t,
    wilcoxon,
)

ROW = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2))
ROWS = st.lists(ROW, max_size=40)
Rows = list[tuple[int, int, int, int]]


def columns(rows: Rows) -> tuple[np.ndarray, ...]:
    return tuple(np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def counted(rows: Rows) -> JointCounts:
    return count_jointly(*columns(rows), n_labels=3, n_bias=2)


def simulated(n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Labels, bias and two predictions that are right on mostly the same rows, b a little less."""
    rng = np.random.default_rng(seed)
    labels, bias = rng.integers(0, 3, n), rng.integers(0, 2, n)
    hard = rng.random(n)
    a = np.where(hard + 0.05 * rng.random(n) < 0.8, labels, rng.integers(0, 3, n))
    b = np.where(hard + 0.05 * rng.random(n) < 0.75, labels, rng.integers(0, 3, n))
    return labels, bias, a, b


class TestJoint:
    @given(ROWS)
    def test_gives_the_tables_of_both(self, rows: Rows) -> None:
        label, bias, a, b = columns(rows)
        found = counted(rows)
        of_a, of_b = found.tables(found.n)
        assert np.array_equal(of_a, count(label, bias, a, n_labels=3, n_bias=2))
        assert np.array_equal(of_b, count(label, bias, b, n_labels=3, n_bias=2))

    @given(ROWS)
    def test_discordant_rows(self, rows: Rows) -> None:
        only_a = sum(y == a != b for y, _, a, b in rows)
        only_b = sum(y == b != a for y, _, a, b in rows)
        assert counted(rows).discordant == (only_a, only_b)

    def test_only_cells_with_rows_are_held(self) -> None:
        found = counted([(0, 1, 2, 0), (0, 1, 2, 0), (2, 0, 1, 1)])
        assert found.cells.tolist() == [[0, 1, 2, 0], [2, 0, 1, 1]]
        assert found.n.tolist() == [2, 1]

    def test_leading_axes(self) -> None:
        found = counted([(0, 1, 2, 0), (0, 1, 2, 1), (2, 0, 1, 1)])
        weights = np.arange(12).reshape(2, 2, 3)
        of_a, of_b = found.tables(weights)
        assert of_a.shape == of_b.shape == (2, 2, 3, 2, 3)
        assert of_a[1, 1, 0, 1, 2] == 9 + 10
        assert of_b[1, 1, 0, 1, 1] == 10

    @pytest.mark.parametrize("column", range(4))
    def test_values_out_of_range(self, column: int) -> None:
        asked = [np.zeros(2, int) for _ in range(4)]
        asked[column][1] = 3
        name = ("labels", "bias", "predictions a", "predictions b")[column]
        with pytest.raises(UsageError, match=f"expected {name} in"):
            count_jointly(*asked, n_labels=3, n_bias=2)

    def test_columns_of_different_length(self) -> None:
        two, three = np.zeros(2, int), np.zeros(3, int)
        with pytest.raises(UsageError, match=r"but got \[2, 2, 2, 3\]"):
            count_jointly(two, two, two, three, n_labels=3, n_bias=2)


class TestMcNemar:
    @given(st.integers(0, 60), st.integers(0, 60))
    @settings(deadline=None)
    def test_against_scipy_s_binomial_test(self, only_a: int, only_b: int) -> None:
        found = mcnemar(only_a, only_b)
        n = only_a + only_b
        expected = stats.binomtest(only_a, n, 0.5).pvalue if n else 1.0
        assert found.exact == pytest.approx(expected)
        assert found.exact >= found.mid

    @given(st.integers(0, 9), st.integers(0, 9))
    @settings(deadline=None)
    def test_against_all_outcomes(self, only_a: int, only_b: int) -> None:
        n, m = only_a + only_b, min(only_a, only_b)
        share = [math.comb(n, i) / 2**n for i in range(n + 1)]
        mid = 2 * (sum(share[:m]) + share[m] / 2)
        assert mcnemar(only_a, only_b).mid == pytest.approx(mid)

    def test_published(self) -> None:
        """Fagerland et al. 2013, airway hyper-responsiveness: 1 and 7 discordant pairs."""
        found = mcnemar(1, 7)
        assert found.exact == pytest.approx(0.0703, abs=5e-5)
        assert found.mid == pytest.approx(0.0391, abs=5e-5)

    def test_no_discordant_rows(self) -> None:
        found = mcnemar(0, 0)
        assert (found.exact, found.mid) == (1.0, 1.0)

    def test_many_rows(self) -> None:
        found = mcnemar(400_000, 401_000)
        assert found.exact == pytest.approx(2 * stats.norm.sf(1000 / math.sqrt(801_000)), rel=0.01)

    def test_negative_numbers(self) -> None:
        with pytest.raises(UsageError, match="numbers of rows, but got -1 and 3"):
            mcnemar(-1, 3)


def everything(tables: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "top1": accuracy.top1(tables),
        "unbiased": accuracy.unbiased(tables),
        "parity": fairness.from_counts(tables)["demographic_parity_difference"],
    }


class TestPairedBootstrap:
    def test_against_resampling_the_rows(self) -> None:
        rows = simulated(150, 0)
        label, bias, a, b = rows
        fast, slow = 6000, 2000
        limits = paired_bootstrap(
            count_jointly(*rows, n_labels=3, n_bias=2),
            everything,
            np.random.default_rng(1),
            replicates=fast,
        )
        rng = np.random.default_rng(2)
        tables = []
        for _ in range(slow):
            d = rng.integers(0, 150, 150)
            tables.append(
                [count(label[d], bias[d], p[d], n_labels=3, n_bias=2) for p in (a, b)],
            )
        of_a, of_b = (everything(np.stack(t)) for t in zip(*tables, strict=True))
        error = math.sqrt(0.025 * 0.975 * (1 / fast + 1 / slow))
        for name, found in limits.items():
            values = of_a[name] - of_b[name]
            for below, at_most in (
                ((values < found.low).mean(axis=0), (values <= found.low).mean(axis=0)),
                ((values > found.high).mean(axis=0), (values >= found.high).mean(axis=0)),
            ):
                assert np.all(below < 0.025 + 5 * error), name
                assert np.all(at_most > 0.025 - 5 * error), name

    def test_the_value_is_the_difference(self) -> None:
        rows = simulated(300, 3)
        label, bias, a, b = rows
        found = paired_bootstrap(
            count_jointly(*rows, n_labels=3, n_bias=2),
            everything,
            np.random.default_rng(0),
            replicates=99,
        )
        of_a, of_b = (everything(count(label, bias, p, n_labels=3, n_bias=2)) for p in (a, b))
        for name, difference in found.items():
            np.testing.assert_array_equal(difference.value, of_a[name] - of_b[name])
            assert difference.low.shape == difference.value.shape

    def test_is_narrower_than_two_intervals_of_their_own(self) -> None:
        rows = simulated(2000, 4)
        label, _, a, b = rows
        found = paired_bootstrap(
            count_jointly(*rows, n_labels=3, n_bias=2), everything, np.random.default_rng(0)
        )["top1"]
        rate = [(p == label).mean() for p in (a, b)]
        unpaired = 2 * 1.96 * math.sqrt(sum(r * (1 - r) / 2000 for r in rate))
        assert 0 < found.high - found.low < 0.7 * unpaired

    def test_of_the_same_predictions_it_is_zero(self) -> None:
        label, bias, a, _ = simulated(200, 5)
        found = paired_bootstrap(
            count_jointly(label, bias, a, a, n_labels=3, n_bias=2),
            everything,
            np.random.default_rng(0),
        )
        for difference in found.values():
            assert not np.any([difference.value, difference.low, difference.high])

    def test_no_rows(self) -> None:
        for difference in paired_bootstrap(
            counted([]), everything, np.random.default_rng(0)
        ).values():
            assert np.isnan([difference.value, difference.low, difference.high]).all()

    def test_an_undefined_metric_has_no_limits(self) -> None:
        rows = [(0, 0, 0, 1)] * 20 + [(1, 0, 1, 1)] * 20  # one group
        found = paired_bootstrap(counted(rows), everything, np.random.default_rng(0))
        assert np.isnan(found["parity"].low).all()
        assert found["top1"].value == 0.5

    def test_blocks_of_replicates_are_all_of_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes = []

        def top1(tables: np.ndarray) -> dict[str, np.ndarray]:
            sizes.append(len(tables))
            return {"top1": accuracy.top1(tables)}

        monkeypatch.setattr("biascon.metrics.paired_tests._BLOCK", 18 * 7)
        paired_bootstrap(
            counted([(0, 0, 0, 1), (1, 1, 1, 1)]), top1, np.random.default_rng(0), replicates=20
        )
        assert sizes == [1, 1, 7, 7, 7, 7, 6, 6]


VALUES = st.lists(st.integers(-6, 6), min_size=2, max_size=9)


class TestPairedT:
    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9))
    @settings(deadline=None)
    def test_against_scipy(self, pairs: list[tuple[float, float]]) -> None:
        a, b = np.array(pairs).T
        found = paired_t(a, b)
        assert found.n == len(pairs)
        assert found.mean == pytest.approx((a - b).mean())
        if np.ptp(a - b) > 1e-6:
            assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-6)

    @pytest.mark.parametrize(
        ("a", "b"),
        [([], []), ([0.5], [0.4]), ([0.5, 0.6], [0.5, 0.6]), ([0.3, 0.4, 0.6], [0.2, 0.3, 0.5])],
    )
    def test_undefined(self, a: list[float], b: list[float]) -> None:
        found = paired_t(a, b)
        assert found.n == len(a)
        assert math.isnan(found.p)


class TestWilcoxon:
    @given(st.permutations(range(1, 10)), st.lists(st.booleans(), min_size=9, max_size=9))
    @settings(deadline=None)
    def test_against_scipy_without_ties(self, sizes: list[int], signs: list[bool]) -> None:
        d = np.array(sizes) * np.where(signs, 1, -1)
        found = wilcoxon(d, np.zeros(9))
        assert found.p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)

    @given(VALUES.filter(any))
    @settings(max_examples=60, deadline=None)
    def test_against_all_signs_with_ties_and_zeros(self, values: list[int]) -> None:
        found = wilcoxon(np.array(values) / 10, np.zeros(len(values)))
        kept = [v for v in values if v]
        ranks = stats.rankdata(np.abs(kept))
        sums = [
            sum(r for r, s in zip(ranks, signs, strict=True) if s)
            for signs in itertools.product([0, 1], repeat=len(kept))
        ]
        observed = sum(r for r, v in zip(ranks, kept, strict=True) if v > 0)
        smaller = min(observed, ranks.sum() - observed)
        p = min(1.0, 2 * sum(s <= smaller for s in sums) / len(sums))
        assert found.n == len(kept)
        assert found.p == pytest.approx(p)
        assert found.mean == pytest.approx(np.mean(values) / 10)

    @pytest.mark.parametrize(("n", "least"), [(2, 0.5), (3, 0.25), (5, 0.0625), (8, 2 / 256)])
    def test_few_seeds_cannot_give_a_small_p(self, n: int, least: float) -> None:
        assert wilcoxon(np.arange(1, n + 1), np.zeros(n)).p == least

    def test_differences_that_are_equal_but_for_rounding_are_tied(self) -> None:
        assert 0.3 - 0.2 != 0.2 - 0.1
        found = wilcoxon([0.3, 0.2, 0.5], [0.2, 0.1, 0.6])
        assert found.p == wilcoxon([1, 1, -1], [0, 0, 0]).p

    def test_many_seeds(self) -> None:
        d = np.random.default_rng(0).normal(0.2, 1, 201)
        exact, normal = wilcoxon(d[:200], np.zeros(200)), wilcoxon(d, np.zeros(201))
        assert exact.p == pytest.approx(stats.wilcoxon(d[:200], method="approx").pvalue, rel=0.1)
        assert normal.p == stats.wilcoxon(d, method="approx").pvalue

    @pytest.mark.parametrize("a", [[], [0.5], [0.0, 0.0, 0.0]])
    def test_undefined(self, a: list[float]) -> None:
        found = wilcoxon(a, np.zeros(len(a)))
        assert math.isnan(found.p)
        assert found.n == sum(map(bool, a))


@pytest.mark.parametrize("test", [paired_t, wilcoxon])
def test_seeds_that_do_not_fit(test: object) -> None:
    with pytest.raises(
        UsageError, match=r"one value per seed for a and b, but got \(2,\) and \(3,\)"
    ):
        test([1, 2], [1, 2, 3])  # type: ignore[operator]
    with pytest.raises(UsageError, match="expected finite values"):
        test([1, np.nan], [1, 2])  # type: ignore[operator]


class TestHolm:
    def test_by_hand(self) -> None:
        # sorted 0.005 0.01 0.03 0.04, times 4 3 2 1: 0.02 0.03 0.06 0.04, no smaller than before
        found = holm([0.01, 0.04, 0.03, 0.005])
        assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])

    @given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.999))
    def test_against_the_steps(self, p: list[float], alpha: float) -> None:
        """Reject the smallest while p <= alpha / (how many are left)."""
        rejected = set()
        for step, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
            if p[i] * (len(p) - step) > alpha:
                break
            rejected.add(i)
        assert {i for i, q in enumerate(holm(p)) if q <= alpha} == rejected

    def test_what_is_undefined_is_no_test(self) -> None:
        found = holm([0.02, np.nan, 0.03])
        assert found[[0, 2]].tolist() == [0.04, 0.04]
        assert math.isnan(found[1])
        assert np.isnan(holm([np.nan])).all()

    @pytest.mark.parametrize("p", [[-0.1], [1.5, 0.2], [[0.1]]])
    def test_what_is_refused(self, p: list[float]) -> None:
        with pytest.raises(UsageError, match=r"p-values in 0\.\.1, but got"):
            holm(p)
