"""The second pass over the rows, once classes and groups are known: scores, weights, a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biascon.auditing.rows.baseline_rows import BaselineRows
from biascon.auditing.rows.calibration import ScoreSums
from biascon.auditing.rows.positive_scores import PositiveSums
from biascon.auditing.rows.row_counts import RowCounts
from biascon.auditing.rows.row_index import RowIndexer, add_by_index
from biascon.data.values import CodedColumn
from biascon.errors import UsageError
from biascon.utils.types import Array


@dataclass(frozen=True, eq=False)
class RowPart:
    """A part of the rows.

    Attributes:
        columns: The columns in the order label, bias ..., prediction, each with N rows.
        scores: float64 ``(N, S)``, NaN where a score is missing; None without scores.
        weights: float64 ``(N,)``, NaN where a weight is missing; None without weights.
        baseline: The predictions of the baseline, None without one.
    """

    columns: Sequence[CodedColumn]
    scores: Array | None = None
    weights: Array | None = None
    baseline: CodedColumn | None = None


class RowSums:
    """Sums over all rows by group; each is None without its column.

    Args:
        counts: The counts of the same rows.
        positive: The index of the positive class, None without one.
        n_scores: The number of scores of a row, 0 without scores.
        has_weights: Whether the rows have weights.
        baseline_name: The name of the column of the baseline, None without one.
        is_chosen: Whether the positive class was chosen by the user.

    Attributes:
        scores: The sums of scores.
        positive: The sums of the scores of the positive class.
        weights: The sums of the weights, float64 ``(K, M, K)``: label x group x prediction.
        squares: The sums of the squared weights, of the same shape.
        baseline: int64 ``(M, 2, 2, 2)``: group x (label is the positive class) x (the prediction is right) x
            (the baseline is right).
        n_missing_scores: The number of complete rows without a score.
        n_missing_baseline: The number of complete rows without a prediction of the baseline.
        notes: Notes about the predictions of the baseline.

    Raises:
        UsageError: The number of scores does not fit the classes.
    """

    def __init__(
        self,
        counts: RowCounts,
        positive: int | None,
        *,
        n_scores: int,
        has_weights: bool,
        baseline_name: str | None,
        is_chosen: bool = False,
    ) -> None:
        self._index = RowIndexer(counts)
        self._positive_class = positive
        n_classes, n_groups = len(self._index.classes), len(self._index.groups)
        self.scores = None
        if n_scores:
            names = set(counts.labels)
            self.scores = ScoreSums(
                self._index.classes,
                n_groups,
                n_scores,
                positive,
                labels=[k for k, name in enumerate(self._index.classes) if name in names],
                is_chosen=is_chosen,
            )
        self.positive = PositiveSums(n_groups) if n_scores and positive is not None else None
        shape = (n_classes, n_groups, n_classes)
        self.weights = np.zeros(shape) if has_weights else None
        self.squares = np.zeros(shape) if has_weights else None
        self.baseline: Array | None = None
        self._baseline_rows = None
        if baseline_name is not None:
            label = counts.names[0]
            self._baseline_rows = BaselineRows(self._index.classes, n_groups, label, baseline_name)
        self.n_missing_scores = self.n_missing_baseline = 0
        self.notes: list[str] = []

    def add(self, part: RowPart) -> None:
        """Add rows to the sums.

        Raises:
            UsageError: Scores are no probabilities, or a weight is negative or infinite.
            DataError: The baseline has too many different values.
        """
        label, *bias, prediction = part.columns
        labels, predictions = (self._index.find_classes(c) for c in (label, prediction))
        groups = self._index.find_groups(bias)
        keep = (labels >= 0) & (predictions >= 0) & (groups >= 0)
        if part.weights is not None:
            keep &= ~np.isnan(part.weights)
        labels, predictions, groups = labels[keep], predictions[keep], groups[keep]
        weights = None if part.weights is None else _check_weights(part.weights[keep])
        if weights is not None:
            self._add_weights(labels, groups, predictions, weights)
        if self.scores is not None and part.scores is not None:
            scores = part.scores[keep]
            has_scores = ~np.isnan(scores).any(axis=1)
            self.n_missing_scores += int((~has_scores).sum())
            rows = (labels[has_scores], groups[has_scores], predictions[has_scores])
            full = self.scores.add(*rows, scores[has_scores])
            if self.positive is not None and self._positive_class is not None:
                self.positive.add(
                    rows[1],
                    full[:, self._positive_class],
                    rows[0] == self._positive_class,
                    None if weights is None else weights[has_scores],
                )
        if self._baseline_rows is not None and part.baseline is not None:
            self._baseline_rows.add(
                labels, groups, predictions == labels, self._index.select(part.baseline, keep)
            )

    def _add_weights(
        self, labels: Array, groups: Array, predictions: Array, weights: Array
    ) -> None:
        assert self.weights is not None and self.squares is not None
        cells = np.ravel_multi_index((labels, groups, predictions), self.weights.shape)
        for total, values in ((self.weights, weights), (self.squares, weights * weights)):
            total += np.bincount(cells, values, total.size).reshape(total.shape)

    def finish(self) -> None:
        """Count the predictions of the baseline, and check the sums over all rows.

        Raises:
            UsageError: The weights of all rows are 0.
            DataError: Label and baseline write their classes in different ways.
        """
        if self._baseline_rows is not None:
            self.n_missing_baseline = self._baseline_rows.n_missing
            self.baseline, notes = self._baseline_rows.count(self._positive_class)
            self.notes += notes
        if self.weights is not None and self.weights.sum() <= 0:
            raise UsageError("expected weights above 0, but the weights of all rows are 0")

    def by_columns(self, columns: Sequence[int], groups: Sequence[tuple[str, ...]]) -> RowSums:
        """Return the sums by the groups of some of the bias columns.

        Args:
            columns: The positions of the bias columns, from 0.
            groups: The combinations of their values.
        """
        target, size = self._index.merge_groups(columns, groups), len(groups)
        merged = object.__new__(RowSums)
        merged.__dict__.update(self.__dict__)
        merged.scores = None if self.scores is None else self.scores.merge(target, size)
        merged.positive = None if self.positive is None else self.positive.merge(target, size)
        for name, axis in (("weights", 1), ("squares", 1), ("baseline", 0)):
            values = getattr(self, name)
            if values is not None:
                setattr(merged, name, add_by_index(values, target, size, axis))
        return merged


def _check_weights(weights: Array) -> Array:
    is_valid = np.isfinite(weights) & (weights >= 0)
    if not is_valid.all():
        invalid = weights[~is_valid]
        raise UsageError(
            f"expected weights of at least 0, but {len(invalid):,} of {len(weights):,} rows have others, "
            f"such as {invalid[0]:g}"
        )
    return weights
