"""Simulations: intervals cover the truth as often as they say, where their theory holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from biascon.metrics import accuracy, fairness
from biascon.metrics.intervals import bootstrap, wilson
from biascon.metrics.paired_tests import count_jointly, paired_bootstrap
from biascon.utils.seeds import numpy_generator

# P(prediction = label) of each (label, bias), far from 0 and 1; and how frequent the cells are
RIGHT = np.array([[0.80, 0.60], [0.65, 0.85]])
CELLS = np.array([[0.30, 0.15], [0.20, 0.35]])
TRUTH = np.stack([CELLS * RIGHT, CELLS * (1 - RIGHT)], axis=-1)
TRUTH[1] = TRUTH[1, :, ::-1]
ROWS = 5000
TABLES = 500
ALIGNED = np.eye(2, dtype=bool)


def metrics(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Smooth functions of the counts: no maximum that changes place within the noise."""
    group = {**fairness.from_counts(tables), **fairness.parity_from_counts(tables)}
    return {
        "top1": accuracy.top1(tables),
        "unbiased": accuracy.unbiased(tables),
        "bias_aligned": accuracy.bias_aligned(tables, ALIGNED),
        "bias_conflicting": accuracy.bias_conflicting(tables, ALIGNED),
        **{
            name: fairness.select_positive_class(value)
            for name, value in group.items()
            if "odds" not in name
        },
    }


def coverage(
    tables: int, interval: Callable[[np.ndarray, np.random.Generator], dict[str, tuple]]
) -> dict[str, float]:
    """How many of the tables' intervals hold the truth."""
    rng = numpy_generator(0, "coverage")
    truth = {name: float(value) for name, value in metrics(TRUTH).items()}
    covered = dict.fromkeys(truth, 0)
    for table in rng.multinomial(ROWS, TRUTH.reshape(-1), tables).reshape(-1, *TRUTH.shape):
        limits = interval(table, rng)
        for name, value in truth.items():
            low, high = limits[name]
            covered[name] += bool(low <= value <= high)
    return {name: hits / tables for name, hits in covered.items()}


def test_of_the_bootstrap() -> None:
    found = coverage(TABLES, lambda table, rng: bootstrap(table, metrics, rng, replicates=1000))
    assert len(found) == 9
    for name, share in found.items():
        assert 0.93 <= share <= 0.97, name


@pytest.mark.slow
def test_of_the_bootstrap_over_many_tables() -> None:
    found = coverage(5000, lambda table, rng: bootstrap(table, metrics, rng))
    for name, share in found.items():
        assert 0.94 <= share <= 0.96, name


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.8, 0.95])
def test_of_wilson_s_interval(rate: float) -> None:
    rng = numpy_generator(0, f"wilson/{rate}")
    low, high = wilson(rng.binomial(400, rate, TABLES), 400)
    assert 0.93 <= ((low <= rate) & (rate <= high)).mean() <= 0.97


@pytest.mark.parametrize("n", [10, 50, 400])
def test_of_wilson_s_interval_without_a_simulation(n: int) -> None:
    """The sum of the binomial terms whose interval holds the rate, averaged over rates."""
    rates = np.linspace(0.05, 0.95, 181)[:, None]
    low, high = wilson(np.arange(n + 1), n)
    held = (low <= rates) & (rates <= high)
    exact = np.where(held, stats.binom.pmf(np.arange(n + 1), n, rates), 0.0).sum(axis=1)
    assert exact.mean() == pytest.approx(0.95, abs=0.005)
    assert exact.min() > 0.83


def paired_coverage(tables: int, replicates: int) -> float:
    """Of the difference of two classifiers that err on partly the same rows."""
    rng = numpy_generator(0, "paired coverage")
    covered, n = 0, 1001  # of 1000 rows the truth is a value that the difference takes
    for _ in range(tables):
        labels, bias = rng.integers(0, 2, n), rng.integers(0, 2, n)
        hard = rng.random(n) < 0.3
        a = np.where(hard & (rng.random(n) < 0.8), 1 - labels, labels)  # right: 0.76
        b = np.where(hard | (rng.random(n) < 0.1), 1 - labels, labels)  # right: 0.63
        counts = count_jointly(labels, bias, a, b, n_labels=2, n_bias=2)
        found = paired_bootstrap(
            counts, lambda t: {"top1": accuracy.top1(t)}, rng, replicates=replicates
        )["top1"]
        covered += bool(found.low <= 0.76 - 0.63 <= found.high)
    return covered / tables


def test_of_the_paired_bootstrap() -> None:
    assert 0.93 <= paired_coverage(TABLES, 400) <= 0.97


@pytest.mark.slow
def test_of_the_paired_bootstrap_over_many_tables() -> None:
    assert 0.94 <= paired_coverage(5000, 2000) <= 0.96
