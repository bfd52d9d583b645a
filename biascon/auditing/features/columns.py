"""The columns of label and bias values beside features, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.data.values import CodedColumn, sort_values
from biascon.errors import DataError
from biascon.utils.text import join_first, quote_some
from biascon.utils.types import Array

MAX_CLASSES = 1000


@dataclass(frozen=True)
class Column:
    """A column of values.

    Attributes:
        name: Its name.
        codes: int64 ``(N,)``: positions in ``values``; -1 for a missing value.
        values: The values in order.
    """

    name: str
    codes: npt.NDArray[np.int64]
    values: tuple[str, ...]

    @classmethod
    def of(cls, name: str, parts: Sequence[CodedColumn]) -> Column:
        """Return the column of the rows of several parts of a table."""
        values = sort_values({text for part in parts for text in part.texts if text is not None})
        index = {value: k for k, value in enumerate(values)} | {None: -1}
        codes = [
            np.array([*(index[text] for text in part.texts), -1], np.int64)[part.codes]
            for part in parts
        ]
        return cls(name, np.concatenate([np.zeros(0, np.int64), *codes]), tuple(values))

    def take(self, rows: Array) -> Column:
        """Return the column of some rows, with the values that occur in them."""
        codes = self.codes[rows]
        used = np.unique(codes)
        return Column(self.name, np.searchsorted(used, codes), tuple(self.values[k] for k in used))


def find_complete_rows(columns: Sequence[Column], *, drop_missing: bool) -> npt.NDArray[np.int64]:
    """Return the rows that lack no value, int64 ``(R,)``.

    Raises:
        DataError: Rows lack a value and are not to be left out, or no row is left.
    """
    is_missing = np.stack([column.codes < 0 for column in columns])
    incomplete = np.asarray(is_missing.any(axis=0))
    if incomplete.any():
        by_column = ", ".join(
            f"'{column.name}' in {int(n):,}"
            for column, n in zip(columns, is_missing.sum(axis=1), strict=True)
            if n
        )
        message = (
            f"{int(incomplete.sum()):,} of {len(incomplete):,} rows lack a value ({by_column})"
        )
        if not drop_missing:
            raise DataError(
                f"{message}, row {int(incomplete.argmax()) + 1:,} first; --drop-missing "
                "(drop_missing=True) leaves them out"
            )
        if incomplete.all():
            raise DataError(f"{message}: nothing is left")
    return np.flatnonzero(~incomplete)


def check_column(column: Column, folds: int) -> None:
    """Check that a probe of a column can be fitted in every fold.

    Raises:
        DataError: The column has one value only, more than ``MAX_CLASSES`` values, or a value in fewer rows
            than there are folds.
    """
    name, values = column.name, column.values
    if len(values) < 2:
        raise DataError(
            f"expected two or more values of '{name}', but every row has {quote_some(values)}"
        )
    if len(values) > MAX_CLASSES:
        raise DataError(
            f"expected at most {MAX_CLASSES:,} values of '{name}', but got {len(values):,}: the column is "
            "probably an id or a score"
        )
    sizes = np.bincount(column.codes, minlength=len(values))
    few = [f"'{values[k]}' ({sizes[k]:,})" for k in np.flatnonzero(sizes < folds)]
    if few:
        raise DataError(
            f"expected {folds} rows or more of each value of '{name}', one for each fold, but got fewer of "
            f"{join_first(few)}; leave these rows out, or use fewer folds (3 or more)"
        )
