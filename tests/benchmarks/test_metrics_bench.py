"""Time of the intervals and tests of count metrics, compared with the bootstrap of fairlearn.

Run ``make bench`` on an otherwise idle machine.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from pytest_benchmark.fixture import BenchmarkFixture

from biascon.metrics import fairness
from biascon.metrics.calibration import sum_scores
from biascon.metrics.intervals import bootstrap
from biascon.metrics.joint_counts import count_jointly
from biascon.metrics.paired_tests import (
    paired_bootstrap,
)
from biascon.metrics.permutation import permutation_test
from biascon.metrics.representation import similarities, uniformity

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.metrics.count_tables import compute_all_metrics, draw_table, expand_rows

# Target for all count metrics with 2,000 replicates, 20,000 rows and 100 cells.
MAX_SECONDS = 0.1


@pytest.mark.parametrize(("n_labels", "n_bias"), [(10, 10), (5, 4), (2, 2)])
def test_bootstrap_meets_its_target_time(
    benchmark: BenchmarkFixture, n_labels: int, n_bias: int
) -> None:
    table = draw_table(n_labels, n_bias)
    aligned, training = np.eye(n_labels, n_bias, dtype=bool), table.sum(axis=-1)
    rng = np.random.default_rng(0)
    benchmark(bootstrap, table, lambda t: compute_all_metrics(t, aligned, training), rng)
    if benchmark.stats is not None and benchmark.stats["min"] >= MAX_SECONDS:
        if os.getloadavg()[0] > 1.2:
            pytest.skip(
                f"the target is for an idle machine, but the load is {os.getloadavg()[0]:.1f}"
            )
        pytest.fail(f"expected less than {MAX_SECONDS} s, but got {benchmark.stats['min']:.3f} s")


@pytest.mark.parametrize("within", ["labels", "rows"])
def test_time_of_the_permutation_test(benchmark: BenchmarkFixture, within: str) -> None:
    rng = np.random.default_rng(0)
    benchmark(permutation_test, draw_table(10, 10), fairness.from_counts, rng, within=within)


def test_time_of_the_paired_bootstrap(benchmark: BenchmarkFixture) -> None:
    table = draw_table(10, 10)
    label, a, bias = expand_rows(table)
    rng = np.random.default_rng(0)
    b = np.where(rng.random(len(a)) < 0.03, rng.integers(0, 10, len(a)), a)
    counts = count_jointly(label, bias, a, b, n_labels=10, n_bias=10)
    aligned, training = np.eye(10, dtype=bool), table.sum(axis=-1)
    benchmark(paired_bootstrap, counts, lambda t: compute_all_metrics(t, aligned, training), rng)


def test_replicate_is_faster_than_in_metric_frame(benchmark: BenchmarkFixture) -> None:
    """Compare one replicate of fairlearn's ``n_boot`` with one of ours, for three rates of one class."""
    table = draw_table(10, 10)
    label, prediction, bias = expand_rows(table)
    rates = {
        "selection": selection_rate,
        "true_positive": true_positive_rate,
        "false_positive": false_positive_rate,
    }

    def time_metric_frame(n_boot: int | None) -> float:
        started = time.perf_counter()
        MetricFrame(
            metrics=rates,
            y_true=label == 0,
            y_pred=prediction == 0,
            sensitive_features=bias,
            n_boot=n_boot,
            ci_quantiles=None if n_boot is None else [0.025, 0.975],
            random_state=None if n_boot is None else 0,
        )
        return time.perf_counter() - started

    without_bootstrap = time_metric_frame(None)
    fairlearn_seconds = (time_metric_frame(10) - without_bootstrap) / 10
    rng = np.random.default_rng(0)
    benchmark(bootstrap, table, fairness.from_counts, rng)
    if benchmark.stats is not None:
        # The bootstrap computes 2,000 replicates of ten classes.
        seconds = statistics.median(benchmark.stats.stats.data) / 2000 / 10
        benchmark.extra_info["times"] = fairlearn_seconds / seconds
        print(f"\none replicate: fairlearn {fairlearn_seconds:.4f} s, here {seconds * 1e6:.1f} us")
        assert fairlearn_seconds > 1000 * seconds


def test_time_of_calibration_sums_of_a_million_rows(benchmark: BenchmarkFixture) -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((1_000_000, 2))
    scores /= scores.sum(axis=1, keepdims=True)
    labels = rng.integers(0, 2, 1_000_000)
    benchmark.pedantic(sum_scores, (labels, labels, scores), {"n_bias": 2}, rounds=3)


@pytest.mark.parametrize("n", [2_000, 10_000])
def test_time_of_similarities_and_uniformity(benchmark: BenchmarkFixture, n: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 128)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels, bias = rng.integers(0, 10, n), rng.integers(0, 10, n)

    def compute_metrics() -> None:
        similarities(x, labels, bias)
        uniformity(x)

    benchmark.pedantic(compute_metrics, rounds=3)
