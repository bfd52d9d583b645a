"""Counts of (label, bias, ..., prediction) keyed by value, from rows in any parts and any order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from biascon.data.values import CodedColumn, sort_values
from biascon.errors import DataError
from biascon.utils.text import quote_some
from biascon.utils.types import Array

MAX_CLASSES = 1_000
MAX_GROUPS = 10_000
MAX_CELLS = 10_000_000  # of a dense table label x bias x prediction, 80 MB
MAX_DIFFERENT = 1_000_000  # rows that differ, over all columns
_DENSE = 1 << 20
_TRUTH = {"True": "1", "False": "0"}


class RowCounts:
    """Counts rows by the values of their columns: a label, one or more bias columns, a prediction.

    What it holds grows with the number of different rows, not with the number of rows, and does not depend
    on how the rows were cut into parts.

    Args:
        label: The name of the label column.
        bias: The names of the bias columns.
        prediction: The name of the prediction column.
    """

    def __init__(self, label: str, bias: Sequence[str], prediction: str) -> None:
        self.names = [label, *bias, prediction]
        self.n_bias = len(bias)
        classes: dict[str, int] = {}  # labels and predictions share their values
        self._ids: list[dict[str, int]] = [classes, *({} for _ in bias), classes]
        self._cells: dict[tuple[int, ...], int] = {}
        self._renamed: dict[str, str] = {}
        self.rows = 0
        self.incomplete = 0  # rows that lack a value
        self.first_incomplete: int | None = None
        self.lacking = [0] * len(self.names)  # by column

    @property
    def counted(self) -> int:
        """Rows that have every value."""
        return self.rows - self.incomplete

    def add(self, columns: Sequence[CodedColumn]) -> None:
        """Count rows: the columns in the order label, bias ..., prediction, equally long.

        Raises:
            DataError: A column has too many different values.
        """
        n = len(columns[0].codes)
        codes = []
        lookups = []
        missing = np.zeros(n, dtype=bool)
        for k, column in enumerate(columns):
            lookup = np.array([self._id(k, text) for text in column.texts] + [-1], dtype=np.int64)
            code = column.codes
            if (lookup[:-1] < 0).any():
                code = np.where(lookup[code] < 0, -1, code)
            absent = code < 0
            if absent.any():
                self.lacking[k] += int(absent.sum())
                missing |= absent
            codes.append(code)
            lookups.append(lookup)
        if missing.any():
            if self.first_incomplete is None:
                self.first_incomplete = self.rows + int(np.argmax(missing)) + 1
            self.incomplete += int(missing.sum())
            codes = [code[~missing] for code in codes]
        self.rows += n
        if len(codes[0]) == 0:
            return
        shape = tuple(len(column.texts) for column in columns)
        for key, count in zip(*_cells(codes, shape, lookups), strict=True):
            self._cells[key] = self._cells.get(key, 0) + count
        if len(self._cells) > MAX_DIFFERENT:
            raise DataError(
                f"expected at most {MAX_DIFFERENT:,} different rows, but {', '.join(self.names)} have more: "
                "pass fewer bias columns"
            )

    def _id(self, column: int, text: str | None) -> int:
        if text is None:
            return -1
        ids = self._ids[column]
        if text not in ids:
            classes = column in (0, len(self.names) - 1)
            most = MAX_CLASSES if classes else MAX_GROUPS
            if len(ids) == most:
                what = "label and prediction" if classes else f"bias '{self.names[column]}'"
                kind = "classes" if classes else "groups"
                raise DataError(
                    f"expected at most {most:,} {kind}, but {what} have more different values, such as "
                    f"'{text}': is '{self.names[column]}' an id, a score or a measurement?"
                )
            ids[text] = len(ids)
        return ids[text]

    def unify(self) -> list[str]:
        """Take True and False as 1 and 0 where label or prediction has the ones and the other the others.

        Returns:
            What was done, or what is strange about label and prediction, in words.
        """
        label, prediction = self._present(0), self._present(-1)
        if not label or label & prediction:
            return []
        for truths, numbers in ((label, prediction), (prediction, label)):
            if truths <= set(_TRUTH) and numbers <= set(_TRUTH.values()):
                new = [self._id(0, _TRUTH.get(text, text)) for text in list(self._ids[0])]
                cells: dict[tuple[int, ...], int] = {}
                for cell, count in self._cells.items():
                    key = (new[cell[0]], *cell[1:-1], new[cell[-1]])
                    cells[key] = cells.get(key, 0) + count
                self._cells = cells
                self._renamed = _TRUTH
                return ["True and False are taken as 1 and 0"]
        return [
            f"no row is right: label ({quote_some(sort_values(label))}) and prediction ({quote_some(sort_values(prediction))}) "
            "have no value in common"
        ]

    def renamed(self, text: str) -> str:
        """Return the class that a value of label or prediction is of."""
        return self._renamed.get(text, text)

    @property
    def classes(self) -> list[str]:
        """The values of label and prediction of complete rows, in order."""
        return sort_values(self._present(0) | self._present(-1))

    @property
    def labels(self) -> list[str]:
        """The values of the label alone, in order."""
        return sort_values(self._present(0))

    def _present(self, column: int) -> set[str]:
        names = list(self._ids[column])
        return {names[code] for code in {cell[column] for cell in self._cells}}

    def groups(self, columns: Sequence[int]) -> list[tuple[str, ...]]:
        """Return the combinations of values of bias columns (by position from 0) that rows have, in order.

        Raises:
            DataError: There are too many.
        """
        names = [list(self._ids[1 + k]) for k in columns]
        ranks = [{text: r for r, text in enumerate(sort_values(column))} for column in names]
        found = {tuple(cell[1 + k] for k in columns) for cell in self._cells}
        if len(found) > MAX_GROUPS:
            product = " x ".join(self.names[1 + k] for k in columns)
            raise DataError(
                f"expected at most {MAX_GROUPS:,} groups, but {product} has {len(found):,}: "
                "pass fewer bias columns"
            )
        texts = [
            tuple(name[code] for name, code in zip(names, group, strict=True)) for group in found
        ]
        return sorted(
            texts, key=lambda group: [rank[t] for rank, t in zip(ranks, group, strict=True)]
        )

    def table(self, columns: Sequence[int]) -> Array:
        """Return int64 ``(K, M, K)`` over ``classes`` and ``groups(columns)``.

        Raises:
            DataError: It would be too large.
        """
        classes, groups = self.classes, self.groups(columns)
        size = len(classes) ** 2 * len(groups)
        if size > MAX_CELLS:
            product = " x ".join(self.names[1 + k] for k in columns)
            raise DataError(
                f"expected at most {MAX_CELLS:,} cells label x bias x prediction, but {len(classes):,} "
                f"classes and {len(groups):,} groups of {product} make {size:,}"
            )
        class_at = {self._ids[0][text]: k for k, text in enumerate(classes)}
        ids = [self._ids[1 + k] for k in columns]
        group_at = {
            tuple(column[text] for column, text in zip(ids, group, strict=True)): m
            for m, group in enumerate(groups)
        }
        table = np.zeros((len(classes), len(groups), len(classes)), dtype=np.int64)
        for cell, count in self._cells.items():
            group = group_at[tuple(cell[1 + k] for k in columns)]
            table[class_at[cell[0]], group, class_at[cell[-1]]] += count
        return table


def _cells(
    codes: Sequence[Array], shape: tuple[int, ...], lookups: Sequence[Array]
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the different rows of codes, translated, and how often each occurs."""
    size = math.prod(shape)
    parts: Sequence[Array]
    if size > np.iinfo(np.int64).max:
        found, counts = np.unique(np.stack(codes, axis=1), axis=0, return_counts=True)
        parts = tuple(found.T)
    else:
        flat = codes[0].astype(np.int64)
        for code, length in zip(codes[1:], shape[1:], strict=True):
            flat *= length
            flat += code
        if size <= _DENSE:
            counts = np.bincount(flat, minlength=size)
            keys = np.flatnonzero(counts)
            counts = counts[keys]
        else:
            keys, counts = np.unique(flat, return_counts=True)
        parts = np.unravel_index(keys, shape)
    ids = [lookup[part].tolist() for lookup, part in zip(lookups, parts, strict=True)]
    return list(zip(*ids, strict=True)), counts.tolist()
