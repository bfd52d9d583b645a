"""Column values as text, so that 1, 1.0 and "1" are the same value in every file format."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Integral, Real

import numpy as np

from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.types import Array

# The words that pandas.read_csv reads as a missing value by default; empty text is the first of them.
MISSING_WORDS = frozenset(
    {
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
        "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    }
)  # fmt: skip
_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_MAX_EXACT = 2.0**53  # every whole number below it is exact as a float


@dataclass(frozen=True)
class CodedColumn:
    """A column of N rows, as positions in a list of values.

    Attributes:
        codes: Integers ``(N,)``: positions in ``texts``; -1 for a missing value.
        texts: The values as text, None for a missing value. The list may hold a value more than once.
        words: The words of ``MISSING_WORDS``, by position in ``texts``, that stood for a missing value. Empty
            text and missing values of other types are not among them.
    """

    codes: Array
    texts: list[str | None]
    words: Mapping[int, str] = field(default_factory=dict)


def code_values(
    codes: Array, values: Sequence[object], keep_words: Collection[str] = ()
) -> CodedColumn:
    """Return a column of normalized values.

    Args:
        codes: Integers ``(N,)``: positions in ``values``; -1 for a missing value.
        values: The different values.
        keep_words: As for ``normalize_value``.

    Raises:
        DataError: As for ``normalize_value``.
    """
    texts = [normalize_value(value, keep_words) for value in values]
    words = {
        k: text
        for k, value in enumerate(values)
        if texts[k] is None and isinstance(value, str | bytes) and (text := _strip_text(value))
    }
    return CodedColumn(codes, texts, words)


def check_keep_words(words: Collection[str]) -> frozenset[str]:
    """Return words that are values although ``MISSING_WORDS`` has them.

    Raises:
        UsageError: A word is not in ``MISSING_WORDS``, or it is empty.
    """
    if isinstance(words, str):
        words = [words]
    if not isinstance(words, Collection) or not all(isinstance(word, str) for word in words):
        raise UsageError(f"expected keep_words to be words, such as ['None'], but got {words!r}")
    for word in words:
        if word not in MISSING_WORDS or not word:
            known = sorted(MISSING_WORDS - {""})
            raise UsageError(
                f"expected to keep words that stand for a missing value, but got '{word}'"
                f"{did_you_mean(word, known)} (words: {', '.join(known)})"
            )
    return frozenset(words)


def normalize_value(value: object, keep_words: Collection[str] = ()) -> str | None:
    """Return a value as text, or None for a missing value.

    Whole numbers have no decimal point. A reader of tables turns a column of whole numbers into floats if one
    value is missing, so "1" and "1.0" must be the same value. White space at both ends of text is removed.
    None, NaN, NaT, pandas.NA and the words of ``MISSING_WORDS`` are missing values. This is the only rule for
    missing values: files, arrays and ``make-table`` use it.

    Args:
        value: The value.
        keep_words: Words of ``MISSING_WORDS`` that are values.

    Raises:
        DataError: The value is bytes that are not UTF-8, text that UTF-8 cannot hold, or a list, a mapping or
            an array.

    >>> [normalize_value(value) for value in (1, 1.0, " 1", "1.0", "01", 0.5, True, float("nan"))]
    ['1', '1', '1', '1', '01', '0.5', 'True', None]
    >>> normalize_value("None"), normalize_value("None", keep_words={"None"})
    (None, 'None')
    """
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, str):
        return _normalize_text(value, keep_words)
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        raise DataError(f"expected one value a row, but got a {type(value).__name__}")
    if value != value:
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return normalize_value(format(value, "f"))
    if isinstance(value, Real):
        number = float(value)
        if math.isfinite(number) and number.is_integer() and abs(number) < _MAX_EXACT:
            return str(int(number))
        return str(value)
    if isinstance(value, bytes):
        return _normalize_text(_strip_text(value), keep_words)
    return str(value)


def _normalize_text(text: str, keep_words: Collection[str]) -> str | None:
    text = text.strip()
    if text in MISSING_WORDS and text not in keep_words:
        return None
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"expected text that UTF-8 can hold, but got {text[:20]!r}") from error
    match = _WHOLE_NUMBER.fullmatch(text)
    return text if match is None else _remove_sign_of_zero(match[1])


def _strip_text(value: str | bytes) -> str:
    try:
        return (value if isinstance(value, str) else value.decode()).strip()
    except UnicodeDecodeError as error:
        raise DataError(f"expected text in UTF-8, but got the bytes {value[:20]!r}") from error


def _remove_sign_of_zero(text: str) -> str:
    return "0" if text == "-0" else text


def sort_values(values: Iterable[str]) -> list[str]:
    """Return values in order: numbers by size, then text.

    >>> sort_values(["b", "10", "9", "a", "-1"])
    ['-1', '9', '10', 'a', 'b']
    """

    def sort_key(value: str) -> tuple[bool, float, str]:
        is_number = _NUMBER.fullmatch(value) is not None
        return (not is_number, float(value) if is_number else 0.0, value)

    return sorted(values, key=sort_key)
