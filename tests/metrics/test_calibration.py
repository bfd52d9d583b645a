"""Calibration: comparison with loops over rows and scikit-learn, edges of bins, batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from biascon.errors import UsageError
from biascon.metrics.calibration import CalibrationSums, brier, ece, sum_scores

# (rows, classes, bins, seed)
PROBLEMS = st.tuples(st.integers(0, 30), st.integers(2, 4), st.integers(1, 12), st.integers(0, 999))


def draw_scores(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, bias in 0..2 and scores; some scores are exactly 0, 1 or on the edge of a bin."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(k), n)
    scores[::3] = 0.0
    scores[::3, 0], scores[::3, 1] = 0.7, 0.3
    scores[::5] = np.eye(k)[rng.integers(0, k, len(scores[::5]))]
    return rng.integers(0, k, n), rng.integers(0, 3, n), scores


def ece_with_loops(labels: np.ndarray, scores: np.ndarray, bins: int) -> float:
    rows_by_bin: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for label, row in zip(labels.tolist(), scores.tolist(), strict=True):
        confidence = max(row)
        for i in range(bins):
            is_above = confidence > i / bins or i == 0
            if is_above and confidence <= (i + 1) / bins:
                rows_by_bin[i].append((confidence, row.index(confidence) == label))
    assert sum(len(rows) for rows in rows_by_bin) == len(labels)  # each row is in exactly one bin
    total = 0.0
    for rows in rows_by_bin:
        if rows:
            accuracy = sum(is_correct for _, is_correct in rows) / len(rows)
            mean_confidence = sum(confidence for confidence, _ in rows) / len(rows)
            total += len(rows) / len(labels) * abs(accuracy - mean_confidence)
    return total if len(labels) else math.nan


def brier_with_loops(labels: np.ndarray, scores: np.ndarray) -> float:
    row_scores = [
        sum((s - (k == label)) ** 2 for k, s in enumerate(row))
        for label, row in zip(labels.tolist(), scores.tolist(), strict=True)
    ]
    return sum(row_scores) / len(row_scores) if row_scores else math.nan


@given(PROBLEMS)
@settings(max_examples=60, deadline=None)
def test_metrics_equal_plain_loops_over_rows(problem: tuple[int, int, int, int]) -> None:
    n, k, bins, seed = problem
    labels, bias, scores = draw_scores(n, k, seed)
    sums = sum_scores(labels, bias, scores, n_bias=3, bins=bins)
    overall = sums.overall()
    assert ece(overall)[0] == pytest.approx(ece_with_loops(labels, scores, bins), nan_ok=True)
    assert brier(overall)[0] == pytest.approx(brier_with_loops(labels, scores), nan_ok=True)
    for group in range(3):
        in_group = bias == group
        assert sums.rows[group] == in_group.sum()
        expected = ece_with_loops(labels[in_group], scores[in_group], bins)
        assert ece(sums)[group] == pytest.approx(expected, nan_ok=True)
        expected = brier_with_loops(labels[in_group], scores[in_group])
        assert brier(sums)[group] == pytest.approx(expected, nan_ok=True, abs=1e-15)


class TestBins:
    @pytest.mark.parametrize("bins", [1, 2, 10, 15, 100])
    def test_bins_are_closed_on_the_right_and_cover_both_ends(self, bins: int) -> None:
        edges = np.arange(bins + 1) / bins
        scores = np.stack([edges, 1 - edges], axis=1)
        zeros = np.zeros(bins + 1, dtype=int)
        sums = sum_scores(zeros, zeros, scores, n_bias=1, bins=bins, predictions=zeros)
        expected = np.ones(bins, dtype=int)
        expected[0] = 2  # the scores 0 and 1 / B
        assert sums.n[0].tolist() == expected.tolist()

    def test_a_score_just_above_an_edge_is_in_the_next_bin(self) -> None:
        score = np.nextafter(0.5, 1)
        zero = np.zeros(1, dtype=int)
        sums = sum_scores(zero, zero, np.array([[score, 1 - score]]), n_bias=1, bins=2)
        assert sums.n.tolist() == [[0, 1]]

    def test_a_score_of_one_is_in_the_last_bin(self) -> None:
        """A last bin that is open on the right would lose these rows."""
        labels, bias = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
        scores = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        sums = sum_scores(labels, bias, scores, n_bias=2)
        assert ece(sums).tolist() == [0.0, 1.0]
        assert brier(sums).tolist() == [0.0, 2.0]
        assert ece(sums.overall()).tolist() == [0.5]


def test_metrics_equal_a_hand_worked_example() -> None:
    labels = np.array([0, 1, 1, 0])
    scores = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8]])
    sums = sum_scores(labels, np.zeros(4, int), scores, n_bias=1, bins=5)
    # Bin (0.4, 0.6]: 1 of 2 rows correct, confidence 0.6. Bin (0.6, 0.8]: 0 of 1, confidence 0.8.
    # Bin (0.8, 1]: 1 of 1, confidence 0.9.
    assert sums.n.tolist() == [[0, 0, 2, 1, 1]]
    assert ece(sums)[0] == pytest.approx((2 * 0.1 + 0.8 + 0.1) / 4)
    assert brier(sums)[0] == pytest.approx((0.32 + 0.72 + 0.02 + 1.28) / 4)


@given(st.integers(1, 40), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_brier_is_twice_the_score_of_scikit_learn(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    labels = rng.integers(0, 2, n)
    scores = np.stack([1 - score, score], axis=1)
    value = brier(sum_scores(labels, np.zeros(n, int), scores, n_bias=1))[0]
    assert value == pytest.approx(2 * brier_score_loss(labels, score, pos_label=1))


@given(st.integers(0, 60), st.lists(st.integers(0, 60), max_size=4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_partition_and_order_gives_the_same_sums(n: int, cuts: list[int], seed: int) -> None:
    labels, bias, scores = draw_scores(n, 3, seed)
    whole = sum_scores(labels, bias, scores, n_bias=3)
    order = np.random.default_rng(seed).permutation(n)
    merged = CalibrationSums.empty(3)
    for part in np.split(order, sorted(min(cut, n) for cut in cuts)):
        merged = sum_scores(labels[part], bias[part], scores[part], n_bias=3) + merged
    assert np.array_equal(merged.n, whole.n)
    assert np.array_equal(merged.correct, whole.correct)
    assert merged.confidence == pytest.approx(whole.confidence)
    assert merged.squares == pytest.approx(whole.squares)


def test_a_group_without_rows_has_nan_and_zero_rows() -> None:
    zero = np.zeros(1, dtype=int)
    sums = sum_scores(zero, zero, np.array([[0.9, 0.1]]), n_bias=2)
    assert sums.rows.tolist() == [1, 0]
    assert not math.isnan(ece(sums)[0])
    assert math.isnan(ece(sums)[1])
    assert math.isnan(brier(sums)[1])
    no_rows = CalibrationSums.empty(2).overall()
    assert no_rows.rows.tolist() == [0]
    assert math.isnan(ece(no_rows)[0])


def test_confidence_is_the_score_of_the_given_prediction() -> None:
    """Predictions may differ from the class with the largest score, for example with a threshold."""
    zero = np.zeros(1, dtype=int)
    sums = sum_scores(zero, zero, np.array([[0.3, 0.7]]), n_bias=1, predictions=zero, bins=10)
    assert sums.n[0].argmax() == 2
    assert ece(sums)[0] == pytest.approx(0.7)


def test_error_is_small_for_true_probabilities_and_large_for_overconfident_scores() -> None:
    rng = np.random.default_rng(0)
    n = 20000
    score = rng.random(n)
    labels = (rng.random(n) < score).astype(int)
    true = np.stack([1 - score, score], axis=1)
    overconfident = true**3 / (true**3).sum(axis=1, keepdims=True)
    group = np.zeros(n, int)
    assert ece(sum_scores(labels, group, true, n_bias=1))[0] < 0.02
    assert ece(sum_scores(labels, group, overconfident, n_bias=1))[0] > 0.1


def test_single_precision_scores_are_summed_in_double() -> None:
    logits = np.random.default_rng(0).normal(size=(100, 10)).astype(np.float32)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.arange(100, dtype=np.int8) % 10
    sums = sum_scores(labels, labels, scores, n_bias=10)
    assert sums.confidence.dtype == np.float64
    assert ece(sums.overall())[0] == pytest.approx(ece_with_loops(labels, scores, 15))


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
def test_invalid_labels_bias_and_scores_are_an_error(
    labels: list, bias: list, scores: list, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sum_scores(np.array(labels), np.array(bias), np.array(scores), n_bias=1)


def test_invalid_predictions_are_an_error() -> None:
    zero, scores = np.zeros(1, int), np.array([[0.5, 0.5]])
    with pytest.raises(UsageError, match="expected 1 predictions, but got 2"):
        sum_scores(zero, zero, scores, n_bias=1, predictions=np.zeros(2, int))
    with pytest.raises(UsageError, match=r"predictions in 0\.\.1, but got 2"):
        sum_scores(zero, zero, scores, n_bias=1, predictions=np.array([2]))


def test_sums_of_different_bins_cannot_be_added() -> None:
    with pytest.raises(UsageError, match=r"groups and bins \(2, 15\), but got \(2, 10\)"):
        CalibrationSums.empty(2) + CalibrationSums.empty(2, 10)
    with pytest.raises(UsageError, match="at least one group and bin, but got 1 and 0"):
        CalibrationSums.empty(1, 0)
