"""Calibration of an audit's scores: a second pass over the rows, when classes and groups are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from biascon.auditing.row_counts import RowCounts
from biascon.data.values import CodedColumn
from biascon.errors import DataError, UsageError
from biascon.metrics import calibration
from biascon.metrics.summary import finite_or_none
from biascon.utils.text import quote_some
from biascon.utils.types import Array

NAMES = ("calibration_error", "brier")
_DIGITS = 9  # sums of floats depend on the parts in their last digits


class ScoreSums:
    """Sums over rows by group, from which come calibration error and Brier score.

    Args:
        tally: The counts of the same rows.
        n_scores: How many scores a row has: one for each class, in order, or one for the second of two.

    Raises:
        UsageError: Another number.
    """

    def __init__(self, tally: RowCounts, n_scores: int) -> None:
        classes = tally.classes
        if n_scores != len(classes) and (n_scores, len(classes)) != (1, 2):
            raise UsageError(
                f"expected one score for each of the {len(classes):,} classes {quote_some(classes)}, or one for the "
                f"second of two, but got {n_scores:,}"
            )
        self.tally = tally
        self.columns = range(tally.n_bias)
        self.groups = tally.groups(self.columns)
        self._class_at = {text: k for k, text in enumerate(classes)}
        self._group_at = {group: m for m, group in enumerate(self.groups)}
        self.sums = calibration.CalibrationSums.empty(len(self.groups))
        self.lacking = 0  # complete rows without a score

    def add(self, columns: Sequence[CodedColumn], scores: Array) -> None:
        """Sum rows: columns as for the tally, and their scores ``(N, S)``.

        Raises:
            UsageError: Scores that are no probabilities.
        """
        keep = np.ones(len(scores), dtype=bool)
        ends = [self._classes(columns[0]), self._classes(columns[-1])]
        group, several = self._group(columns[1:-1])
        for index in (*ends, group):
            keep &= index >= 0
        scored = ~np.isnan(scores).any(axis=1)
        self.lacking += int((keep & ~scored).sum())
        keep &= scored
        scores = scores[keep]
        if scores.shape[1] == 1 and len(self._class_at) == 2:
            scores = np.concatenate([1.0 - scores, scores], axis=1)
        self.sums += calibration.sum_scores(
            ends[0][keep], group[keep], scores, n_bias=several, predictions=ends[1][keep]
        )

    def _classes(self, column: CodedColumn) -> Array:
        at = [self._class_at[self.tally.renamed(t)] if t is not None and self.tally.renamed(t) in
              self._class_at else -1 for t in column.texts]  # fmt: skip
        return np.array([*at, -1], dtype=np.int64)[column.codes]

    def _group(self, columns: Sequence[CodedColumn]) -> tuple[Array, int]:
        shape = tuple(len(column.texts) + 1 for column in columns)
        codes = [np.where(c.codes < 0, len(c.texts), c.codes).astype(np.int64) for c in columns]
        flat = np.ravel_multi_index(codes, shape)
        keys, inverse = np.unique(flat, return_inverse=True)
        texts = [[*column.texts, None] for column in columns]
        found = [
            tuple(text[code] for text, code in zip(texts, key, strict=True))
            for key in zip(*(part.tolist() for part in np.unravel_index(keys, shape)), strict=True)
        ]
        at = np.array([self._group_at.get(key, -1) for key in found], dtype=np.int64)
        return at[inverse], len(self.groups)

    def by(
        self, columns: Sequence[int], groups: Sequence[tuple[str, ...]]
    ) -> calibration.CalibrationSums:
        """Return the sums by the groups of some of the bias columns."""
        at = {group: m for m, group in enumerate(groups)}
        to = np.array([at[tuple(group[k] for k in columns)] for group in self.groups])
        parts = []
        for joint in (self.sums.n, self.sums.confidence, self.sums.correct, self.sums.squares):
            part = np.zeros((len(groups), *joint.shape[1:]), joint.dtype)
            np.add.at(part, to, joint)
            parts.append(part)
        return calibration.CalibrationSums(*parts)


def calibration_metrics(
    sums: calibration.CalibrationSums | None, n_groups: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return calibration error and Brier score over all rows, and by group; None of 0 rows without scores."""
    if sums is None:
        sums = calibration.CalibrationSums.empty(n_groups)

    def told(part: calibration.CalibrationSums) -> list[dict[str, Any]]:
        values = zip(calibration.ece(part), calibration.brier(part), part.rows, strict=True)
        return [
            {
                name: {"value": finite_or_none(round(float(v), _DIGITS)), "n": int(n), "ci": [None, None]}
                for name, v in zip(NAMES, pair, strict=True)
            }
            for *pair, n in values
        ]  # fmt: skip

    (overall,) = told(sums.overall())
    return overall, told(sums)


def sum_all_scores(
    tally: RowCounts, parts: Iterable[tuple[Sequence[CodedColumn], Array]]
) -> ScoreSums:
    """Return the sums over all rows, given in parts: columns as for the tally, and scores ``(N, S)``.

    Raises:
        UsageError: As ``Calibration`` and its ``add``.
    """
    found = None
    for columns, scores in parts:
        found = found or ScoreSums(tally, scores.shape[1])
        found.add(columns, scores)
    if found is None:
        raise UsageError("expected scores, but got no rows")
    return found


def missing_score_notes(calibrated: ScoreSums, where: str, *, drop_missing: bool) -> list[str]:
    """Return what to tell of rows without scores.

    Raises:
        DataError: There are some, and they are not to be left out.
    """
    if not calibrated.lacking:
        return []
    told = f"{calibrated.lacking:,} of {calibrated.tally.counted:,} rows lack a score"
    if not drop_missing:
        raise DataError(
            f"{where}{told}; --drop-missing (drop_missing=True) leaves them out of the calibration"
        )
    return [f"left out of the calibration: {told}"]


def score_matrix(scores: Any, n: int) -> Array:
    """Return scores ``(N,)`` or ``(N, S)`` as float64 ``(N, S)``.

    Raises:
        UsageError: Another shape, or no numbers.
    """
    if isinstance(scores, Mapping):
        columns = [np.asarray(column) for column in scores.values()]
        shapes = sorted({column.shape for column in columns})
        if shapes != [(n,)]:
            raise UsageError(f"expected columns of scores of shape ({n},), but got {shapes}")
        scores = np.stack(columns, axis=-1)
    try:
        found = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected scores to be numbers, but got others ({error})") from error
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or len(found) != n:
        raise UsageError(f"expected scores of shape ({n},) or ({n}, K), but got {found.shape}")
    return found
