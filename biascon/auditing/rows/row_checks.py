"""Checks of the rows of an audit before it: missing values, and labels that do not match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from biascon.auditing.rows.label_mismatch import check_labels
from biascon.auditing.rows.row_counts import RowCounts
from biascon.errors import DataError
from biascon.utils.text import join_first

_MAY_BE_VALUES = {"None", "NA", "N/A", "n/a", "NULL", "null"}  # words that --keep-word is named for


def check_rows(counts: RowCounts, *, prefix: str, drop_missing: bool) -> list[str]:
    """Check rows, and treat True as 1 if the other column has numbers.

    Args:
        counts: The counts of the rows.
        prefix: The file and a colon, in front of error messages; empty for arrays.
        drop_missing: Whether rows that lack a value are left out.

    Returns:
        Notes about the rows.

    Raises:
        DataError: There are no rows; rows lack a value and are not to be left out; or label and prediction
            write their classes in different ways.
    """
    notes = [*_check_missing(counts, prefix, drop_missing=drop_missing), *counts.unify_booleans()]
    try:
        return notes + check_labels(counts.pairs(), counts.names[0], counts.names[-1])
    except DataError as error:
        raise DataError(f"{prefix}{error}") from error


def _check_missing(counts: RowCounts, prefix: str, *, drop_missing: bool) -> list[str]:
    """Return a note about rows that lack a value.

    Raises:
        DataError: There are no rows, or rows lack a value and are not to be left out.
    """
    if counts.n_rows == 0:
        raise DataError(f"{prefix}expected predictions, but there are no rows")
    if not counts.n_incomplete:
        return []
    columns = [
        f"'{name}' in {n:,}{_list_words(words)}"
        for name, n, words in zip(counts.names, counts.n_missing, counts.missing_words, strict=True)
        if n
    ]
    if counts.n_missing_weights:
        columns.append(f"the weight '{counts.weight}' in {counts.n_missing_weights:,}")
    by_column = ", ".join(columns)
    message = f"{counts.n_incomplete:,} of {counts.n_rows:,} rows lack a value ({by_column})"
    if not drop_missing:
        raise DataError(
            f"{prefix}{message}, row {counts.first_incomplete:,} first; --drop-missing "
            f"(drop_missing=True) leaves them out{_keep_hint(counts.missing_words)}"
        )
    if counts.n_complete == 0:
        raise DataError(f"{prefix}{message}: nothing is left")
    return [f"left out: {message}"]


def _list_words(words: Counter[str]) -> str:
    """Return how many values were missing by which word, most first: ``": 6 as 'NA', 2 as 'nan'"``."""
    parts = [f"{n:,} as '{word}'" for word, n in sorted(words.items(), key=lambda w: (-w[1], w[0]))]
    return f": {join_first(parts, 4)}" if parts else ""


def _keep_hint(words: Sequence[Counter[str]]) -> str:
    """Return how to keep a word as a value, if one of the words may be a value."""
    names = sorted({word for column in words for word in column} & _MAY_BE_VALUES)
    if not names:
        return ""
    return f"; --keep-word {names[0]} (keep_words=['{names[0]}']) counts the word as a value"
