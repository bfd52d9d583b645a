"""Numeric bias columns in bins: the half-open intervals between given edges."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np

from biascon.auditing.rows.value_forms import is_number
from biascon.data.values import CodedColumn
from biascon.errors import DataError
from biascon.utils.text import quote_some

_MANY_NUMBERS = 20  # groups of a numeric column above which a note names the bins


def suggest_bins(name: str, values: Collection[str]) -> list[str]:
    """Return a note about a column without bins that has more than 20 values, all of them numbers.

    Args:
        name: The name of the column.
        values: Its different values.
    """
    if len(values) <= _MANY_NUMBERS or not all(map(is_number, values)):
        return []
    return [
        f"'{name}' has {len(values):,} different numbers, each a group of its own: --bins "
        f"{name}=EDGE,EDGE,... (bins=) makes ranges of them, --min-group N (min_group=) leaves small groups "
        "out of the comparisons"
    ]


class BinnedColumn:
    """A numeric column whose values are replaced by the names of bins.

    The bins of the edges 0, 18 and 40 are ``[0, 18)`` and ``[18, 40]``. Values outside are in bins of their
    own, ``< 0`` and ``> 40``. A missing value stays missing.

    Args:
        name: The name of the column.
        edges: Two or more increasing numbers.

    Attributes:
        names: The names of all bins in order, with the two bins outside.
        n_outside: The number of rows below the first edge or above the last one.
    """

    def __init__(self, name: str, edges: Sequence[float]) -> None:
        self.name = name
        self.edges = np.asarray(edges, dtype=np.float64)
        texts = [f"{edge:.15g}" for edge in edges]
        inner = [f"[{low}, {high})" for low, high in pairwise(texts)]
        inner[-1] = f"{inner[-1][:-1]}]"
        self.names = [f"< {texts[0]}", *inner, f"> {texts[-1]}"]
        self.n_outside = 0
        self._n_invalid = 0
        self._invalid: dict[str, None] = {}

    def convert(self, column: CodedColumn) -> CodedColumn:
        """Return the same rows with the names of their bins; ``check`` reports values that are no numbers."""
        size = len(self.names)
        bins = [self._find(text) for text in column.texts]
        words = {size + i: word for i, word in enumerate(column.words.values())}
        positions = bins.copy()  # of the bin, or of the word that stands for a missing value
        for i, k in enumerate(column.words):
            positions[k] = size + i
        codes = np.array([*positions, -1], dtype=np.int64)[column.codes]
        self.n_outside += int(((codes == 0) | (codes == size - 1)).sum())
        invalid = [
            k for k, (text, bin_) in enumerate(zip(column.texts, bins, strict=True))
            if text is not None and bin_ < 0
        ]  # fmt: skip
        if invalid:
            self._n_invalid += int(np.isin(column.codes, invalid).sum())
            self._invalid |= dict.fromkeys(str(column.texts[k]) for k in invalid)
        return CodedColumn(codes, [*self.names, *[None] * len(words)], words)

    def _find(self, text: str | None) -> int:
        """Return the position of the bin of a value, -1 for a missing value or for no number."""
        try:
            number = math.nan if text is None else float(text)
        except ValueError:
            return -1
        if math.isnan(number):
            return -1
        if number == self.edges[-1]:
            return len(self.names) - 2
        return int(np.searchsorted(self.edges, number, side="right"))

    def check(self, prefix: str) -> list[str]:
        """Return a note about rows outside the edges.

        Args:
            prefix: The start of the error message.

        Raises:
            DataError: Values are no numbers.
        """
        if self._n_invalid:
            raise DataError(
                f"{prefix}expected numbers in '{self.name}', which has bins, but {self._n_invalid:,} rows "
                f"have other values: {quote_some(self._invalid)}"
            )
        if not self.n_outside:
            return []
        subject = "rows are outside the bins and are groups of their own"
        if self.n_outside == 1:
            subject = "row is outside the bins; such rows are groups of their own"
        return [
            f"'{self.name}': {self.n_outside:,} {subject}, '{self.names[0]}' and '{self.names[-1]}'"
        ]
