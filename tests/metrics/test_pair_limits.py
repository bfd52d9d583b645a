"""Limits of all pairs of groups, sums of tables and their resamples, multi-class equalized odds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biascon.metrics import fairness, pair_limits
from biascon.metrics.intervals import resample
from biascon.metrics.margins import Margins, resample_margins
from biascon.metrics.multiclass import multiclass_equalized_odds, multiclass_limits
from biascon.metrics.p_values import adjust_p_values
from biascon.metrics.pair_limits import GroupLimits, critical_value
from biascon.metrics.permutation import permutation_test, permute_margins


class TestCriticalValue:
    @pytest.mark.parametrize("groups", [2, 3, 10])
    def test_it_is_the_quantile_of_the_studentized_range(self, groups: int) -> None:
        expected = stats.studentized_range.ppf(0.95, groups, np.inf) / np.sqrt(2)
        assert critical_value(groups, 0.95) == pytest.approx(expected, abs=1e-3)

    def test_two_sets_of_rates_have_the_level_of_sidak(self) -> None:
        expected = stats.norm.ppf((1 + np.sqrt(0.95)) / 2)
        assert critical_value(2, 0.95, 2) == pytest.approx(expected, abs=1e-3)


class TestGroupLimits:
    def draw(self, seed: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        n = rng.integers(3, 300, (2, groups)).astype(float)
        return rng.binomial(n.astype(int), rng.choice([0.05, 0.5, 0.95])).astype(float), n

    @pytest.mark.parametrize("seed", range(6))
    def test_many_groups_have_the_limits_of_all_pairs(
        self, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = GroupLimits.of(*self.draw(seed, 60), 3.4)
        few = [*limits.limit_difference(), *limits.limit_ratio(), *limits.find_pair()]
        monkeypatch.setattr(pair_limits, "MAX_PAIRED", 1000)
        every = [*limits.limit_difference(), *limits.limit_ratio(), *limits.find_pair()]
        np.testing.assert_array_equal(few, every)

    def test_they_are_the_extremes_over_pairs(self) -> None:
        hits, n = np.array([4.0, 30.0, 11.0]), np.array([20.0, 60.0, 12.0])
        limits = GroupLimits.of(hits, n, 2.3)
        differences, ratios = [], []
        for g, h in ((0, 1), (0, 2), (1, 2)):
            pair = GroupLimits.of(hits[[g, h]], n[[g, h]], 2.3)
            differences.append(pair.limit_difference())
            ratios.append(pair.limit_ratio())
        assert limits.limit_difference() == tuple(np.max(differences, axis=0))
        assert limits.limit_ratio() == tuple(np.min(ratios, axis=0))

    def test_ratio_of_large_groups_is_that_of_logarithms(self) -> None:
        limits = GroupLimits.of(np.array([2000.0, 3000.0]), np.array([10_000.0, 10_000.0]), 1.96)
        error = np.sqrt(0.8 / 2000 + 0.7 / 3000)
        expected = np.exp(np.log(2 / 3) + np.array([-1.96, 1.96]) * error)
        np.testing.assert_allclose(limits.limit_ratio(), expected, atol=2e-3)

    def test_limits_of_groups_of_one_row_are_wide(self) -> None:
        one_row = GroupLimits.of(np.array([1.0, 1.0]), np.array([1.0, 1.0]), 1.96)
        low, high = (float(x) for x in one_row.limit_difference())
        assert high - low >= 0.75


class TestMargins:
    TABLE = np.random.default_rng(0).integers(0, 9, (3, 4, 3))

    def test_resamples_have_the_sums_of_resampled_tables(self) -> None:
        tables = np.concatenate(list(resample(self.TABLE, np.random.default_rng(1), 700)))
        blocks = list(resample_margins(self.TABLE, np.random.default_rng(1), 700))
        expected = Margins.of(tables)
        for name in ("total", "hits", "selected"):
            found = np.concatenate([getattr(block, name) for block in blocks])
            np.testing.assert_array_equal(found, getattr(expected, name))

    def test_metrics_of_sums_are_those_of_tables(self) -> None:
        sums = Margins.of(self.TABLE)
        found = fairness.from_sums(sums.total, sums.hits, sums.selected)
        for name, value in fairness.from_counts(self.TABLE).items():
            np.testing.assert_array_equal(found[name], value)

    @pytest.mark.parametrize("within", ["labels", "rows"])
    def test_permuted_sums_have_the_distribution_of_permuted_tables(self, within: str) -> None:
        name = "demographic_parity_difference"

        def compute(tables: np.ndarray) -> dict[str, np.ndarray]:
            return {name: fairness.from_counts(tables)[name]}

        expected = permutation_test(
            self.TABLE, compute, np.random.default_rng(2), within=within, replicates=4000
        )[name]
        blocks = permute_margins(self.TABLE, within, np.random.default_rng(3), 4000)
        values = np.concatenate(
            [fairness.from_sums(b.total, b.hits, b.selected)[name] for b in blocks]
        )
        assert values.mean(axis=0) == pytest.approx(expected.expected, rel=0.03)
        p = (values >= expected.observed - 1e-12).mean(axis=0)
        assert p == pytest.approx(expected.p, abs=0.04)


class TestMulticlass:
    def test_a_predictor_that_depends_on_the_label_alone_has_a_difference_of_zero(self) -> None:
        """The false positive rates of one class against the rest differ: the mixes of labels differ."""
        confusion = np.array([[8, 1, 1], [4, 5, 1], [0, 2, 8]])
        mixes = np.array([[10, 30], [50, 10], [20, 40]])
        table = mixes[:, :, None] * confusion[:, None, :]
        assert float(multiclass_equalized_odds(table)) == pytest.approx(0)
        assert fairness.from_counts(table)["equalized_odds_difference"][0] > 0.1
        low, high = multiclass_limits(table)
        assert low == 0 and 0 < high < 0.5

    def test_it_is_the_largest_difference_of_all_rates(self) -> None:
        table = np.random.default_rng(3).integers(1, 30, (3, 4, 3))
        rate = table / table.sum(axis=-1, keepdims=True)
        expected = (rate.max(axis=1) - rate.min(axis=1)).max()
        assert float(multiclass_equalized_odds(table)) == pytest.approx(expected)
        low, high = multiclass_limits(table)
        assert low <= expected <= high

    def test_two_classes_have_the_equalized_odds_difference(self) -> None:
        table = np.random.default_rng(4).integers(1, 30, (2, 3, 2))
        expected = fairness.from_counts(table)["equalized_odds_difference"]
        assert np.full(2, multiclass_equalized_odds(table)) == pytest.approx(expected)

    def test_a_group_without_a_label_makes_it_undefined(self) -> None:
        table = np.random.default_rng(5).integers(1, 30, (3, 3, 3))
        table[1, 2] = 0
        assert np.isnan(multiclass_equalized_odds(table))
        assert np.isnan(multiclass_limits(table)).all()
        table[1] = 0  # the label of no row
        assert 0 < multiclass_equalized_odds(table) < 1
        table[:, 2] = 0  # a group without rows
        assert 0 < multiclass_equalized_odds(table) < 1
        assert np.isnan(multiclass_equalized_odds(table[:, :1]))


def test_adjusted_p_values_keep_their_names() -> None:
    found = adjust_p_values({"a": 0.04, "b": None, "c": 0.01})
    assert found == {"a": 0.04, "b": None, "c": 0.02}
