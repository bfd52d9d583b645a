"""Intervals of rates, of means of rates, of paired differences, and of weighted rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biascon.errors import UsageError
from biascon.metrics.intervals import bootstrap, wilson
from biascon.metrics.joint_counts import count_jointly
from biascon.metrics.paired_difference import mean_paired_difference, paired_accuracy_difference
from biascon.metrics.rate_intervals import (
    effective_rows,
    effective_rows_of_rates,
    jeffreys,
    mean_of_rates,
    weighted_rates,
)
from biascon.metrics.summary import accuracy_metrics


class TestJeffreys:
    def test_limits_are_beta_quantiles(self) -> None:
        k, n = np.array([1, 5, 40]), np.array([10, 8, 90])
        low, high = jeffreys(k, n, 0.9)
        assert low == pytest.approx(stats.beta.ppf(0.05, k + 0.5, n - k + 0.5))
        assert high == pytest.approx(stats.beta.ppf(0.95, k + 0.5, n - k + 0.5))

    def test_limits_of_zero_and_one_are_exact(self) -> None:
        low, high = jeffreys([0, 7, 0], [7, 7, 0])
        assert low[0] == 0 and high[1] == 1
        assert high[0] == pytest.approx(1 - low[1])
        assert np.isnan(low[2]) and np.isnan(high[2])

    def test_numbers_of_rows_may_be_fractions(self) -> None:
        low, high = jeffreys(2.5, 7.25)
        assert 0 < low < 2.5 / 7.25 < high < 1
        with pytest.raises(UsageError, match="0 <= successes <= n"):
            jeffreys(8, 7)


class TestMeanOfRates:
    def test_cells_without_rows_do_not_count(self) -> None:
        assert np.isnan(mean_of_rates([0, 0], [0, 0])).all()
        np.testing.assert_allclose(mean_of_rates([5, 0], [10, 0]), mean_of_rates([5], [10]))

    def test_limits_are_symmetric_in_hits_and_misses(self) -> None:
        hits, n = np.array([3, 9, 20]), np.array([10, 9, 40])
        low, high = mean_of_rates(hits, n)
        np.testing.assert_allclose(mean_of_rates(n - hits, n), (1 - high, 1 - low))

    def test_large_cells_have_the_normal_interval(self) -> None:
        low, high = mean_of_rates([30_000, 50_000], [100_000, 100_000])
        radius = 1.96 * np.sqrt(0.3 * 0.7 + 0.25) / np.sqrt(100_000) / 2
        np.testing.assert_allclose((low, high), (0.4 - radius, 0.4 + radius), atol=2e-5)

    @pytest.mark.parametrize(
        ("rows", "rate"),
        [
            ([490, 10], 0.99),
            ([10] * 100, 0.99),
            ([5] * 4, 0.5),
            ([20, 50, 100, 30, 200], 0.995),
            ([900] * 10 + [10] * 90, 0.9),
        ],
    )
    def test_coverage_is_at_least_the_level(self, rows: list[int], rate: float) -> None:
        n = np.array(rows)
        low, high = mean_of_rates(np.random.default_rng(0).binomial(n, rate, (2000, len(n))), n)
        assert ((low <= rate) & (rate <= high)).mean() >= 0.94

    def test_the_bootstrap_fails_in_small_cells(self) -> None:
        """The reason for ``mean_of_rates``: the bootstrap holds the truth in 57 % of the tables."""
        rng, held = np.random.default_rng(0), 0
        for hits in rng.binomial([490, 10], 0.99, (100, 2)):
            table = np.zeros((2, 2, 2), np.int64)
            table[0, :, 0], table[0, :, 1] = hits, [490, 10] - hits
            limits = bootstrap(table, lambda t: accuracy_metrics(t, None), rng, replicates=200)
            held += limits["unbiased"][0] <= 0.99 <= limits["unbiased"][1]
        assert held < 75


class TestPairedDifference:
    def test_one_large_cell_has_the_normal_interval(self) -> None:
        found = mean_paired_difference([3000], [2000], [100_000])
        radius = 1.96 * np.sqrt((0.05 - 0.01**2) / 100_000)
        assert found.value == pytest.approx(0.01)
        np.testing.assert_allclose(
            (found.low, found.high), (0.01 - radius, 0.01 + radius), atol=3e-5
        )

    def test_exchanging_the_classifiers_changes_the_sign(self) -> None:
        x, y, n = [3, 0, 5], [1, 2, 0], [10, 4, 9]
        found, other = mean_paired_difference(x, y, n), mean_paired_difference(y, x, n)
        np.testing.assert_allclose((found.low, found.high), (-other.high, -other.low))

    @pytest.mark.parametrize(
        ("rows", "a", "b"), [([10] * 4, 0.1, 0.1), ([10] * 100, 0.05, 0.05), ([4] * 25, 0.3, 0.1)]
    )
    def test_coverage_is_at_least_the_level(self, rows: list[int], a: float, b: float) -> None:
        draws = np.random.default_rng(0).multinomial(rows, [a, b, 1 - a - b], (2000, len(rows)))
        found = mean_paired_difference(draws[..., 0], draws[..., 1], rows)
        assert ((found.low <= a - b) & (a - b <= found.high)).mean() >= 0.935

    def test_joint_counts_are_added_up_by_cell(self) -> None:
        rng = np.random.default_rng(1)
        labels, bias = rng.integers(0, 3, 400), rng.integers(0, 2, 400)
        a, b = (np.where(rng.random(400) < 0.7, labels, rng.integers(0, 3, 400)) for _ in "ab")
        counts = count_jointly(labels, bias, a, b, n_labels=3, n_bias=2)
        cells = [(labels == k) & (bias == m) for k in range(3) for m in range(2)]
        only_a = [((a == labels) & (b != labels))[cell].sum() for cell in cells]
        only_b = [((b == labels) & (a != labels))[cell].sum() for cell in cells]
        expected = mean_paired_difference(only_a, only_b, [cell.sum() for cell in cells])
        assert paired_accuracy_difference(counts) == expected
        chosen = np.array([[True, False], [False, True], [False, False]])
        expected = mean_paired_difference(
            np.array(only_a)[[0, 3]], np.array(only_b)[[0, 3]], [cells[0].sum(), cells[3].sum()]
        )
        assert paired_accuracy_difference(counts, chosen) == expected
        over_rows = paired_accuracy_difference(counts, over_rows=True)
        assert over_rows.value == pytest.approx((a == labels).mean() - (b == labels).mean())
        nothing = paired_accuracy_difference(counts, np.zeros((3, 2), dtype=bool))
        assert np.isnan([nothing.value, nothing.low, nothing.high]).all()

    def test_more_discordant_rows_than_rows_are_an_error(self) -> None:
        with pytest.raises(UsageError, match="only_a \\+ only_b <= n"):
            mean_paired_difference([3], [3], [5])


class TestWeights:
    def test_equal_weights_have_the_interval_of_wilson(self) -> None:
        rate, low, high = weighted_rates(3 * 2.0, 10 * 2.0, 10 * 4.0)
        np.testing.assert_allclose((rate, low, high), (0.3, *wilson(3, 10)))

    def test_unequal_weights_widen_the_interval(self) -> None:
        assert effective_rows(10.0, 40.0) == pytest.approx(2.5)
        _, low, high = weighted_rates(3.0, 10.0, 40.0)
        np.testing.assert_allclose((low, high), wilson(0.75, 2.5))

    def test_weights_tied_to_the_outcome_widen_the_interval(self) -> None:
        """A hit of weight 3 and eight misses of weight 1: v = (9 (1 - r)^2 + 8 r^2) / 11^2."""
        r = 3 / 11
        n = effective_rows_of_rates(r, 11.0, 17.0, 9.0)
        assert n == pytest.approx(r * (1 - r) * 121 / (9 * (1 - r) ** 2 + 8 * r**2))
        assert n < 0.7 * effective_rows(11.0, 17.0)
        np.testing.assert_allclose(weighted_rates(3.0, 11.0, 17.0, 9.0)[1:], wilson(r * n, n))

    def test_the_effective_rows_are_at_most_those_of_kish(self) -> None:
        """Two light hits and a heavy miss, all right, all wrong, equal weights, no rows."""
        rates = np.array([0.4, 1.0, 1e-17, 0.3, np.nan])
        n = effective_rows_of_rates(rates, [5, 4, 4, 5, 0], [11, 6, 6, 2.5, 0], [2, 6, 0, 0.75, 0])
        np.testing.assert_allclose(n, [25 / 11, 16 / 6, 16 / 6, 10, np.nan])

    def test_no_rows_have_no_rate(self) -> None:
        assert np.isnan(weighted_rates(0.0, 0.0, 0.0)).all()

    @pytest.mark.parametrize("sums", [(-1.0, 2.0, 2.0), (3.0, 2.0, 2.0), (np.nan, 2.0, 2.0)])
    def test_invalid_sums_are_an_error(self, sums: tuple[float, float, float]) -> None:
        with pytest.raises(UsageError, match="expected"):
            weighted_rates(*sums)
