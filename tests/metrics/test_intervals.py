"""Intervals: the bootstrap on counts is the row bootstrap, and covers what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from biascon.errors import UsageError
from biascon.metrics import accuracy, fairness
from biascon.metrics.counts import count
from biascon.metrics.intervals import Mean, bootstrap, resample, t_interval, wilson

TABLE = np.array([[[40, 10], [12, 8]], [[5, 15], [9, 51]]])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def everything(tables: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "top1": accuracy.top1(tables),
        "unbiased": accuracy.unbiased(tables),
        "parity": fairness.from_counts(tables)["demographic_parity_difference"],
    }


class TestResample:
    @pytest.mark.parametrize("replicates", [1, 499, 500, 501, 1203])
    def test_as_many_as_asked_for_each_of_n_rows(self, replicates: int) -> None:
        found = np.concatenate(list(resample(TABLE, generator(), replicates)))
        assert found.shape == (replicates, *TABLE.shape)
        assert (found.sum(axis=(1, 2, 3)) == TABLE.sum()).all()

    def test_an_empty_cell_stays_empty(self) -> None:
        table = TABLE.copy()
        table[0, 1] = 0
        found = np.concatenate(list(resample(table, generator(), 200)))
        assert not found[:, 0, 1].any()
        assert found[:, 1, 1].any()

    def test_means_and_variances_are_multinomial(self) -> None:
        replicates, n = 20000, TABLE.sum()
        found = np.concatenate(list(resample(TABLE, generator(), replicates)))
        p = TABLE / n
        variance = n * p * (1 - p)
        error = np.sqrt(variance / replicates)
        assert (abs(found.mean(axis=0) - TABLE) < 5 * error).all()
        assert found.var(axis=0) == pytest.approx(variance, rel=5 * math.sqrt(2 / replicates))

    @pytest.mark.parametrize("least", [0, 1, 6])
    def test_cells_of_few_rows_are_drawn_as_well_as_others(self, least: int) -> None:
        """Means and covariances of all cells, many of them of one to five rows."""
        table = np.array([[[1, 2, 5], [6, 30, 3]], [[0, 1, 4], [7, 2, 1]]])
        table = np.where(table > 0, np.maximum(table, least), 0)
        replicates, n = 40000, table.sum()
        found = np.concatenate(list(resample(table, generator(), replicates)))
        assert (found.sum(axis=(1, 2, 3)) == n).all()
        assert not found[:, 1, 0, 0].any()
        flat, p = found.reshape(replicates, -1), table.reshape(-1) / n
        expected = n * (np.diag(p) - np.outer(p, p))
        variance = np.diag(expected)
        assert (abs(flat.mean(axis=0) - n * p) <= 5 * np.sqrt(variance / replicates)).all()
        error = np.sqrt(np.outer(variance, variance) * 2 / replicates) + 0.02
        assert (abs(np.cov(flat.T) - expected) <= 5 * error).all()

    def test_a_cell_of_few_rows_is_binomial(self) -> None:
        table = np.array([[[50, 2], [1, 40]]])
        found = np.concatenate(list(resample(table, generator(), 20000)))[:, 0, 0, 1]
        for k in range(6):
            p = stats.binom.pmf(k, 93, 2 / 93)
            assert abs((found == k).mean() - p) < 5 * math.sqrt(p / 20000)


class TestBootstrap:
    def test_against_resampling_the_rows(self) -> None:
        """The limits are quantiles of the naive row bootstrap, within both Monte Carlo errors."""
        label, bias, prediction = np.repeat(np.argwhere(TABLE >= 0), TABLE.reshape(-1), axis=0).T
        n, fast, slow = len(label), 8000, 3000
        limits = bootstrap(TABLE, everything, generator(1), replicates=fast)
        rng = generator(2)
        draws = [rng.integers(0, n, n) for _ in range(slow)]
        tables = np.stack(
            [count(label[d], bias[d], prediction[d], n_labels=2, n_bias=2) for d in draws]
        )
        error = math.sqrt(0.025 * 0.975 * (1 / fast + 1 / slow))
        for name, values in everything(tables).items():
            low, high = limits[name]
            for below, at_most in (
                ((values < low).mean(axis=0), (values <= low).mean(axis=0)),
                ((values > high).mean(axis=0), (values >= high).mean(axis=0)),
            ):  # the metrics are discrete: a limit may carry many replicates
                assert np.all(below < 0.025 + 5 * error), name
                assert np.all(at_most > 0.025 - 5 * error), name

    def test_covers_the_truth_as_often_as_it_says(self) -> None:
        """Top-1 of 400 test sets of 400 images from one population."""
        rng = generator(3)
        truth = TABLE / TABLE.sum()
        top1 = float(accuracy.top1(truth))
        trials = 400
        covered = 0
        for _ in range(trials):
            table = rng.multinomial(400, truth.reshape(-1)).reshape(TABLE.shape)
            low, high = bootstrap(table, lambda t: {"top1": accuracy.top1(t)}, rng, replicates=500)[
                "top1"
            ]
            covered += bool(low <= top1 <= high)
        assert 0.92 <= covered / trials <= 0.98

    def test_the_level_is_what_it_covers(self) -> None:
        found = {
            level: bootstrap(TABLE, everything, generator(), level=level)["top1"]
            for level in (0.5, 0.95)
        }
        assert found[0.95][0] < found[0.5][0] < accuracy.top1(TABLE)
        assert found[0.95][1] > found[0.5][1] > accuracy.top1(TABLE)
        # the width goes with the normal quantiles, as it does for a share of 160 rows
        width = {level: float(high - low) for level, (low, high) in found.items()}
        ratio = stats.norm.ppf(0.975) / stats.norm.ppf(0.75)
        assert width[0.95] / width[0.5] == pytest.approx(ratio, rel=0.2)

    def test_the_same_generator_gives_the_same_limits(self) -> None:
        one, same, other = (
            bootstrap(TABLE, everything, generator(seed))["unbiased"] for seed in (0, 0, 1)
        )
        assert one == same
        assert one != other

    def test_metrics_per_class_keep_their_shape(self) -> None:
        low, high = bootstrap(TABLE, everything, generator(), replicates=50)["parity"]
        assert low.shape == high.shape == (2,)
        assert (low <= high).all()

    def test_an_empty_table_has_no_limits(self) -> None:
        found = bootstrap(np.zeros_like(TABLE), everything, generator())
        assert found["top1"][0].shape == ()
        assert found["parity"][0].shape == (2,)
        for low, high in found.values():
            assert np.isnan(low).all()
            assert np.isnan(high).all()

    def test_a_metric_that_is_often_undefined_has_no_limits(self) -> None:
        aligned = np.eye(2, dtype=bool)

        def conflicting(tables: np.ndarray) -> dict[str, np.ndarray]:
            return {"conflicting": accuracy.bias_conflicting(tables, aligned)}

        table = np.zeros((2, 2, 2), dtype=int)
        table[0, 0, 0], table[1, 1, 1] = 50, 50
        table[0, 1] = [1, 0]  # gone in 36 % of the resamples
        low, high = bootstrap(table, conflicting, generator())["conflicting"]
        assert math.isnan(low)
        assert math.isnan(high)
        table[0, 1] = [3, 3]  # gone in 0.2 %
        low, high = bootstrap(table, conflicting, generator())["conflicting"]
        assert 0 <= low < 0.5 < high <= 1

    def test_a_perfect_predictor_has_a_point(self) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1]] = 25
        assert bootstrap(table, everything, generator())["top1"] == (1.0, 1.0)


class TestWilson:
    @given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
    @settings(deadline=None)
    def test_is_scipy_s(self, n: int, share: float, level: float) -> None:
        successes = round(share * n)
        low, high = wilson(successes, n, level)
        expected = stats.binomtest(successes, n).proportion_ci(level, "wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)

    def test_published(self) -> None:
        """Newcombe, Statistics in Medicine 17, 1998, table I, method 3."""
        low, high = wilson([81, 15, 0, 1], [263, 148, 20, 29])
        assert np.round(low, 4).tolist() == [0.2553, 0.0624, 0.0, 0.0061]
        assert np.round(high, 4).tolist() == [0.3662, 0.1605, 0.1611, 0.1718]

    def test_the_ends_are_exact(self) -> None:
        low, high = wilson([0, 7], [7, 7])
        assert low[0] == 0.0
        assert high[1] == 1.0
        assert high[0] == pytest.approx(1 - low[1])

    def test_without_rows_it_is_undefined(self) -> None:
        low, high = wilson([[0, 1], [0, 2]], [[0, 4], [3, 2]])
        assert np.isnan(low).tolist() == np.isnan(high).tolist() == [[True, False], [False, False]]

    def test_it_broadcasts(self) -> None:
        low, high = wilson(np.arange(3), 2)
        assert low.shape == high.shape == (3,)
        assert (low <= np.arange(3) / 2).all()

    @pytest.mark.parametrize(
        ("successes", "n", "level", "message"),
        [
            (3, 2, 0.95, "0 <= successes <= n"),
            (-1, 2, 0.95, "0 <= successes <= n"),
            (1, 2, 1.0, "a level between 0 and 1, but got 1.0"),
        ],
    )
    def test_what_is_refused(self, successes: int, n: int, level: float, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            wilson(successes, n, level)


class TestTInterval:
    @given(
        st.lists(st.floats(-100, 100), min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-6),
        st.sampled_from([0.5, 0.9, 0.95, 0.99]),
    )
    @settings(deadline=None)
    def test_is_scipy_s(self, values: list[float], level: float) -> None:
        found = t_interval(values, level)
        low, high = stats.t.interval(
            level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
        )
        assert found.n == len(values)
        assert found.mean == pytest.approx(np.mean(values))
        assert found.sd == pytest.approx(np.std(values, ddof=1))
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)

    def test_by_hand(self) -> None:
        found = t_interval([1.0, 2.0, 3.0])
        assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
        half = 4.302652729911275 / math.sqrt(3)  # t(0.975, 2) of the printed tables is 4.303
        assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))

    def test_of_paired_differences_it_is_the_paired_test(self) -> None:
        one, other = np.array([0.91, 0.93, 0.95, 0.92]), np.array([0.90, 0.90, 0.94, 0.92])
        expected = stats.ttest_rel(one, other).confidence_interval(0.95)
        found = t_interval(one - other)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert not found.decides

    def test_of_one_value_only_the_mean_is_known(self) -> None:
        found = t_interval([0.5])
        assert (found.n, found.mean) == (1, 0.5)
        assert all(math.isnan(x) for x in (found.sd, found.low, found.high))
        assert not found.decides

    def test_of_equal_values_it_is_a_point(self) -> None:
        assert t_interval([0.25, 0.25, 0.25]) == Mean(3, 0.25, 0.0, 0.25, 0.25)

    def test_of_none_is_an_error(self) -> None:
        with pytest.raises(UsageError, match="expected at least one value, but got none"):
            t_interval([])

    @pytest.mark.parametrize(
        ("low", "high", "decides"),
        [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.1, False), (0.0, 0.2, False)],
    )
    def test_decides_if_it_excludes_zero(self, low: float, high: float, decides: bool) -> None:
        assert Mean(3, 0.0, 1.0, low, high).decides is decides
