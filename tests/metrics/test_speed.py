"""Loose time limits that only a wrong algorithm exceeds; tests/benchmarks measures the speed."""

from __future__ import annotations

import time

import fairlearn.metrics
import numpy as np
import pytest

from biascon.metrics import fairness
from biascon.metrics.counts import count
from biascon.metrics.intervals import bootstrap
from biascon.metrics.permutation import permutation_test
from tests.metrics.count_tables import compute_all_metrics, draw_table, expand_rows


@pytest.mark.parametrize(("n_labels", "n_bias"), [(10, 10), (5, 4)])
def test_two_thousand_bootstrap_replicates_of_all_metrics_take_seconds(
    n_labels: int, n_bias: int
) -> None:
    """Measured: about 0.1 s with 100 cells of (label, bias), and with 100 table entries."""
    table = draw_table(n_labels, n_bias)
    aligned, training = np.eye(n_labels, n_bias, dtype=bool), table.sum(axis=-1)
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    limits = bootstrap(table, lambda t: compute_all_metrics(t, aligned, training), rng)
    assert time.perf_counter() - started < 3
    assert len(limits) == 7 + 2 * 7 + 3 + 1
    for name in ("top1", "unbiased", "worst_group", "bias_amplification"):
        assert limits[name][0] < limits[name][1], name


def test_two_thousand_permutations_take_seconds() -> None:
    started = time.perf_counter()
    for within in ("labels", "rows"):
        permutation_test(
            draw_table(10, 10), fairness.from_counts, np.random.default_rng(0), within=within
        )
    assert time.perf_counter() - started < 10  # measured: 0.3


@pytest.mark.slow
def test_ten_million_rows_are_counted_in_seconds() -> None:
    rng = np.random.default_rng(0)
    batch = 1_000_000
    labels, predictions = rng.integers(0, 10, batch), rng.integers(0, 10, batch)
    bias = rng.integers(0, 20, batch)
    total = np.zeros((10, 20, 10), np.int64)
    started = time.perf_counter()
    for _ in range(10):
        total += count(labels, bias, predictions, n_labels=10, n_bias=20)
    assert time.perf_counter() - started < 10  # measured: 0.3
    assert total.sum() == 10 * batch


@pytest.mark.slow
def test_bootstrap_limits_equal_those_of_fairlearn() -> None:
    table = np.array([[[150, 50], [60, 40]], [[25, 75], [45, 155]]])
    labels, predictions, bias = expand_rows(table)
    frame = fairlearn.metrics.MetricFrame(
        metrics={"selection": fairlearn.metrics.selection_rate},
        y_true=labels,
        y_pred=predictions,
        sensitive_features=bias,
        n_boot=1000,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    )
    fairlearn_limits = [float(limits["selection"]) for limits in frame.difference_ci()]
    limits = bootstrap(table, fairness.from_counts, np.random.default_rng(0), replicates=20000)
    low, high = (
        float(fairness.select_positive_class(limit))
        for limit in limits["demographic_parity_difference"]
    )
    assert fairlearn_limits == pytest.approx([low, high], abs=0.08 * (high - low))
