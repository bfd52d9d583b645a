"""Counts of the combinations (label, bias, ..., prediction) of rows, which are added in parts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from biascon.auditing.rows.value_forms import is_fraction
from biascon.data.values import CodedColumn, sort_values
from biascon.errors import DataError
from biascon.utils.types import Array

MAX_CLASSES = 1_000
MAX_GROUPS = 10_000
MAX_CELLS = 10_000_000  # of a table label x group x prediction: 80 MB
MAX_COMBINATIONS = 1_000_000  # different rows, over all columns
_MAX_DENSE = 1 << 20  # possible combinations up to which counting uses one array
_SCORE_HINT = (
    " Pass the predicted class, such as score > 0.5 (logits: score > 0), and the score by --scores "
    "(scores=)"
)
_BOOLEANS = {"True": "1", "False": "0"}


class RowCounts:
    """Counts of rows by the values of their columns: a label, one or more bias columns, a prediction.

    Memory grows with the number of different rows, not with the number of rows. The counts do not depend on
    the order of the rows or on the parts that they were added in.

    Args:
        label: The name of the label column.
        bias: The names of the bias columns.
        prediction: The name of the prediction column.
        weight: The name of the column of weights, None without one.

    Attributes:
        names: The names of all columns: label, bias ..., prediction.
        bias: The names of the bias columns.
        weight: The name of the column of weights, None without one.
        n_missing_weights: The number of rows that lack a weight.
        n_rows: The number of rows.
        n_incomplete: The number of rows that lack a value. These rows are not counted.
        first_incomplete: The first row that lacks a value, from 1; None if every row is complete.
        n_missing: The number of missing values of each column.
        missing_words: The number of missing values of each column by the word that stood for them.
        bias_order: The values in order of the bias columns (by position) that have an order of their own.
    """

    def __init__(
        self, label: str, bias: Sequence[str], prediction: str, weight: str | None = None
    ) -> None:
        self.names = [label, *bias, prediction]
        self.bias = list(bias)
        self.weight = weight
        self.n_missing_weights = 0
        self.n_rows = 0
        self.n_incomplete = 0
        self.first_incomplete: int | None = None
        self.n_missing = [0] * len(self.names)
        self.missing_words: list[Counter[str]] = [Counter() for _ in self.names]
        self.bias_order: dict[int, Sequence[str]] = {}
        classes: dict[str, int] = {}  # label and prediction share one dictionary
        self._ids: list[dict[str, int]] = [classes, *({} for _ in bias), classes]
        self._counts: dict[tuple[int, ...], int] = {}  # combination of ids -> number of rows
        self._booleans: dict[str, str] = {}

    @property
    def n_bias(self) -> int:
        """The number of bias columns."""
        return len(self.bias)

    @property
    def n_complete(self) -> int:
        """The number of rows that have a value in every column."""
        return self.n_rows - self.n_incomplete

    def add(self, columns: Sequence[CodedColumn], weights: Array | None = None) -> None:
        """Add rows to the counts.

        Args:
            columns: The columns in the order label, bias ..., prediction, each with N rows.
            weights: float64 ``(N,)``, NaN for a row that lacks a weight; None without weights.

        Raises:
            DataError: A column has too many different values, or there are too many different rows.
        """
        n = len(columns[0].codes)
        codes = []
        lookups = []
        is_incomplete = np.zeros(n, dtype=bool) if weights is None else np.isnan(weights)
        self.n_missing_weights += int(is_incomplete.sum())
        for k, column in enumerate(columns):
            lookup = np.array([self._id(k, text) for text in column.texts] + [-1], dtype=np.int64)
            code = column.codes
            for position, word in column.words.items():
                self.missing_words[k][word] += int((code == position).sum())
            if (lookup[:-1] < 0).any():
                code = np.where(lookup[code] < 0, -1, code)
            is_missing = code < 0
            if is_missing.any():
                self.n_missing[k] += int(is_missing.sum())
                is_incomplete |= is_missing
            codes.append(code)
            lookups.append(lookup)
        if is_incomplete.any():
            if self.first_incomplete is None:
                self.first_incomplete = self.n_rows + int(np.argmax(is_incomplete)) + 1
            self.n_incomplete += int(is_incomplete.sum())
            codes = [code[~is_incomplete] for code in codes]
        self.n_rows += n
        if len(codes[0]) == 0:
            return
        shape = tuple(len(column.texts) for column in columns)
        for ids, count in zip(*_count_combinations(codes, shape, lookups), strict=True):
            self._counts[ids] = self._counts.get(ids, 0) + count
        if len(self._counts) > MAX_COMBINATIONS:
            raise DataError(
                f"expected at most {MAX_COMBINATIONS:,} different rows, but {', '.join(self.names)} "
                "have more: pass fewer bias columns"
            )

    def _id(self, column: int, text: str | None) -> int:
        """Return the id of a value, a new one for a new value, -1 for a missing one."""
        if text is None:
            return -1
        ids = self._ids[column]
        if text not in ids:
            is_class = column in (0, len(self.names) - 1)
            limit = MAX_CLASSES if is_class else MAX_GROUPS
            if len(ids) == limit:
                kind = "classes" if is_class else "groups"
                subject = (
                    "label and prediction have" if is_class else f"bias '{self.names[column]}' has"
                )
                raise DataError(
                    f"expected at most {limit:,} {kind}, but {subject} more different values, such as "
                    f"'{text}': is '{self.names[column]}' an id, a score or a measurement?"
                    + (_SCORE_HINT if is_class and is_fraction(text) else "")
                )
            ids[text] = len(ids)
        return ids[text]

    def unify_booleans(self) -> list[str]:
        """Treat True as 1 and False as 0 if one of label and prediction has True/False and the other 1/0.

        Returns:
            A note that this was done.
        """
        label, prediction = self._values(0), self._values(-1)
        if not label or label & prediction:
            return []
        for booleans, numbers in ((label, prediction), (prediction, label)):
            if booleans <= set(_BOOLEANS) and numbers <= set(_BOOLEANS.values()):
                new_ids = [self._id(0, _BOOLEANS.get(text, text)) for text in list(self._ids[0])]
                counts: dict[tuple[int, ...], int] = {}
                for ids, count in self._counts.items():
                    key = (new_ids[ids[0]], *ids[1:-1], new_ids[ids[-1]])
                    counts[key] = counts.get(key, 0) + count
                self._counts = counts
                self._booleans = _BOOLEANS
                return ["True and False are taken as 1 and 0"]
        return []

    def pairs(self) -> dict[tuple[str, str], int]:
        """Return the number of complete rows of each (label, prediction)."""
        texts = list(self._ids[0])
        pairs: dict[tuple[str, str], int] = {}
        for ids, count in self._counts.items():
            pair = (texts[ids[0]], texts[ids[-1]])
            pairs[pair] = pairs.get(pair, 0) + count
        return pairs

    def class_name(self, text: str) -> str:
        """Return the class of a value of label or prediction, after ``unify_booleans``."""
        return self._booleans.get(text, text)

    @property
    def classes(self) -> list[str]:
        """The K values of label and prediction in complete rows, in order."""
        return sort_values(self._values(0) | self._values(-1))

    @property
    def labels(self) -> list[str]:
        """The values of the label in complete rows, in order."""
        return sort_values(self._values(0))

    def _values(self, column: int) -> set[str]:
        """Return the values of a column in complete rows."""
        texts = list(self._ids[column])
        return {texts[index] for index in {ids[column] for ids in self._counts}}

    def groups(self, columns: Sequence[int]) -> list[tuple[str, ...]]:
        """Return the combinations of bias values that complete rows have, in order.

        Args:
            columns: The positions of the bias columns, from 0.

        Raises:
            DataError: There are too many combinations.
        """
        texts = [list(self._ids[1 + k]) for k in columns]
        orders = [
            self.bias_order.get(k) or sort_values(column)
            for k, column in zip(columns, texts, strict=True)
        ]
        ranks = [{text: r for r, text in enumerate(order)} for order in orders]
        combinations = {tuple(ids[1 + k] for k in columns) for ids in self._counts}
        if len(combinations) > MAX_GROUPS:
            product = " x ".join(self.bias[k] for k in columns)
            raise DataError(
                f"expected at most {MAX_GROUPS:,} groups, but {product} has {len(combinations):,}: "
                "pass fewer bias columns"
            )
        groups = [
            tuple(column[index] for column, index in zip(texts, ids, strict=True))
            for ids in combinations
        ]
        return sorted(
            groups,
            key=lambda group: [rank[text] for rank, text in zip(ranks, group, strict=True)],
        )

    def table(self, columns: Sequence[int]) -> Array:
        """Return the table of counts int64 ``(K, M, K)``: label x group x prediction.

        Args:
            columns: The positions of the bias columns, from 0. The M groups are ``groups(columns)``.

        Raises:
            DataError: The table would be too large.
        """
        classes, groups = self.classes, self.groups(columns)
        size = len(classes) ** 2 * len(groups)
        if size > MAX_CELLS:
            product = " x ".join(self.bias[k] for k in columns)
            raise DataError(
                f"expected at most {MAX_CELLS:,} cells label x bias x prediction, but {len(classes):,} "
                f"classes and {len(groups):,} groups of {product} make {size:,}"
            )
        class_index = {self._ids[0][text]: k for k, text in enumerate(classes)}
        bias_ids = [self._ids[1 + k] for k in columns]
        group_index = {
            tuple(column[text] for column, text in zip(bias_ids, group, strict=True)): m
            for m, group in enumerate(groups)
        }
        table = np.zeros((len(classes), len(groups), len(classes)), dtype=np.int64)
        for ids, count in self._counts.items():
            group = group_index[tuple(ids[1 + k] for k in columns)]
            table[class_index[ids[0]], group, class_index[ids[-1]]] += count
        return table


def unify_truth_values(known: set[str], values: set[str]) -> dict[str, str]:
    """Return the values by those that they stand for: True for 1 and False for 0, or the reverse.

    Args:
        known: The values of the label.
        values: The values of another column, such as a baseline.

    Returns:
        An empty mapping if the columns have a value in common, or if they have others than these.
    """
    numbers = {number: text for text, number in _BOOLEANS.items()}
    for mapping in (_BOOLEANS, numbers):
        if known and values and values <= set(mapping) and known <= set(mapping.values()):
            return dict(mapping)
    return {}


def _count_combinations(
    codes: Sequence[Array], shape: tuple[int, ...], lookups: Sequence[Array]
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the different rows as ids, and the number of times that each occurs.

    Args:
        codes: The codes of each column, integers ``(N,)``.
        shape: The number of different codes of each column.
        lookups: The id of each code, by column.
    """
    size = math.prod(shape)
    parts: Sequence[Array]
    if size > np.iinfo(np.int64).max:
        combinations, counts = np.unique(np.stack(codes, axis=1), axis=0, return_counts=True)
        parts = tuple(combinations.T)
    else:
        flat = codes[0].astype(np.int64)
        for code, length in zip(codes[1:], shape[1:], strict=True):
            flat *= length
            flat += code
        if size <= _MAX_DENSE:
            counts = np.bincount(flat, minlength=size)
            keys = np.flatnonzero(counts)
            counts = counts[keys]
        else:
            keys, counts = np.unique(flat, return_counts=True)
        parts = np.unravel_index(keys, shape)
    ids = [lookup[part].tolist() for lookup, part in zip(lookups, parts, strict=True)]
    return list(zip(*ids, strict=True)), counts.tolist()
