"""The predictions of a baseline: counts by their text, and a check of their form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biascon.auditing.rows.label_mismatch import check_labels
from biascon.auditing.rows.row_counts import MAX_CLASSES, unify_truth_values
from biascon.auditing.rows.value_forms import is_fraction
from biascon.data.values import CodedColumn
from biascon.errors import DataError
from biascon.utils.types import Array


class BaselineRows:
    """Counts of rows by group, label, whether the prediction is right, and the prediction of the baseline.

    Memory grows with the number of different combinations, not with the number of rows.

    Args:
        classes: The names of the K classes.
        n_groups: The number M of groups.
        label: The name of the label column.
        baseline: The name of the column of the baseline.

    Attributes:
        n_missing: The number of rows without a prediction of the baseline. They are not counted.
    """

    def __init__(self, classes: Sequence[str], n_groups: int, label: str, baseline: str) -> None:
        self._classes = classes
        self._n_groups = n_groups
        self._label = label
        self._baseline = baseline
        self._ids: dict[str, int] = {}
        self._counts: dict[tuple[int, int, int, int], int] = {}
        self.n_missing = 0

    def add(self, labels: Array, groups: Array, is_right: Array, column: CodedColumn) -> None:
        """Add rows.

        Args:
            labels: int64 ``(N,)`` in 0..K-1.
            groups: int64 ``(N,)`` in 0..M-1.
            is_right: bool ``(N,)``, whether the prediction equals the label.
            column: The predictions of the baseline, N rows.

        Raises:
            DataError: The baseline has too many different values.
        """
        lookup = np.array([self._id(text) for text in column.texts] + [-1], dtype=np.int64)
        others = lookup[column.codes]
        has_value = others >= 0
        self.n_missing += int((~has_value).sum())
        if not has_value.any():
            return
        shape = (self._n_groups, len(self._classes), 2, len(self._ids))
        parts = (groups, labels, is_right.astype(np.int64), others)
        flat = np.ravel_multi_index([part[has_value] for part in parts], shape)
        cells, counts = np.unique(flat, return_counts=True)
        keys = [part.tolist() for part in np.unravel_index(cells, shape)]
        for key, n in zip(zip(*keys, strict=True), counts.tolist(), strict=True):
            self._counts[key] = self._counts.get(key, 0) + n

    def _id(self, text: str | None) -> int:
        """Return the id of a value, a new one for a new value, -1 for a missing one."""
        if text is None:
            return -1
        if text not in self._ids and len(self._ids) == MAX_CLASSES:
            hint = (
                "; pass the predicted class, such as score > 0.5 (logits: score > 0)"
                if is_fraction(text)
                else ""
            )
            raise DataError(
                f"expected at most {MAX_CLASSES:,} classes, but the baseline '{self._baseline}' has more "
                f"different values, such as '{text}'{hint}"
            )
        return self._ids.setdefault(text, len(self._ids))

    def count(self, positive: int | None) -> tuple[Array, list[str]]:
        """Return the counts of right rows, and notes about the values.

        True counts as 1 and False as 0 if the label has these numbers, and the reverse.

        Args:
            positive: The index of the positive class, None without one.

        Returns:
            int64 ``(M, 2, 2, 2)``: group x (label is the positive class) x (the prediction is right) x (the
            baseline is right); and notes.

        Raises:
            DataError: Label and baseline write their classes in different ways.
        """
        labels = {self._classes[label] for _, label, _, _ in self._counts}
        texts = list(self._ids)
        unified = unify_truth_values(labels, set(texts))
        names = [unified.get(text, text) for text in texts]
        pairs: dict[tuple[str, str], int] = {}
        table = np.zeros((self._n_groups, 2, 2, 2), dtype=np.int64)
        for (group, label, right, other), n in self._counts.items():
            pair = (self._classes[label], names[other])
            pairs[pair] = pairs.get(pair, 0) + n
            table[group, int(label == positive), right, int(pair[0] == pair[1])] += n
        notes = check_labels(pairs, self._label, self._baseline, is_baseline=True)
        if unified:
            names = [" and ".join(words) for words in (unified, unified.values())]
            notes = [f"baseline '{self._baseline}': {names[0]} are taken as {names[1]}", *notes]
        return table, notes
