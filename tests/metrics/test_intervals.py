"""Intervals: comparison with a bootstrap of rows and with scipy, coverage, undefined values."""

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
from tests.metrics.count_tables import expand_rows

TABLE = np.array([[[40, 10], [12, 8]], [[5, 15], [9, 51]]])


def make_generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def compute_metrics(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Return two metrics of shape (), and one of shape (K,)."""
    return {
        "top1": accuracy.top1(tables),
        "unbiased": accuracy.unbiased(tables),
        "parity": fairness.from_counts(tables)["demographic_parity_difference"],
    }


class TestResample:
    @pytest.mark.parametrize("replicates", [1, 499, 500, 501, 1203])
    def test_every_replicate_has_as_many_rows_as_the_table(self, replicates: int) -> None:
        resamples = np.concatenate(list(resample(TABLE, make_generator(), replicates)))
        assert resamples.shape == (replicates, *TABLE.shape)
        assert (resamples.sum(axis=(1, 2, 3)) == TABLE.sum()).all()

    def test_an_empty_cell_stays_empty_in_resamples(self) -> None:
        table = TABLE.copy()
        table[0, 1] = 0
        resamples = np.concatenate(list(resample(table, make_generator(), 200)))
        assert not resamples[:, 0, 1].any()
        assert resamples[:, 1, 1].any()

    def test_means_and_variances_equal_those_of_the_multinomial(self) -> None:
        replicates, n = 20000, TABLE.sum()
        resamples = np.concatenate(list(resample(TABLE, make_generator(), replicates)))
        p = TABLE / n
        variance = n * p * (1 - p)
        error = np.sqrt(variance / replicates)
        assert (abs(resamples.mean(axis=0) - TABLE) < 5 * error).all()
        assert resamples.var(axis=0) == pytest.approx(variance, rel=5 * math.sqrt(2 / replicates))

    @pytest.mark.parametrize("min_rows", [0, 1, 6])
    def test_means_and_covariances_are_right_with_small_entries(self, min_rows: int) -> None:
        """Table entries with one to five rows are drawn by a separate path."""
        table = np.array([[[1, 2, 5], [6, 30, 3]], [[0, 1, 4], [7, 2, 1]]])
        table = np.where(table > 0, np.maximum(table, min_rows), 0)
        replicates, n = 40000, table.sum()
        resamples = np.concatenate(list(resample(table, make_generator(), replicates)))
        assert (resamples.sum(axis=(1, 2, 3)) == n).all()
        assert not resamples[:, 1, 0, 0].any()
        flat, p = resamples.reshape(replicates, -1), table.reshape(-1) / n
        expected = n * (np.diag(p) - np.outer(p, p))
        variance = np.diag(expected)
        assert (abs(flat.mean(axis=0) - n * p) <= 5 * np.sqrt(variance / replicates)).all()
        error = np.sqrt(np.outer(variance, variance) * 2 / replicates) + 0.02
        assert (abs(np.cov(flat.T) - expected) <= 5 * error).all()

    def test_a_small_entry_has_a_binomial_distribution(self) -> None:
        table = np.array([[[50, 2], [1, 40]]])
        resamples = np.concatenate(list(resample(table, make_generator(), 20000)))[:, 0, 0, 1]
        for k in range(6):
            p = stats.binom.pmf(k, 93, 2 / 93)
            assert abs((resamples == k).mean() - p) < 5 * math.sqrt(p / 20000)


class TestBootstrap:
    def test_limits_are_quantiles_of_a_bootstrap_of_rows(self) -> None:
        """The tolerance is five times the Monte Carlo error of both bootstraps."""
        label, prediction, bias = expand_rows(TABLE)
        n, table_replicates, row_replicates = len(label), 8000, 3000
        limits = bootstrap(TABLE, compute_metrics, make_generator(1), replicates=table_replicates)
        rng = make_generator(2)
        draws = [rng.integers(0, n, n) for _ in range(row_replicates)]
        tables = np.stack(
            [count(label[d], bias[d], prediction[d], n_labels=2, n_bias=2) for d in draws]
        )
        error = math.sqrt(0.025 * 0.975 * (1 / table_replicates + 1 / row_replicates))
        for name, values in compute_metrics(tables).items():
            low, high = limits[name]
            # The metrics are discrete: many replicates may be equal to a limit.
            for share_outside, share_outside_or_equal in (
                ((values < low).mean(axis=0), (values <= low).mean(axis=0)),
                ((values > high).mean(axis=0), (values >= high).mean(axis=0)),
            ):
                assert np.all(share_outside < 0.025 + 5 * error), name
                assert np.all(share_outside_or_equal > 0.025 - 5 * error), name

    def test_coverage_of_top1_is_close_to_its_level(self) -> None:
        """Simulate 400 test sets with 400 images each."""
        rng = make_generator(3)
        truth = TABLE / TABLE.sum()
        top1 = float(accuracy.top1(truth))
        trials = 400
        covered = 0
        for _ in range(trials):
            table = rng.multinomial(400, truth.reshape(-1)).reshape(TABLE.shape)
            limits = bootstrap(table, lambda t: {"top1": accuracy.top1(t)}, rng, replicates=500)
            low, high = limits["top1"]
            covered += bool(low <= top1 <= high)
        assert 0.92 <= covered / trials <= 0.98

    def test_width_follows_the_normal_quantiles_of_the_level(self) -> None:
        limits = {
            level: bootstrap(TABLE, compute_metrics, make_generator(), level=level)["top1"]
            for level in (0.5, 0.95)
        }
        assert limits[0.95][0] < limits[0.5][0] < accuracy.top1(TABLE)
        assert limits[0.95][1] > limits[0.5][1] > accuracy.top1(TABLE)
        # For a rate of 150 rows the width is nearly proportional to the normal quantile.
        width = {level: float(high - low) for level, (low, high) in limits.items()}
        ratio = stats.norm.ppf(0.975) / stats.norm.ppf(0.75)
        assert width[0.95] / width[0.5] == pytest.approx(ratio, rel=0.2)

    def test_limits_depend_on_the_seed_only(self) -> None:
        first, same_seed, other_seed = (
            bootstrap(TABLE, compute_metrics, make_generator(seed))["unbiased"]
            for seed in (0, 0, 1)
        )
        assert first == same_seed
        assert first != other_seed

    def test_metrics_per_class_keep_their_shape(self) -> None:
        low, high = bootstrap(TABLE, compute_metrics, make_generator(), replicates=50)["parity"]
        assert low.shape == high.shape == (2,)
        assert (low <= high).all()

    def test_limits_of_an_empty_table_are_nan(self) -> None:
        limits = bootstrap(np.zeros_like(TABLE), compute_metrics, make_generator())
        assert limits["top1"][0].shape == ()
        assert limits["parity"][0].shape == (2,)
        for low, high in limits.values():
            assert np.isnan(low).all()
            assert np.isnan(high).all()

    def test_limits_of_a_metric_that_is_often_undefined_are_nan(self) -> None:
        aligned = np.eye(2, dtype=bool)

        def compute_conflicting(tables: np.ndarray) -> dict[str, np.ndarray]:
            return {"conflicting": accuracy.bias_conflicting(tables, aligned)}

        table = np.zeros((2, 2, 2), dtype=int)
        table[0, 0, 0], table[1, 1, 1] = 50, 50
        table[0, 1] = [1, 0]  # this row is missing in 36 % of the resamples
        low, high = bootstrap(table, compute_conflicting, make_generator())["conflicting"]
        assert math.isnan(low)
        assert math.isnan(high)
        table[0, 1] = [3, 3]  # all six rows are missing in 0.2 %
        low, high = bootstrap(table, compute_conflicting, make_generator())["conflicting"]
        assert 0 <= low < 0.5 < high <= 1

    def test_interval_of_perfect_predictions_has_no_width(self) -> None:
        table = np.zeros((2, 2, 2), dtype=int)
        table[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1]] = 25
        assert bootstrap(table, compute_metrics, make_generator())["top1"] == (1.0, 1.0)


class TestWilson:
    @given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
    @settings(deadline=None)
    def test_interval_equals_that_of_scipy(self, n: int, share: float, level: float) -> None:
        successes = round(share * n)
        low, high = wilson(successes, n, level)
        expected = stats.binomtest(successes, n).proportion_ci(level, "wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)

    def test_interval_equals_published_values(self) -> None:
        """Source: Newcombe, Statistics in Medicine 17, 1998, table I, method 3."""
        low, high = wilson([81, 15, 0, 1], [263, 148, 20, 29])
        assert np.round(low, 4).tolist() == [0.2553, 0.0624, 0.0, 0.0061]
        assert np.round(high, 4).tolist() == [0.3662, 0.1605, 0.1611, 0.1718]

    def test_limits_of_zero_and_one_are_exact(self) -> None:
        low, high = wilson([0, 7], [7, 7])
        assert low[0] == 0.0
        assert high[1] == 1.0
        assert high[0] == pytest.approx(1 - low[1])

    def test_limits_without_rows_are_nan(self) -> None:
        low, high = wilson([[0, 1], [0, 2]], [[0, 4], [3, 2]])
        assert np.isnan(low).tolist() == np.isnan(high).tolist() == [[True, False], [False, False]]

    def test_successes_and_rows_are_broadcast(self) -> None:
        low, high = wilson(np.arange(3), 2)
        assert low.shape == high.shape == (3,)
        assert (low <= np.arange(3) / 2).all()

    @pytest.mark.parametrize(
        ("successes", "n", "level", "message"),
        [
            (3, 2, 0.95, "0 <= successes <= n, but got 3 successes and n = 2"),
            (-1, 2, 0.95, "0 <= successes <= n, but got -1 successes and n = 2"),
            (1, 2, 1.0, "a level between 0 and 1, but got 1.0"),
        ],
    )
    def test_invalid_counts_and_levels_are_an_error(
        self, successes: int, n: int, level: float, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            wilson(successes, n, level)


class TestTInterval:
    @given(
        st.lists(st.floats(-100, 100), min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-6),
        st.sampled_from([0.5, 0.9, 0.95, 0.99]),
    )
    @settings(deadline=None)
    def test_interval_equals_that_of_scipy(self, values: list[float], level: float) -> None:
        interval = t_interval(values, level)
        low, high = stats.t.interval(
            level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
        )
        assert interval.n == len(values)
        assert interval.mean == pytest.approx(np.mean(values))
        assert interval.sd == pytest.approx(np.std(values, ddof=1))
        assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)

    def test_interval_equals_a_hand_worked_example(self) -> None:
        interval = t_interval([1.0, 2.0, 3.0])
        assert (interval.n, interval.mean, interval.sd) == (3, 2.0, 1.0)
        half_width = 4.302652729911275 / math.sqrt(3)  # t(0.975, 2) is 4.303 in printed tables
        assert (interval.low, interval.high) == pytest.approx((2 - half_width, 2 + half_width))

    def test_interval_of_differences_equals_the_paired_test_of_scipy(self) -> None:
        first, second = np.array([0.91, 0.93, 0.95, 0.92]), np.array([0.90, 0.90, 0.94, 0.92])
        expected = stats.ttest_rel(first, second).confidence_interval(0.95)
        interval = t_interval(first - second)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
        assert not interval.decides

    def test_one_value_has_a_mean_but_no_interval(self) -> None:
        interval = t_interval([0.5])
        assert (interval.n, interval.mean) == (1, 0.5)
        assert all(math.isnan(x) for x in (interval.sd, interval.low, interval.high))
        assert not interval.decides

    def test_interval_of_equal_values_has_no_width(self) -> None:
        assert t_interval([0.25, 0.25, 0.25]) == Mean(3, 0.25, 0.0, 0.25, 0.25)

    def test_no_value_is_an_error(self) -> None:
        with pytest.raises(UsageError, match="expected at least one value, but got none"):
            t_interval([])

    @pytest.mark.parametrize(
        ("low", "high", "decides"),
        [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.1, False), (0.0, 0.2, False)],
    )
    def test_decides_is_true_if_the_interval_excludes_zero(
        self, low: float, high: float, decides: bool
    ) -> None:
        assert Mean(3, 0.0, 1.0, low, high).decides is decides
