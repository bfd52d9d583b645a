"""Calibration: against loops over rows and scikit-learn; edges of bins; batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from biascon.errors import UsageError
from biascon.metrics.calibration import CalibrationSums, brier, ece, sum_scores

PROBLEMS = st.tuples(st.integers(0, 30), st.integers(2, 4), st.integers(1, 12), st.integers(0, 999))


def problem(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, bias in 0..2 and scores, some of them exactly 0, 1 or on the edge of a bin."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(k), n)
    scores[::3] = 0.0
    scores[::3, 0], scores[::3, 1] = 0.7, 0.3
    scores[::5] = np.eye(k)[rng.integers(0, k, len(scores[::5]))]
    return rng.integers(0, k, n), rng.integers(0, 3, n), scores


def naive_ece(labels: np.ndarray, scores: np.ndarray, bins: int) -> float:
    held: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for label, row in zip(labels.tolist(), scores.tolist(), strict=True):
        confidence = max(row)
        for i in range(bins):
            above = confidence > i / bins or i == 0
            if above and confidence <= (i + 1) / bins:
                held[i].append((confidence, row.index(confidence) == label))
    assert sum(len(rows) for rows in held) == len(labels)  # each is in one bin
    total = 0.0
    for rows in held:
        if rows:
            right = sum(r for _, r in rows) / len(rows)
            mean = sum(c for c, _ in rows) / len(rows)
            total += len(rows) / len(labels) * abs(right - mean)
    return total if len(labels) else math.nan


def naive_brier(labels: np.ndarray, scores: np.ndarray) -> float:
    of_rows = [
        sum((s - (k == label)) ** 2 for k, s in enumerate(row))
        for label, row in zip(labels.tolist(), scores.tolist(), strict=True)
    ]
    return sum(of_rows) / len(of_rows) if of_rows else math.nan


@given(PROBLEMS)
@settings(max_examples=60, deadline=None)
def test_against_plain_loops(asked: tuple[int, int, int, int]) -> None:
    n, k, bins, seed = asked
    labels, bias, scores = problem(n, k, seed)
    sums = sum_scores(labels, bias, scores, n_bias=3, bins=bins)
    whole = sums.overall()
    assert ece(whole)[0] == pytest.approx(naive_ece(labels, scores, bins), nan_ok=True)
    assert brier(whole)[0] == pytest.approx(naive_brier(labels, scores), nan_ok=True)
    for group in range(3):
        mine = bias == group
        assert sums.rows[group] == mine.sum()
        expected = naive_ece(labels[mine], scores[mine], bins)
        assert ece(sums)[group] == pytest.approx(expected, nan_ok=True)
        expected = naive_brier(labels[mine], scores[mine])
        assert brier(sums)[group] == pytest.approx(expected, nan_ok=True, abs=1e-15)


class TestBins:
    @pytest.mark.parametrize("bins", [1, 2, 10, 15, 100])
    def test_closed_on_the_right_and_both_ends_count(self, bins: int) -> None:
        edges = np.arange(bins + 1) / bins
        scores = np.stack([edges, 1 - edges], axis=1)
        nothing = np.zeros(bins + 1, dtype=int)
        sums = sum_scores(nothing, nothing, scores, n_bias=1, bins=bins, predictions=nothing)
        expected = np.ones(bins, dtype=int)
        expected[0] = 2  # 0 and 1 / B
        assert sums.n[0].tolist() == expected.tolist()

    def test_just_above_an_edge_is_the_next_bin(self) -> None:
        score = np.nextafter(0.5, 1)
        zero = np.zeros(1, dtype=int)
        sums = sum_scores(zero, zero, np.array([[score, 1 - score]]), n_bias=1, bins=2)
        assert sums.n.tolist() == [[0, 1]]

    def test_certain_and_wrong(self) -> None:
        """A last bin that is open would lose these rows."""
        labels, bias = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
        scores = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        sums = sum_scores(labels, bias, scores, n_bias=2)
        assert ece(sums).tolist() == [0.0, 1.0]
        assert brier(sums).tolist() == [0.0, 2.0]
        assert ece(sums.overall()).tolist() == [0.5]


def test_by_hand() -> None:
    labels = np.array([0, 1, 1, 0])
    scores = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8]])
    sums = sum_scores(labels, np.zeros(4, int), scores, n_bias=1, bins=5)
    # (0.4, 0.6]: 1 of 2 right at 0.6; (0.6, 0.8]: 0 of 1 at 0.8; (0.8, 1]: 1 of 1 at 0.9
    assert sums.n.tolist() == [[0, 0, 2, 1, 1]]
    assert ece(sums)[0] == pytest.approx((2 * 0.1 + 0.8 + 0.1) / 4)
    assert brier(sums)[0] == pytest.approx((0.32 + 0.72 + 0.02 + 1.28) / 4)


@given(st.integers(1, 40), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_brier_against_scikit_learn(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.random(n)
    labels = rng.integers(0, 2, n)
    scores = np.stack([1 - one, one], axis=1)
    found = brier(sum_scores(labels, np.zeros(n, int), scores, n_bias=1))[0]
    assert found == pytest.approx(2 * brier_score_loss(labels, one, pos_label=1))


@given(st.integers(0, 60), st.lists(st.integers(0, 60), max_size=4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_partition_and_order_gives_the_same(n: int, cuts: list[int], seed: int) -> None:
    labels, bias, scores = problem(n, 3, seed)
    whole = sum_scores(labels, bias, scores, n_bias=3)
    order = np.random.default_rng(seed).permutation(n)
    merged = CalibrationSums.empty(3)
    for part in np.split(order, sorted(min(cut, n) for cut in cuts)):
        merged = sum_scores(labels[part], bias[part], scores[part], n_bias=3) + merged
    assert np.array_equal(merged.n, whole.n)
    assert np.array_equal(merged.correct, whole.correct)
    assert merged.confidence == pytest.approx(whole.confidence)
    assert merged.squares == pytest.approx(whole.squares)


def test_a_group_without_rows_has_nan_and_n_0() -> None:
    zero = np.zeros(1, dtype=int)
    sums = sum_scores(zero, zero, np.array([[0.9, 0.1]]), n_bias=2)
    assert sums.rows.tolist() == [1, 0]
    assert not math.isnan(ece(sums)[0])
    assert math.isnan(ece(sums)[1])
    assert math.isnan(brier(sums)[1])
    nothing = CalibrationSums.empty(2).overall()
    assert nothing.rows.tolist() == [0]
    assert math.isnan(ece(nothing)[0])


def test_predictions_other_than_the_largest_score() -> None:
    """A threshold, say: the confidence is then that of what was predicted."""
    zero = np.zeros(1, dtype=int)
    sums = sum_scores(zero, zero, np.array([[0.3, 0.7]]), n_bias=1, predictions=zero, bins=10)
    assert sums.n[0].argmax() == 2
    assert ece(sums)[0] == pytest.approx(0.7)


def test_true_probabilities_have_a_small_error_and_overconfidence_a_large_one() -> None:
    rng = np.random.default_rng(0)
    n = 20000
    one = rng.random(n)
    labels = (rng.random(n) < one).astype(int)
    true = np.stack([1 - one, one], axis=1)
    sharp = true**3 / (true**3).sum(axis=1, keepdims=True)
    group = np.zeros(n, int)
    assert ece(sum_scores(labels, group, true, n_bias=1))[0] < 0.02
    assert ece(sum_scores(labels, group, sharp, n_bias=1))[0] > 0.1


def test_single_precision_scores() -> None:
    logits = np.random.default_rng(0).normal(size=(100, 10)).astype(np.float32)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.arange(100, dtype=np.int8) % 10
    found = sum_scores(labels, labels, scores, n_bias=10)
    assert found.confidence.dtype == np.float64
    assert ece(found.overall())[0] == pytest.approx(naive_ece(labels, scores, 15))


@pytest.mark.parametrize(
    ("labels", "bias", "scores", "message"),
    [
        ([0], [0], [[0.5, 0.6]], r"to sum to 1, but got a sum that differs from 1 by 0\.1"),
        ([0], [0], [[1.5, -0.5]], r"scores in 0\.\.1, but got -0.5\.\.1.5"),
        ([0], [0], [[np.nan, 1.0]], r"scores in 0\.\.1, but got nan"),
        ([2], [0], [[0.5, 0.5]], r"labels in 0\.\.1, but got 2"),
        ([0], [1], [[0.5, 0.5]], r"bias in 0\.\.0, but got 1"),
        ([0, 1], [0], [[0.5, 0.5]], r"scores \(N, K\), but got"),
        ([0], [0], [0.5], r"scores \(N, K\), but got"),
    ],
)
def test_what_is_refused(labels: list, bias: list, scores: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sum_scores(np.array(labels), np.array(bias), np.array(scores), n_bias=1)


def test_predictions_that_do_not_fit() -> None:
    zero, scores = np.zeros(1, int), np.array([[0.5, 0.5]])
    with pytest.raises(UsageError, match="expected 1 predictions, but got 2"):
        sum_scores(zero, zero, scores, n_bias=1, predictions=np.zeros(2, int))
    with pytest.raises(UsageError, match=r"predictions in 0\.\.1, but got 2"):
        sum_scores(zero, zero, scores, n_bias=1, predictions=np.array([2]))


def test_sums_of_other_bins_are_not_added() -> None:
    with pytest.raises(UsageError, match=r"groups and bins \(2, 15\), but got \(2, 10\)"):
        CalibrationSums.empty(2) + CalibrationSums.empty(2, 10)
    with pytest.raises(UsageError, match="at least one group and bin, but got 1 and 0"):
        CalibrationSums.empty(1, 0)
