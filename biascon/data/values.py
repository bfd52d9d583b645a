"""Column values as text, so that 1, 1.0 and "1" are the same value in every file format."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real

import numpy as np

from biascon.errors import DataError
from biascon.utils.types import Array

_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_MAX_EXACT = 2.0**53  # every whole number below it is exact as a float


@dataclass(frozen=True)
class CodedColumn:
    """A column of N rows, as positions in a list of values.

    Attributes:
        codes: Integers ``(N,)``: positions in ``texts``; -1 for a missing value.
        texts: The values as text, None for a missing value. The list may hold a value more than once.
    """

    codes: Array
    texts: list[str | None]


def normalize_value(value: object) -> str | None:
    """Return a value as text, or None for a missing value.

    Whole numbers have no decimal point. A reader of tables turns a column of whole numbers into floats if one
    value is missing, so "1" and "1.0" must be the same value. White space at both ends of text is removed.
    None, NaN, NaT and empty text are missing values.

    Raises:
        DataError: The value is bytes that are not UTF-8, or a list, a mapping or an array.

    >>> [normalize_value(value) for value in (1, 1.0, " 1", "1.0", "01", 0.5, True, float("nan"))]
    ['1', '1', '1', '1', '01', '0.5', 'True', None]
    """
    if value is None or type(value).__name__ in ("NaTType", "NAType") or value != value:
        return None
    if isinstance(value, str):
        value = value.strip()
        match = _WHOLE_NUMBER.fullmatch(value)
        return (value or None) if match is None else _remove_sign_of_zero(match[1])
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
        try:
            return normalize_value(value.decode())
        except UnicodeDecodeError as error:
            raise DataError(f"expected text in UTF-8, but got the bytes {value[:20]!r}") from error
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        raise DataError(f"expected one value a row, but got a {type(value).__name__}")
    return str(value)


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
