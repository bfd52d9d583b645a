"""Calibration metrics: expected calibration error and Brier score, overall and by group.

Both metrics are functions of sums over rows by group and by bin of confidence. Scores are therefore read
in batches and need not fit in memory. ``sum_scores`` computes the sums of a batch. ``+`` adds the sums of
two batches: the counts are exact, the sums of scores have rounding errors. ``ece`` and ``brier`` compute
the metrics from the sums.

The B bins of [0, 1] have equal width. Bin i is ``(i / B, (i + 1) / B]``. The first bin also contains 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.metrics.counts import check_range, divide
from biascon.utils.types import Array

BINS = 15
# Files may hold scores with few decimal places, which then do not sum to exactly 1.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class CalibrationSums:
    """Sums over rows by group. ``+`` adds the sums of two sets of rows.

    Attributes:
        n: int64 ``(M, B)``, the number of rows by group and bin of confidence.
        confidence: float64 ``(M, B)``, the sum of the scores of the predicted class.
        correct: int64 ``(M, B)``, the number of correct predictions.
        squares: float64 ``(M,)``, the sum over rows and classes of (score - [class is the label])^2.
    """

    n: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    correct: npt.NDArray[np.int64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, n_bias: int, bins: int = BINS) -> CalibrationSums:
        """Return sums over zero rows.

        Args:
            n_bias: M, the number of groups.
            bins: B, the number of bins.

        Raises:
            UsageError: ``n_bias`` or ``bins`` is below 1.
        """
        if n_bias < 1 or bins < 1:
            raise UsageError(f"expected at least one group and bin, but got {n_bias} and {bins}")
        shape = (n_bias, bins)
        counts = np.zeros(shape, np.int64)
        return cls(counts, np.zeros(shape), counts, np.zeros(n_bias))

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The number of rows of each group, int64 ``(M,)``."""
        total: npt.NDArray[np.int64] = self.n.sum(axis=-1)
        return total

    def __add__(self, other: CalibrationSums) -> CalibrationSums:
        """Return the sums over the rows of both.

        Raises:
            UsageError: The numbers of groups or bins differ.
        """
        if self.n.shape != other.n.shape:
            raise UsageError(f"expected groups and bins {self.n.shape}, but got {other.n.shape}")
        return CalibrationSums(
            self.n + other.n,
            self.confidence + other.confidence,
            self.correct + other.correct,
            self.squares + other.squares,
        )

    def overall(self) -> CalibrationSums:
        """Return the sums over all groups, with shapes ``(1, B)`` and ``(1,)``."""
        return CalibrationSums(
            self.n.sum(axis=0, keepdims=True),
            self.confidence.sum(axis=0, keepdims=True),
            self.correct.sum(axis=0, keepdims=True),
            self.squares.sum(axis=0, keepdims=True),
        )


def sum_scores(
    labels: Array,
    bias: Array,
    scores: Array,
    *,
    n_bias: int,
    predictions: Array | None = None,
    bins: int = BINS,
) -> CalibrationSums:
    """Return the sums over the rows of a batch.

    The confidence of a row is the score of its predicted class.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        bias: int ``(N,)`` in 0..M-1.
        scores: float ``(N, K)``, the probability of each class.
        n_bias: M, the number of groups.
        predictions: int ``(N,)`` in 0..K-1. None predicts the class with the largest score, the first one
            of equal scores.
        bins: B, the number of bins.

    Raises:
        UsageError: The columns differ in length, a value is out of range, or the scores are not
            probabilities (a score is NaN or outside 0..1, or a row's sum differs from 1 by more than 0.001).
    """
    no_rows = CalibrationSums.empty(n_bias, bins)
    if scores.ndim != 2 or not len(labels) == len(bias) == len(scores):
        shapes = f"{labels.shape}, {bias.shape} and {scores.shape}"
        raise UsageError(f"expected labels (N,), bias (N,) and scores (N, K), but got {shapes}")
    if len(labels) == 0:
        return no_rows
    scores = scores.astype(np.float64, copy=False)
    k = scores.shape[1]
    predicted = scores.argmax(axis=1) if predictions is None else predictions
    if len(predicted) != len(labels):
        raise UsageError(f"expected {len(labels)} predictions, but got {len(predicted)}")
    for name, column, size in (
        ("labels", labels, k),
        ("bias", bias, n_bias),
        ("predictions", predicted, k),
    ):
        check_range(name, column, size)
    _check_scores(scores)
    confidence = np.take_along_axis(scores, predicted.astype(np.int64)[:, None], 1)[:, 0]
    label_score = np.take_along_axis(scores, labels.astype(np.int64)[:, None], 1)[:, 0]
    # sum_k (s_k - [k = y])^2 = sum_k s_k^2 - 2 s_y + 1 needs no one-hot array (N, K).
    squares = np.einsum("nk,nk->n", scores, scores) - 2.0 * label_score + 1.0
    squares = np.maximum(squares, 0.0)  # rounding can make 0 slightly negative
    edges = np.arange(1, bins) / bins
    group = bias.astype(np.int64)
    cell = group * bins + np.searchsorted(edges, confidence, side="left")
    size = n_bias * bins
    return CalibrationSums(
        np.bincount(cell, minlength=size).reshape(n_bias, bins),
        _sum_by_index(cell, confidence, size).reshape(n_bias, bins),
        np.bincount(cell[predicted == labels], minlength=size).reshape(n_bias, bins),
        _sum_by_index(group, squares, n_bias),
    )


def ece(sums: CalibrationSums) -> npt.NDArray[np.float64]:
    """Return the expected calibration error (ECE) of the predicted class for each group.

    Let bin i have n_i rows, share of correct predictions a_i and mean confidence c_i. Then::

        ECE = sum over bins of  n_i / n  |a_i - c_i|

    Guo et al., "On calibration of modern neural networks", ICML 2017. The value depends on the bins. For
    few rows it is above 0 even if the scores are the true probabilities, so compare only groups of similar
    size.

    Args:
        sums: The sums over the rows, by group.

    Returns:
        float64 ``(M,)`` in 0..1; NaN for a group without rows.
    """
    gaps = np.abs(sums.correct - sums.confidence).sum(axis=-1)
    return divide(gaps, sums.rows)


def brier(sums: CalibrationSums) -> npt.NDArray[np.float64]:
    """Return the Brier score of each group.

    It is the mean over rows of::

        sum over classes k of  (score_k - [k is the label])^2

    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.
    With two classes it is twice scikit-learn's ``brier_score_loss`` of the score of class 1.

    Args:
        sums: The sums over the rows, by group.

    Returns:
        float64 ``(M,)`` in 0..2; NaN for a group without rows.
    """
    return divide(sums.squares, sums.rows)


def _sum_by_index(index: Array, values: Array, size: int) -> npt.NDArray[np.float64]:
    """Return the sum of the values for each index in 0..size-1."""
    return np.bincount(index, weights=values, minlength=size).astype(np.float64, copy=False)


def _check_scores(scores: Array) -> None:
    """Check that every row of scores ``(N, K)`` is a probability distribution."""
    low, high = scores.min(), scores.max()
    if not (low >= 0 and high <= 1):  # also rejects NaN
        raise UsageError(f"expected scores in 0..1, but got {low}..{high}")
    deviation = float(np.abs(scores.sum(axis=1) - 1).max())
    if deviation > _SUM_TOLERANCE:
        raise UsageError(
            "expected the scores of a row to sum to 1, "
            f"but got a sum that differs from 1 by {deviation:.3g}; "
            "pass probabilities (a softmax of the logits)"
        )
