"""Calibration of scores, overall and by group: expected calibration error and Brier score.

Both come from sums over rows that are kept by group and by bin of confidence, so scores are read in
batches and never held: ``tally`` sums a batch, ``+`` merges (exactly for the counts, to rounding for
the sums of scores), ``ece`` and ``brier`` are functions of the sums.

The bins of ``[0, 1]`` are of equal width and closed on the right, ``(i / B, (i + 1) / B]``, the first
also on the left: a score of 1 is in the last bin, of 0 in the first, and each score in one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.metrics.counts import check_range, divide
from biascon.utils.types import Array

BINS = 15
_SUM_TOLERANCE = 1e-3  # scores were perhaps written with few digits


@dataclass(frozen=True, eq=False)
class CalibrationSums:
    """Sums over rows by group; add two with ``+``.

    Attributes:
        n: int64 ``(M, B)``, rows by group and bin of confidence.
        confidence: float64 ``(M, B)``, sum of the scores of the predicted class.
        correct: int64 ``(M, B)``, how many are predicted right.
        squares: float64 ``(M,)``, sum over rows and classes of (score - [class is the label])^2.
    """

    n: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    correct: npt.NDArray[np.int64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, n_bias: int, bins: int = BINS) -> CalibrationSums:
        """Return the sums of no rows.

        Raises:
            UsageError: Fewer than one group or bin.
        """
        if n_bias < 1 or bins < 1:
            raise UsageError(f"expected at least one group and bin, but got {n_bias} and {bins}")
        shape = (n_bias, bins)
        none = np.zeros(shape, np.int64)
        return cls(none, np.zeros(shape), none, np.zeros(n_bias))

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """``(M,)``: how many rows each group has, the n of its figures."""
        total: npt.NDArray[np.int64] = self.n.sum(axis=-1)
        return total

    def __add__(self, other: CalibrationSums) -> CalibrationSums:
        """Return the sums over the rows of both.

        Raises:
            UsageError: Another number of groups or bins.
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
        """Return the sums with all rows in one group."""
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
    """Return the sums of a batch.

    Args:
        labels: ``(N,)`` integers in 0..K-1.
        bias: ``(N,)`` integers in 0..M-1.
        scores: Floats ``(N, K)``, the probability of each class.
        n_bias: M.
        predictions: ``(N,)`` integers in 0..K-1; without them the class of the largest score, the
            first of several. The confidence is the score of the predicted class.
        bins: B.

    Raises:
        UsageError: Columns that do not fit, values out of range, or scores that are no
            probabilities: outside 0..1, NaN, or with a sum more than 0.001 from 1.
    """
    nothing = CalibrationSums.empty(n_bias, bins)
    if scores.ndim != 2 or not len(labels) == len(bias) == len(scores):
        got = f"{labels.shape}, {bias.shape} and {scores.shape}"
        raise UsageError(f"expected labels (N,), bias (N,) and scores (N, K), but got {got}")
    if len(labels) == 0:
        return nothing
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
    of_label = np.take_along_axis(scores, labels.astype(np.int64)[:, None], 1)[:, 0]
    # sum_k (s_k - [k = y])^2, without an (N, K) array of zeros and ones
    squares = np.einsum("nk,nk->n", scores, scores) - 2.0 * of_label + 1.0
    squares = np.maximum(squares, 0.0)  # not -1e-16
    edges = np.arange(1, bins) / bins
    group = bias.astype(np.int64)
    cell = group * bins + np.searchsorted(edges, confidence, side="left")
    size = n_bias * bins
    return CalibrationSums(
        np.bincount(cell, minlength=size).reshape(n_bias, bins),
        _sums(cell, confidence, size).reshape(n_bias, bins),
        np.bincount(cell[predicted == labels], minlength=size).reshape(n_bias, bins),
        _sums(group, squares, n_bias),
    )


def ece(sums: CalibrationSums) -> npt.NDArray[np.float64]:
    """Return the expected calibration error of each group, ``(M,)``, NaN where it has no rows.

    With n_i rows in bin i, their share of right predictions a_i and mean confidence c_i::

        sum over bins of  n_i / n  |a_i - c_i|

    Of the top label (Guo et al., "On calibration of modern neural networks", ICML 2017). It depends
    on the bins, and is above 0 for few rows even where the scores are true probabilities: compare
    groups of like size.
    """
    gaps = np.abs(sums.correct - sums.confidence).sum(axis=-1)
    return divide(gaps, sums.rows)


def brier(sums: CalibrationSums) -> npt.NDArray[np.float64]:
    """Return the Brier score of each group, ``(M,)`` in 0..2, NaN where it has no rows.

    The mean over rows of sum_k (score_k - [k = label])^2 (Brier, "Verification of forecasts
    expressed in terms of probability", Monthly Weather Review 78, 1950). With two classes it is
    twice what scikit-learn's ``brier_score_loss`` gives for the score of class 1.
    """
    return divide(sums.squares, sums.rows)


def _sums(index: Array, values: Array, size: int) -> npt.NDArray[np.float64]:
    return np.bincount(index, weights=values, minlength=size).astype(np.float64, copy=False)


def _check_scores(scores: Array) -> None:
    low, high = scores.min(), scores.max()
    if not (low >= 0 and high <= 1):  # NaN too
        raise UsageError(f"expected scores in 0..1, but got {low}..{high}")
    worst = float(np.abs(scores.sum(axis=1) - 1).max())
    if worst > _SUM_TOLERANCE:
        raise UsageError(
            f"expected the scores of a row to sum to 1, but got a sum that is {worst:.3g} away; "
            "pass probabilities (a softmax of the logits)"
        )
