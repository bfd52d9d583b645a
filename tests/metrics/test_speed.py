"""Loose bounds that only a wrong algorithm exceeds; tests/benchmarks/ measures."""

from __future__ import annotations

import time

import fairlearn.metrics
import numpy as np
import pytest

from biascon.metrics import fairness, parity
from biascon.metrics.counts import Counts
from biascon.metrics.intervals import bootstrap
from biascon.metrics.permutation import permutation_test
from tests.metrics.everything import all_metrics, made


@pytest.mark.parametrize(("n_labels", "n_bias"), [(10, 10), (5, 4)])
def test_two_thousand_replicates_of_all_metrics(n_labels: int, n_bias: int) -> None:
    """100 groups of (label, bias), and 100 cells of (label, bias, prediction): about 0.1 s."""
    table = made(n_labels, n_bias)
    aligned, training = np.eye(n_labels, n_bias, dtype=bool), table.sum(axis=-1)
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    limits = bootstrap(table, lambda t: all_metrics(t, aligned, training), rng)
    assert time.perf_counter() - started < 3
    assert len(limits) == 7 + 2 * 7 + 3 + 1
    for name in ("top1", "unbiased", "worst_group", "bias_amplification"):
        assert limits[name][0] < limits[name][1], name


def test_two_thousand_permutations() -> None:
    started = time.perf_counter()
    for within in ("labels", "rows"):
        permutation_test(
            made(10, 10), fairness.from_counts, np.random.default_rng(0), within=within
        )
    assert time.perf_counter() - started < 10  # measured: 0.3


@pytest.mark.slow
def test_ten_million_rows_are_counted_in_seconds() -> None:
    rng = np.random.default_rng(0)
    total = Counts.empty([str(i) for i in range(10)], {"colour": "0123456789", "side": "lr"})
    batch = 1_000_000
    labels, colour = rng.integers(0, 10, batch), rng.integers(0, 10, batch)
    side, predictions = rng.integers(0, 2, batch), rng.integers(0, 10, batch)
    started = time.perf_counter()
    for _ in range(10):
        total = total.add(labels, {"colour": colour, "side": side}, predictions)
    assert time.perf_counter() - started < 10  # measured: 0.3
    assert total.rows == 10 * batch


@pytest.mark.slow
def test_the_limits_are_those_of_fairlearn_s_own_bootstrap() -> None:
    table = np.array([[[150, 50], [60, 40]], [[25, 75], [45, 155]]])
    label, bias, prediction = np.repeat(np.argwhere(table >= 0), table.reshape(-1), axis=0).T
    frame = fairlearn.metrics.MetricFrame(
        metrics={"selection": fairlearn.metrics.selection_rate},
        y_true=label,
        y_pred=prediction,
        sensitive_features=bias,
        n_boot=1000,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    )
    theirs = [float(limits["selection"]) for limits in frame.difference_ci()]
    found = bootstrap(table, fairness.from_counts, np.random.default_rng(0), replicates=20000)
    ours = [float(parity.binary(side)) for side in found["demographic_parity_difference"]]
    width = ours[1] - ours[0]
    assert theirs == pytest.approx(ours, abs=0.08 * width)
