"""Calibration of an audit's scores, from a second pass over the rows once classes and groups are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from biascon.auditing.row_counts import RowCounts
from biascon.auditing.score_checks import check_one_score, explain_scores, score_notes
from biascon.data.values import CodedColumn
from biascon.errors import UsageError
from biascon.metrics import calibration
from biascon.metrics.records import Metric
from biascon.metrics.summary import finite_or_none
from biascon.utils.text import quote_some
from biascon.utils.types import Array

CALIBRATION_METRICS = ("calibration_error", "brier")
_DIGITS = 9  # the last digits of a sum of floats depend on how the rows are cut into parts


class ScoreSums:
    """Sums of scores over the rows of each group; calibration error and Brier score follow from them.

    Args:
        counts: The counts of the same rows.
        n_scores: The number of scores of a row: one for each class in order, or one for one of two classes.
        positive: The class of a single score. None for the second of two classes.

    Attributes:
        groups: The M combinations of bias values.
        n_missing: The number of complete rows without a score.
        n_other: The number of rows in which another class than the predicted one has the highest score.

    Raises:
        UsageError: ``n_scores`` does not fit the classes, or ``positive`` is none of them.
    """

    def __init__(self, counts: RowCounts, n_scores: int, positive: str | None = None) -> None:
        classes = counts.classes
        if n_scores != len(classes) and (n_scores, len(classes)) != (1, 2):
            raise UsageError(
                f"expected one score for each of the {len(classes):,} classes {quote_some(classes)}, or one "
                f"for the second of two, but got {n_scores:,}"
            )
        self.groups = counts.groups(range(counts.n_bias))
        self.n_missing = 0
        self.n_other = 0
        self._counts = counts
        self._classes = classes
        self._class_index = {text: k for k, text in enumerate(classes)}
        self._has_positive = positive is not None
        self._scored: str | None = None
        if n_scores == 1 and len(classes) == 2:
            self._scored = classes[1] if positive is None else positive
            if self._scored not in classes:
                raise UsageError(
                    f"expected the positive class to be one of {quote_some(classes)}, but got '{positive}'"
                )
        self._group_index = {group: m for m, group in enumerate(self.groups)}
        self._sums = calibration.CalibrationSums.empty(len(self.groups))

    def add(self, columns: Sequence[CodedColumn], scores: Array) -> None:
        """Add rows to the sums.

        Args:
            columns: The columns in the order label, bias ..., prediction, each with N rows.
            scores: float64 ``(N, S)``, NaN where a score is missing.

        Raises:
            UsageError: Scores outside 0..1, or scores of a row that do not sum to 1.
        """
        label, *bias, prediction = columns
        labels, predictions = self._class_indices(label), self._class_indices(prediction)
        groups = self._group_indices(bias)
        is_complete = (labels >= 0) & (predictions >= 0) & (groups >= 0)
        has_scores = ~np.isnan(scores).any(axis=1)
        self.n_missing += int((is_complete & ~has_scores).sum())
        keep = is_complete & has_scores
        scores = scores[keep]
        predicted = predictions[keep]
        if self._scored is not None:
            check_one_score(scores)
            pair = [1.0 - scores, scores]
            scores = np.concatenate(pair if self._class_index[self._scored] else pair[::-1], axis=1)
        try:
            self._sums += calibration.sum_scores(
                labels[keep], groups[keep], scores, n_bias=len(self.groups), predictions=predicted
            )
        except UsageError as error:
            raise UsageError(f"{error}{explain_scores(scores)}") from error
        if len(scores):
            of_prediction = np.take_along_axis(scores, predicted[:, None], axis=1)[:, 0]
            self.n_other += int((of_prediction < scores.max(axis=1)).sum())

    def notes(self) -> list[str]:
        """Return which class a single score is of, and how often scores and predictions differ."""
        return score_notes(
            self._classes,
            scored_class=self._scored,
            is_positive=self._has_positive,
            n_rows=int(self._sums.rows.sum()),
            n_other=self.n_other,
        )

    def _class_indices(self, column: CodedColumn) -> Array:
        """Return the class of each row, -1 where the value is missing or no class."""
        indices = [
            -1 if text is None else self._class_index.get(self._counts.class_name(text), -1)
            for text in column.texts
        ]
        return np.array([*indices, -1], dtype=np.int64)[column.codes]

    def _group_indices(self, columns: Sequence[CodedColumn]) -> Array:
        """Return the group of each row, -1 where a value is missing or the combination is no group."""
        shape = tuple(len(column.texts) + 1 for column in columns)
        codes = [np.where(c.codes < 0, len(c.texts), c.codes).astype(np.int64) for c in columns]
        keys, inverse = np.unique(np.ravel_multi_index(codes, shape), return_inverse=True)
        texts = [[*column.texts, None] for column in columns]
        combinations = [
            tuple(values[code] for values, code in zip(texts, key, strict=True))
            for key in zip(*(part.tolist() for part in np.unravel_index(keys, shape)), strict=True)
        ]
        indices = [self._group_index.get(combination, -1) for combination in combinations]
        return np.array(indices, dtype=np.int64)[inverse]

    def by_columns(
        self, columns: Sequence[int], groups: Sequence[tuple[str, ...]]
    ) -> calibration.CalibrationSums:
        """Return the sums by the groups of some of the bias columns.

        Args:
            columns: The positions of the bias columns, from 0.
            groups: The combinations of their values.
        """
        index = {group: m for m, group in enumerate(groups)}
        target = np.array([index[tuple(group[k] for k in columns)] for group in self.groups])
        parts = []
        for sums in (self._sums.n, self._sums.confidence, self._sums.correct, self._sums.squares):
            part = np.zeros((len(groups), *sums.shape[1:]), sums.dtype)
            np.add.at(part, target, sums)
            parts.append(part)
        return calibration.CalibrationSums(*parts)


def calibration_metrics(
    sums: calibration.CalibrationSums | None, n_groups: int
) -> tuple[dict[str, Metric], list[dict[str, Metric]]]:
    """Return calibration error and Brier score over all rows, and the same for each group.

    Args:
        sums: The sums of scores by group, None without scores: the metrics are then undefined, with n = 0.
        n_groups: The number M of groups.
    """
    if sums is None:
        sums = calibration.CalibrationSums.empty(n_groups)
    return _metrics_by_row(sums.overall())[0], _metrics_by_row(sums)


def _metrics_by_row(sums: calibration.CalibrationSums) -> list[dict[str, Metric]]:
    values = zip(calibration.ece(sums), calibration.brier(sums), sums.rows, strict=True)
    return [
        {
            name: Metric(finite_or_none(round(float(value), _DIGITS)), int(n))
            for name, value in zip(CALIBRATION_METRICS, pair, strict=True)
        }
        for *pair, n in values
    ]


def sum_all_scores(
    counts: RowCounts,
    parts: Iterable[tuple[Sequence[CodedColumn], Array]],
    positive: str | None = None,
) -> ScoreSums:
    """Return the sums over all rows.

    Args:
        counts: The counts of the same rows.
        parts: The rows in parts: columns as for ``ScoreSums.add``, and scores ``(N, S)``.
        positive: The class of a single score. None for the second of two classes.

    Raises:
        UsageError: The scores do not fit the classes or are no probabilities, or there are no rows.
    """
    sums = None
    for columns, scores in parts:
        sums = sums or ScoreSums(counts, scores.shape[1], positive)
        sums.add(columns, scores)
    if sums is None:
        raise UsageError("expected scores, but got no rows")
    return sums


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
