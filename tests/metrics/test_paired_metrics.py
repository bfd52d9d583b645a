"""Paired comparison in any metric of counts: all exchanges, made experiments, the values of an evaluation."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

from biascon.errors import UsageError
from biascon.metrics.joint_counts import JointCounts, count_jointly
from biascon.metrics.paired_metrics import (
    MEAN_METRICS,
    PAIRED_METRICS,
    accuracy_difference,
    check_metrics,
    compute_metrics,
    exchange_test,
)
from biascon.metrics.paired_tests import paired_bootstrap
from biascon.metrics.summary import measure_counts

ALIGNED = np.eye(3, 2, dtype=bool)
GAPS = ("worst_group", "demographic_parity_difference", "equalized_odds_difference")


def predict(
    labels: np.ndarray, rate: np.ndarray, n_labels: int, rng: np.random.Generator
) -> np.ndarray:
    """Return predictions that are right with the given probabilities; an error is the next class."""
    return np.where(rng.random(len(labels)) < rate, labels, (labels + 1) % n_labels)


def joint(n: int, gap_a: float, gap_b: float, seed: int, n_labels: int = 2) -> JointCounts:
    """Return two classifiers that are right in 80 % of the rows, and less by a gap in group 1."""
    rng = np.random.default_rng(seed)
    labels, bias = rng.integers(0, n_labels, n), rng.integers(0, 2, n)
    shared = rng.random(n) < 0.5  # both err on the same difficult rows
    a, b = (
        predict(labels, 0.8 - gap * bias, n_labels, np.random.default_rng(seed + k))
        for k, gap in ((10**6, gap_a), (2 * 10**6, gap_b))
    )
    b = np.where(shared & (gap_a == gap_b), a, b)
    return count_jointly(labels, bias, a, b, n_labels=n_labels, n_bias=2)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_values_are_those_of_an_evaluation(n_labels: int) -> None:
    counts = joint(300, 0.2, 0.0, 3, n_labels)
    aligned = ALIGNED[:n_labels]
    names = [str(k) for k in range(n_labels)]
    for table in counts.tables(counts.n):
        summary = measure_counts(table, names, aligned, seed=0, intervals=False)
        values = compute_metrics(table, PAIRED_METRICS, aligned, 1 if n_labels == 2 else None)
        assert {name: pytest.approx(float(value)) for name, value in values.items()} == {
            name: summary[name].value for name in PAIRED_METRICS
        }


def test_p_is_the_share_of_all_exchanges_of_rows() -> None:
    rng = np.random.default_rng(5)
    labels, bias, a, b = rng.integers(0, 2, (4, 14))
    labels[:4], bias[:4] = [0, 0, 1, 1], [0, 1, 0, 1]
    differ = np.flatnonzero(a != b)
    assert 5 <= len(differ) <= 10

    def differences(swapped: np.ndarray) -> dict[str, float]:
        x, y = np.where(swapped, b, a), np.where(swapped, a, b)
        counts = count_jointly(labels, bias, x, y, n_labels=2, n_bias=2)
        of_x, of_y = (compute_metrics(t, GAPS, None, 1) for t in counts.tables(counts.n))
        return {name: float(of_x[name] - of_y[name]) for name in GAPS}

    every = []
    for choice in itertools.product((False, True), repeat=len(differ)):
        swapped = np.zeros(14, dtype=bool)
        swapped[differ] = choice
        every.append(differences(swapped))
    counts = count_jointly(labels, bias, a, b, n_labels=2, n_bias=2)
    metrics = partial(compute_metrics, names=GAPS, aligned=None, positive=1)
    tests = exchange_test(counts, metrics, np.random.default_rng(0), replicates=10_000)
    for name in GAPS:
        observed = every[0][name]
        exact = np.mean([abs(each[name]) >= abs(observed) - 1e-12 for each in every])
        assert tests[name].difference == pytest.approx(observed)
        assert tests[name].p == pytest.approx(exact, abs=0.02)


def test_equal_classifiers_are_rarely_called_different_and_a_gap_is_found() -> None:
    metrics = partial(compute_metrics, names=GAPS, aligned=None, positive=1)

    def rejections(gap_a: float, gap_b: float, experiments: int) -> dict[str, float]:
        tests = [
            exchange_test(
                joint(400, gap_a, gap_b, k), metrics, np.random.default_rng(k), replicates=99
            )
            for k in range(experiments)
        ]
        return {name: float(np.mean([each[name].p <= 0.05 for each in tests])) for name in GAPS}

    # 5 % and three standard deviations of 200 experiments; the disparity of both is the same
    assert max(rejections(0.2, 0.2, 200).values()) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    found = rejections(0.4, 0.0, 30)
    assert found["worst_group"] > 0.9 and found["equalized_odds_difference"] > 0.9


def test_two_equal_predictions_have_no_difference_and_p_1() -> None:
    counts = joint(100, 0.1, 0.1, 1)
    same = JointCounts(counts.cells[:, [0, 1, 2, 2]], counts.n, 2, 2)
    metrics = partial(compute_metrics, names=GAPS, aligned=None, positive=1)
    for test in exchange_test(same, metrics, np.random.default_rng(0), replicates=99).values():
        assert (test.difference, test.p) == (0.0, 1.0)


def test_undefined_difference_has_no_p() -> None:
    """One group only: there is nothing to compare, but the accuracy of the worst cell is defined."""
    zeros, ones = np.zeros(6, int), np.ones(6, int)
    labels = np.array([0, 1] * 3)
    counts = count_jointly(labels, zeros, labels, ones, n_labels=2, n_bias=1)
    metrics = partial(compute_metrics, names=GAPS, aligned=None, positive=1)
    tests = exchange_test(counts, metrics, np.random.default_rng(0), replicates=99)
    assert np.isnan(tests["equalized_odds_difference"].p)
    assert tests["worst_group"].difference == 1.0


def test_differences_of_means_are_those_of_the_tables_within_their_intervals() -> None:
    counts = joint(400, 0.2, 0.1, 4, 3)
    of_a, of_b = (
        compute_metrics(table, MEAN_METRICS, ALIGNED, None) for table in counts.tables(counts.n)
    )
    bootstrap = paired_bootstrap(
        counts,
        lambda tables: compute_metrics(tables, MEAN_METRICS, ALIGNED, None),
        np.random.default_rng(7),
    )
    for name in MEAN_METRICS:
        found = accuracy_difference(counts, name, ALIGNED)
        assert float(found.value) == pytest.approx(float(of_a[name] - of_b[name]))
        assert found.low < found.value < found.high
        # With cells of 60 rows both methods give about the same interval.
        assert float(found.low) == pytest.approx(float(bootstrap[name].low), abs=0.02)
        assert float(found.high) == pytest.approx(float(bootstrap[name].high), abs=0.02)
    assert np.isnan(accuracy_difference(counts, "bias_aligned", None).value)


def test_names_are_checked_and_kept_once() -> None:
    assert check_metrics(["top1", "worst_group", "top1"]) == ("top1", "worst_group")
    with pytest.raises(UsageError, match="unknown metric 'worst_grp'; did you mean 'worst_group'"):
        check_metrics(["worst_grp"])
