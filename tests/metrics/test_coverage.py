"""Simulations: the coverage of the intervals is close to their nominal level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from biascon.metrics import accuracy, fairness
from biascon.metrics.intervals import bootstrap, wilson
from biascon.metrics.joint_counts import count_jointly
from biascon.metrics.paired_tests import (
    paired_bootstrap,
)
from biascon.metrics.simultaneous_intervals import comparison_limits
from biascon.metrics.summary import accuracy_metrics
from biascon.metrics.summary_intervals import limit_rates
from biascon.utils.seeds import numpy_generator
from tests.benchmarks.coverage.designs import DESIGNS, Design

# The accuracy of each cell (label, bias), far from 0 and 1, and the share of rows in each cell.
ACCURACY = np.array([[0.80, 0.60], [0.65, 0.85]])
CELLS = np.array([[0.30, 0.15], [0.20, 0.35]])
TRUTH = np.stack([CELLS * ACCURACY, CELLS * (1 - ACCURACY)], axis=-1)
TRUTH[1] = TRUTH[1, :, ::-1]
ROWS = 5000
TABLES = 500
ALIGNED = np.eye(2, dtype=bool)


def compute_smooth_metrics(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Return metrics that are smooth near the true table: their minimum and maximum group is clear."""
    per_class = {**fairness.from_counts(tables), **fairness.parity_from_counts(tables)}
    return {
        "top1": accuracy.top1(tables),
        "unbiased": accuracy.unbiased(tables),
        "bias_aligned": accuracy.bias_aligned(tables, ALIGNED),
        "bias_conflicting": accuracy.bias_conflicting(tables, ALIGNED),
        **{
            name: fairness.select_positive_class(value)
            for name, value in per_class.items()
            if "odds" not in name
        },
    }


def measure_coverage(
    tables: int, compute_intervals: Callable[[np.ndarray, np.random.Generator], dict[str, tuple]]
) -> dict[str, float]:
    """Return the share of simulated tables whose interval contains the true value, by metric."""
    rng = numpy_generator(0, "coverage")
    truth = {name: float(value) for name, value in compute_smooth_metrics(TRUTH).items()}
    covered = dict.fromkeys(truth, 0)
    for table in rng.multinomial(ROWS, TRUTH.reshape(-1), tables).reshape(-1, *TRUTH.shape):
        limits = compute_intervals(table, rng)
        for name, value in truth.items():
            low, high = limits[name]
            covered[name] += bool(low <= value <= high)
    return {name: n_covered / tables for name, n_covered in covered.items()}


def test_bootstrap_coverage_is_close_to_its_level() -> None:
    coverage = measure_coverage(
        TABLES, lambda table, rng: bootstrap(table, compute_smooth_metrics, rng, replicates=1000)
    )
    assert len(coverage) == 9
    for name, share in coverage.items():
        assert 0.93 <= share <= 0.97, name


@pytest.mark.slow
def test_bootstrap_coverage_is_within_one_percent_over_many_tables() -> None:
    coverage = measure_coverage(
        5000, lambda table, rng: bootstrap(table, compute_smooth_metrics, rng)
    )
    for name, share in coverage.items():
        assert 0.94 <= share <= 0.96, name


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.8, 0.95])
def test_wilson_coverage_is_close_to_its_level(rate: float) -> None:
    rng = numpy_generator(0, f"wilson/{rate}")
    low, high = wilson(rng.binomial(400, rate, TABLES), 400)
    assert 0.93 <= ((low <= rate) & (rate <= high)).mean() <= 0.97


@pytest.mark.parametrize("n", [10, 50, 400])
def test_wilson_exact_coverage_is_close_to_its_level(n: int) -> None:
    """Exact coverage: the sum of the binomial probabilities whose interval contains the rate."""
    rates = np.linspace(0.05, 0.95, 181)[:, None]
    low, high = wilson(np.arange(n + 1), n)
    is_covered = (low <= rates) & (rates <= high)
    exact = np.where(is_covered, stats.binom.pmf(np.arange(n + 1), n, rates), 0.0).sum(axis=1)
    assert exact.mean() == pytest.approx(0.95, abs=0.005)
    assert exact.min() > 0.83


def measure_paired_coverage(tables: int, replicates: int) -> float:
    """Return the coverage for the difference of two classifiers with partly the same errors."""
    rng = numpy_generator(0, "paired coverage")
    # With 1000 rows the true difference would be a possible value of the estimate: a discrete effect.
    covered, n = 0, 1001
    for _ in range(tables):
        labels, bias = rng.integers(0, 2, n), rng.integers(0, 2, n)
        hard = rng.random(n) < 0.3
        a = np.where(hard & (rng.random(n) < 0.8), 1 - labels, labels)  # accuracy 0.76
        b = np.where(hard | (rng.random(n) < 0.1), 1 - labels, labels)  # accuracy 0.63
        counts = count_jointly(labels, bias, a, b, n_labels=2, n_bias=2)
        difference = paired_bootstrap(
            counts, lambda t: {"top1": accuracy.top1(t)}, rng, replicates=replicates
        )["top1"]
        covered += bool(difference.low <= 0.76 - 0.63 <= difference.high)
    return covered / tables


def test_paired_bootstrap_coverage_is_close_to_its_level() -> None:
    assert 0.93 <= measure_paired_coverage(TABLES, 400) <= 0.97


@pytest.mark.slow
def test_paired_bootstrap_coverage_is_within_one_percent_over_many_tables() -> None:
    assert 0.94 <= measure_paired_coverage(5000, 2000) <= 0.96


# Designs of docs/coverage.md in which the intervals of the first version failed.
FAILED = (
    "two classes, cells of 490 and 10, 99 % right",
    "ten unequal groups, 400 to 8 rows a cell",
    "groups of nearly one label",
    "10 rows a cell, 99 % right",
)


@pytest.mark.parametrize("design", [d for d in DESIGNS if d.name in FAILED], ids=lambda d: d.name)
def test_coverage_in_designs_of_the_study(design: Design) -> None:
    """A small version of tests/benchmarks/coverage_study.py: means over cells, comparisons of one class."""
    rng = numpy_generator(1, f"coverage/{design.name}")
    aligned = np.eye(*design.shape, dtype=bool)
    truth = {**accuracy_metrics(design.probabilities, aligned), **compare(design.probabilities)}
    held: dict[str, list[bool]] = {name: [] for name in truth}
    for table in design.draw(rng, 120):
        points = {name: np.array([np.nan, value[1]]) for name, value in compare(table).items()}
        limits = {**limit_rates(table, aligned), **comparison_limits(table, points, rng)}
        for name, value in truth.items():
            if name == "worst_group":
                continue
            low, high = limits.get(f"class/{name}", limits[name])
            if name in points:
                value, low, high = value[1], low[1], high[1]
            if not np.isnan([value, low, high]).any():
                held[name].append(bool(low - 1e-12 <= value <= high + 1e-12))
    checked = {name: np.mean(flags) for name, flags in held.items() if len(flags) >= 60}
    assert len(checked) >= 9
    assert all(share >= 0.9 for share in checked.values()), checked  # 0.95 minus 2.5 errors


def compare(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Return every comparison of groups per class."""
    return {**fairness.from_counts(tables), **fairness.parity_from_counts(tables)}
