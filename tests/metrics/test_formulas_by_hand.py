"""Formulas against loops over plain numbers: an interval or a p-value would hide a wrong sign or factor."""

from __future__ import annotations

import numpy as np
import pytest

from biascon.metrics.detectable import detectable_difference
from biascon.metrics.joint_counts import count_jointly
from biascon.metrics.multiclass import multiclass_limits
from biascon.metrics.names import METRIC_NAMES, metric_name
from biascon.metrics.pair_limits import GroupLimits, critical_value
from biascon.metrics.paired_metrics import exchange_test
from biascon.metrics.rate_intervals import mean_variance, shrink
from biascon.metrics.summary import measure_counts

K = np.array([[3.0, 9.0, 0.0], [1.0, 4.0, 7.0]])
ROWS = np.array([[10.0, 9.0, 4.0], [1.0, 8.0, 30.0]])


def test_shrunk_rates_use_the_pooled_rate_of_their_own_row() -> None:
    for k, rows, shrunk in zip(K, ROWS, shrink(K, ROWS), strict=True):
        pooled = (sum(k) + 0.5) / (sum(rows) + 1)
        assert shrunk == pytest.approx(
            [(a + pooled) / (n + 1) for a, n in zip(k, rows, strict=True)]
        )


def test_the_variance_of_a_mean_is_the_larger_of_two_estimates() -> None:
    weight = np.array([[0.02, 0.05, 0.1], [0.3, 0.04, 0.01]])
    for r, variance in enumerate(mean_variance(K, ROWS, weight)):
        unbiased = pooled = 0.0
        for k, n, w, s in zip(K[r], ROWS[r], weight[r], shrink(K, ROWS)[r], strict=True):
            rate = k / n
            unbiased += (w * n) ** 2 * rate * (1 - rate) / max(n - 1, 1)
            pooled += (w * n) ** 2 * s * (1 - s) / n / (1 - n / (n + 1) ** 2)
        assert variance == pytest.approx(max(unbiased, pooled))
    # With a group of two rows both estimates matter: n - 1 is 1 there.
    of_two = float(mean_variance(np.array([1.0]), np.array([2.0]), np.array([0.5])))
    assert of_two == pytest.approx(max(0.25, 0.25 / 2 / (1 - 2 / 9)))


def test_limits_of_several_classes_count_every_set_of_rates() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(5, 60, (3, 2, 3))  # 3 labels x 2 groups x 3 predictions: 6 sets of rates
    hits = np.swapaxes(table, -1, -2).astype(float)
    n = np.broadcast_to(table.sum(axis=-1)[:, None].astype(float), hits.shape)
    low, high = GroupLimits.of(hits, n, critical_value(2, 0.95, 3 * 2)).limit_difference()
    assert [float(x) for x in multiclass_limits(table)] == pytest.approx([low.max(), high.max()])


def test_an_exchange_test_states_its_number_of_exchanges() -> None:
    labels, bias = np.array([0, 0, 1, 1] * 5), np.array([0, 1] * 10)
    other = 1 - labels
    other[:5] = labels[:5]
    counts = count_jointly(labels, bias, labels, other, n_labels=2, n_bias=2)
    result = exchange_test(
        counts,
        lambda tables: {"top1": np.einsum("...kmk->...", tables) / 20},
        np.random.default_rng(0),
        replicates=199,
    )["top1"]
    assert result.replicates == 199
    assert result.p == pytest.approx(round(result.p * 200) / 200)


def test_a_group_of_one_row_has_a_detectable_difference() -> None:
    rates = {"selection": (np.array([1.0, 40.0]), np.array([1.0, 90.0]))}
    found = detectable_difference(rates, "demographic_parity_difference")
    assert found is not None
    assert found.n == (1, 90)
    stated = found.to_json(["a", "b"])
    assert set(stated) == {
        "value", "rate", "groups", "n", "pooled_rate", "power", "level", "tests",
    }  # fmt: skip
    assert stated["tests"] == 1
    empty = {"selection": (np.array([0.0, 40.0]), np.array([0.0, 90.0]))}
    assert detectable_difference(empty, "demographic_parity_difference") is None


def test_display_names_of_ratios_and_of_joint_metrics() -> None:
    ratio = METRIC_NAMES["equalized_odds_ratio"]
    assert (ratio.name, ratio.is_ratio) == ("equalized odds ratio", True)
    assert ratio.short.endswith(" ratio") and ratio.short != ratio.name
    assert metric_name("joint:background").name == "accuracy where only background conflicts"


def test_a_permutation_test_states_its_number_of_permutations() -> None:
    table = np.random.default_rng(1).integers(5, 30, (2, 2, 2))
    tests = measure_counts(table, ["no", "yes"], None, seed=0).disparity
    assert tests
    for result in tests.values():
        assert result.replicates > 0
        assert result.p is not None
        assert result.p * (result.replicates + 1) == pytest.approx(
            round(result.p * (result.replicates + 1))
        )
