"""The class and the group of each row, once the classes and the groups of all rows are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biascon.auditing.rows.row_counts import RowCounts
from biascon.data.values import CodedColumn
from biascon.utils.types import Array


class RowIndexer:
    """Positions of rows among the classes and the groups of counted rows.

    Args:
        counts: The counts of the same rows.

    Attributes:
        classes: The K classes.
        groups: The M combinations of the values of all bias columns.
    """

    def __init__(self, counts: RowCounts) -> None:
        self.classes = counts.classes
        self.groups = counts.groups(range(counts.n_bias))
        self._counts = counts
        self._class_index = {text: k for k, text in enumerate(self.classes)}
        self._group_index = {group: m for m, group in enumerate(self.groups)}

    def find_classes(self, column: CodedColumn) -> Array:
        """Return the class of each row, int64 ``(N,)``; -1 where the value is missing or no class."""
        indices = [
            -1 if text is None else self._class_index.get(self._counts.class_name(text), -1)
            for text in column.texts
        ]
        return np.array([*indices, -1], dtype=np.int64)[column.codes]

    def select(self, column: CodedColumn, keep: Array) -> CodedColumn:
        """Return some rows of a column, with the values as ``find_classes`` takes them.

        Args:
            column: N rows.
            keep: bool ``(N,)``.
        """
        texts = [None if t is None else self._counts.class_name(t) for t in column.texts]
        return CodedColumn(column.codes[keep], texts)

    def find_groups(self, columns: Sequence[CodedColumn]) -> Array:
        """Return the group of each row, int64 ``(N,)``; -1 where a value is missing or it is no group."""
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

    def merge_groups(self, columns: Sequence[int], groups: Sequence[tuple[str, ...]]) -> Array:
        """Return the group by some of the bias columns of each group by all of them, int64 ``(M,)``.

        Args:
            columns: The positions of the bias columns, from 0.
            groups: The combinations of their values.
        """
        index = {group: m for m, group in enumerate(groups)}
        return np.array([index[tuple(group[k] for k in columns)] for group in self.groups])


def add_by_index(values: Array, index: Array, size: int, axis: int = 0) -> Array:
    """Return sums of the entries along an axis that have the same index.

    Args:
        values: Numbers of any shape.
        index: int ``(M,)`` in 0..size-1, for the M entries of the axis.
        size: The length of the axis in the result.
        axis: The axis.
    """
    moved = np.moveaxis(values, axis, 0)
    total = np.zeros((size, *moved.shape[1:]), values.dtype)
    np.add.at(total, index, moved)
    return np.moveaxis(total, 0, axis)
