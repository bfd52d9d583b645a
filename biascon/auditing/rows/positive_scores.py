"""Sums of the scores of the positive class by group: its AUC and its calibration follow from them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from biascon.auditing.rows.row_index import add_by_index
from biascon.metrics.auc import roc_area
from biascon.metrics.calibration_chance import expected_error
from biascon.metrics.counts import divide
from biascon.metrics.intervals import wilson
from biascon.metrics.records import UNDEFINED, Metric
from biascon.utils.types import Array

POSITIVE_METRICS = ("auc", "calibration_in_the_large", "positive_calibration_error")
POSITIVE_IF_CALIBRATED = "positive_calibration_error_if_calibrated"
MAX_EXACT = (
    1_000_000  # different pairs (group, score) up to which the AUC uses the scores as they are
)
GRID = 1 << 16  # steps of the scores of a larger table
BINS = 15
_MIN_NORMAL = 30  # rows from which the mean of score minus label uses its own variance
_DIGITS = 9  # the last digits of a sum of floats depend on how the rows are cut into parts

Floats = npt.NDArray[np.float64]


class ScoreCounts:
    """The positive and the negative rows at each different score of each group, in bounded memory.

    Up to ``MAX_EXACT`` different pairs (group, score) the scores are kept as they are. With more, they are
    put on a grid of ``GRID`` steps. Which of the two happens does not depend on the order of the rows.

    Args:
        n_groups: The number of groups.

    Attributes:
        n_groups: The same number.
        is_exact: Whether the scores are as they were.
    """

    def __init__(self, n_groups: int) -> None:
        self.n_groups = n_groups
        self.is_exact = True
        self._blocks: list[tuple[Array, Array, Array, Array]] = []
        self._rows = 0

    def add(self, groups: Array, scores: Array, positives: Array, negatives: Array) -> None:
        """Add entries: int ``(N,)`` groups, float ``(N,)`` scores, and the weight of each kind of row."""
        if not self.is_exact:
            scores = _round_to_grid(scores)
        self._blocks.append((groups, scores, positives, negatives))
        self._rows += len(groups)
        if self._rows > MAX_EXACT:
            self._compact()

    def _compact(self) -> None:
        """Join equal pairs of group and score."""
        self._blocks = [_join_equal(self._blocks)]
        self._rows = len(self._blocks[0][0])
        if self.is_exact and self._rows > MAX_EXACT:
            self.is_exact = False
            groups, scores, positives, negatives = self._blocks[0]
            self._blocks = [_join_equal([(groups, _round_to_grid(scores), positives, negatives)])]
            self._rows = len(self._blocks[0][0])

    def merge(self, target: Array, n_groups: int) -> ScoreCounts:
        """Return the counts by other groups: group m goes to group ``target[m]``."""
        merged = ScoreCounts(n_groups)
        merged.is_exact = self.is_exact
        if self._blocks:
            self._compact()
            groups, scores, positives, negatives = self._blocks[0]
            merged._blocks = [_join_equal([(target[groups], scores, positives, negatives)])]
            merged._rows = len(merged._blocks[0][0])
        return merged

    def by_group(self) -> list[tuple[Array, Array]]:
        """Return the positives and the negatives of each group, in order of the scores."""
        if not self._blocks:
            return [(np.zeros(0), np.zeros(0))] * self.n_groups
        self._compact()
        groups, _, positives, negatives = self._blocks[0]
        edges = np.searchsorted(groups, np.arange(self.n_groups + 1))
        return [(positives[a:b], negatives[a:b]) for a, b in pairwise(edges.tolist())]


def _round_to_grid(scores: Array) -> Array:
    rounded: Array = np.floor(scores * GRID) / GRID
    return rounded


def _join_equal(
    blocks: list[tuple[Array, Array, Array, Array]],
) -> tuple[Array, Array, Array, Array]:
    groups, scores, positives, negatives = map(np.concatenate, zip(*blocks, strict=True))
    order = np.lexsort((scores, groups))
    groups, scores = groups[order], scores[order]
    is_first = np.ones(len(groups), dtype=bool)
    is_first[1:] = (groups[1:] != groups[:-1]) | (scores[1:] != scores[:-1])
    starts = np.flatnonzero(is_first)
    if not len(starts):
        return groups, scores, positives, negatives
    return (
        groups[starts],
        scores[starts],
        np.add.reduceat(positives[order], starts),
        np.add.reduceat(negatives[order], starts),
    )


class PositiveSums:
    """Sums of the scores of the positive class over the rows of each group.

    Args:
        n_groups: The number M of groups.

    Attributes:
        n: The number of rows by group, int64 ``(M,)``.
        counts: The rows at each score.
    """

    def __init__(self, n_groups: int) -> None:
        self.n = np.zeros(n_groups, np.int64)
        self.counts = ScoreCounts(n_groups)
        # Sums of w, w^2, w d, w^2 d, w^2 d^2 with d = score minus label, and of w and w^2 by label.
        self._moments = np.zeros((n_groups, 5))
        self._weights = np.zeros((n_groups, 2, 2))  # group x label x (w, w^2)
        # Sums of w d, w, w^2 and w times score in each bin of the score.
        self._bins = np.zeros((n_groups, BINS, 4))

    def add(self, groups: Array, scores: Array, is_positive: Array, weights: Array | None) -> None:
        """Add rows.

        Args:
            groups: int ``(N,)`` in 0..M-1.
            scores: float64 ``(N,)`` in 0..1, the scores of the positive class.
            is_positive: bool ``(N,)``, whether the label is the positive class.
            weights: float64 ``(N,)``, None for weights of 1.
        """
        n_groups = len(self.n)
        w = np.ones(len(groups)) if weights is None else weights
        d = scores - is_positive
        self.n += np.bincount(groups, minlength=n_groups)
        for k, values in enumerate((w, w * w, w * d, w * w * d, w * w * d * d)):
            self._moments[:, k] += np.bincount(groups, values, n_groups)
        label_cell = groups * 2 + is_positive
        for k, values in enumerate((w, w * w)):
            self._weights[:, :, k] += np.bincount(label_cell, values, 2 * n_groups).reshape(-1, 2)
        bins = np.searchsorted(np.arange(1, BINS) / BINS, scores, side="left")
        cells = groups * BINS + bins
        for k, values in enumerate((w * d, w, w * w, w * scores)):
            self._bins[..., k] += np.bincount(cells, values, n_groups * BINS).reshape(-1, BINS)
        self.counts.add(
            groups, scores, np.where(is_positive, w, 0.0), np.where(is_positive, 0.0, w)
        )

    def merge(self, target: Array, n_groups: int) -> PositiveSums:
        """Return the sums by other groups: group m goes to group ``target[m]``."""
        merged = PositiveSums(n_groups)
        merged.n = add_by_index(self.n, target, n_groups)
        merged.counts = self.counts.merge(target, n_groups)
        merged._moments = add_by_index(self._moments, target, n_groups)
        merged._weights = add_by_index(self._weights, target, n_groups)
        merged._bins = add_by_index(self._bins, target, n_groups)
        return merged

    def measure(self) -> list[dict[str, Metric]]:
        """Return the metrics of ``POSITIVE_METRICS`` and ``POSITIVE_IF_CALIBRATED`` of each group."""
        areas = self.counts.by_group()
        return [self._measure_group(m, *areas[m]) for m in range(len(self.n))]

    def _measure_group(self, m: int, positives: Array, negatives: Array) -> dict[str, Metric]:
        n = int(self.n[m])
        if n == 0:
            return dict.fromkeys((*POSITIVE_METRICS, POSITIVE_IF_CALIBRATED), UNDEFINED)
        negative, positive = (
            float(divide(np.asarray(w * w), np.asarray(w2))) for w, w2 in self._weights[m]
        )
        area = roc_area(positives, negatives, effective=(positive, negative))
        gaps, weights, squares, scores = self._bins[m].T
        error = float(np.abs(gaps).sum() / weights.sum())
        effective = np.nan_to_num(divide(weights * weights, squares))
        chance = expected_error(effective, divide(scores, weights), weights)
        return {
            "auc": _round(area.value, n, area.low, area.high),
            "calibration_in_the_large": _round(*self._mean_gap(m)),
            "positive_calibration_error": _round(error, n),
            POSITIVE_IF_CALIBRATED: _round(float(chance), n),
        }

    def _mean_gap(self, m: int) -> tuple[float, int, float, float]:
        """Return the mean score minus the rate of the positive class, n, and the interval.

        The interval is Student's with the variance of score minus label. In small groups (below 30 rows of
        effective size, or 5 of a label) it is at least as wide as Wilson's interval of the observed rate.
        """
        from scipy import stats

        w, w2, wd, w2d, w2dd = self._moments[m]
        mean, effective = wd / w, w * w / w2
        rate = self._weights[m, 1, 0] / w
        low = high = float("nan")
        if effective > 1:
            variance = max(w2dd - 2 * mean * w2d + mean * mean * w2, 0.0) / (w * w)
            spread = np.sqrt(variance * effective / (effective - 1))
            radius = float(stats.t.ppf(0.975, effective - 1)) * spread
            low, high = mean - radius, mean + radius
        if effective < _MIN_NORMAL or effective * min(rate, 1 - rate) < 5:
            rate_low, rate_high = wilson(rate * effective, effective)
            low, high = (
                np.fmin(low, mean - (float(rate_high) - rate)),
                np.fmax(high, mean + (rate - float(rate_low))),
            )
        return float(mean), int(self.n[m]), max(float(low), -1.0), min(float(high), 1.0)


def _round(value: float, n: int, low: float = float("nan"), high: float = float("nan")) -> Metric:
    numbers = [
        None if not np.isfinite(number) else round(float(number), _DIGITS)
        for number in (value, low, high)
    ]
    return Metric(numbers[0], n, numbers[1], numbers[2])
