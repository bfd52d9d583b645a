"""Scores of an audit: their matrix, and the sums that the calibration of the predicted class needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biascon.auditing.rows.row_index import add_by_index
from biascon.auditing.rows.score_checks import check_one_score, explain_scores, score_notes
from biascon.errors import UsageError
from biascon.metrics import calibration
from biascon.utils.text import quote_some
from biascon.utils.types import Array


class ScoreSums:
    """Sums of scores over the rows of each group; calibration error and Brier score follow from them.

    Args:
        classes: The names of the K classes.
        n_groups: The number M of groups.
        n_scores: The number of scores of a row: one for each class in order, or one for the positive class.
        positive: The index of the positive class, None without one.
        labels: The indices of the classes that are the label of a row; None for all classes. Scores may be
            given for these alone: a class that is only predicted then has a score of 0.
        is_chosen: Whether the positive class was chosen by the user.

    Attributes:
        sums: The sums by group.
        n_other: The number of rows in which another class than the predicted one has the highest score.

    Raises:
        UsageError: ``n_scores`` does not fit the classes.
    """

    def __init__(
        self,
        classes: Sequence[str],
        n_groups: int,
        n_scores: int,
        positive: int | None = None,
        *,
        labels: Sequence[int] | None = None,
        is_chosen: bool = False,
    ) -> None:
        labels = list(range(len(classes))) if labels is None or len(labels) < 2 else list(labels)
        if n_scores not in (len(classes), len(labels)) and (n_scores, len(labels)) != (1, 2):
            raise UsageError(
                f"expected one score for each of the {len(classes):,} classes {quote_some(classes)}, or one "
                f"for the second of two, but got {n_scores:,}"
            )
        self._classes = classes
        self._labels = labels
        self._is_chosen = is_chosen
        self._scored = positive if n_scores == 1 and len(classes) > 1 else None
        self.sums = calibration.CalibrationSums.empty(n_groups)
        self.n_other = 0

    def add(self, labels: Array, groups: Array, predictions: Array, scores: Array) -> Array:
        """Add rows to the sums.

        Args:
            labels: int64 ``(N,)`` in 0..K-1.
            groups: int64 ``(N,)`` in 0..M-1.
            predictions: int64 ``(N,)`` in 0..K-1.
            scores: float64 ``(N, S)``.

        Returns:
            The scores of all classes, float64 ``(N, K)``.

        Raises:
            UsageError: Scores outside 0..1, or scores of a row that do not sum to 1.
        """
        if self._scored is not None:
            check_one_score(scores)
            pair = [1.0 - scores, scores]
            is_second = self._scored == self._labels[1]
            scores = np.concatenate(pair if is_second else pair[::-1], axis=1)
        if scores.shape[1] < len(self._classes):  # a class that is only predicted has no score
            of_labels = scores
            scores = np.zeros((len(scores), len(self._classes)))
            scores[:, self._labels] = of_labels
        try:
            self.sums += calibration.sum_scores(
                labels, groups, scores, n_bias=len(self.sums.rows), predictions=predictions
            )
        except UsageError as error:
            raise UsageError(f"{error}{explain_scores(scores)}") from error
        if len(scores):
            of_prediction = np.take_along_axis(scores, predictions[:, None], axis=1)[:, 0]
            self.n_other += int((of_prediction < scores.max(axis=1)).sum())
        return scores

    def notes(self) -> list[str]:
        """Return which class a single score is of, and how often scores and predictions differ."""
        return score_notes(
            self._classes,
            scored_class=None if self._scored is None else self._classes[self._scored],
            is_positive=self._is_chosen,
            n_rows=int(self.sums.rows.sum()),
            n_other=self.n_other,
        )

    def merge(self, target: Array, n_groups: int) -> ScoreSums:
        """Return the sums by other groups: group m goes to group ``target[m]``."""
        merged = object.__new__(ScoreSums)
        merged.__dict__.update(self.__dict__)
        merged.sums = calibration.CalibrationSums(
            *(
                add_by_index(part, target, n_groups)
                for part in (
                    self.sums.n,
                    self.sums.confidence,
                    self.sums.correct,
                    self.sums.squares,
                )
            )
        )
        return merged


def score_matrix(scores: Any, n: int) -> Array:
    """Return scores as float64 ``(N, S)``.

    Args:
        scores: Numbers ``(N,)`` or ``(N, S)``, or a mapping of S columns ``(N,)``.
        n: The number N of rows.

    Raises:
        UsageError: The scores have another shape or are no numbers.
    """
    if isinstance(scores, Mapping):
        columns = [np.asarray(column) for column in scores.values()]
        shapes = sorted({column.shape for column in columns})
        if shapes != [(n,)]:
            raise UsageError(f"expected columns of scores of shape ({n},), but got {shapes}")
        scores = np.stack(columns, axis=-1)
    try:
        matrix = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"expected scores to be numbers, but got other values ({error})"
        ) from error
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or len(matrix) != n:
        raise UsageError(f"expected scores of shape ({n},) or ({n}, K), but got {matrix.shape}")
    return matrix
