"""Values of a column as text, so that 1, 1.0 and "1" are one value wherever they come from."""

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

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_EXACT = 2.0**53


@dataclass(frozen=True)
class CodedColumn:
    """A column of N rows as positions in a list of values.

    Attributes:
        codes: integers ``(N,)`` into ``texts``; -1 is a missing value.
        texts: The values as text, None for one that is missing; two may be the same.
    """

    codes: Array
    texts: list[str | None]


def normalize_value(value: object) -> str | None:
    """Return a value as text: a whole number without a point, None where it is missing.

    Missing are None, NaN, NaT and text of nothing but white space, which is taken off at both ends. Text
    that reads as a whole number with a point is written without, since that is what a table of whole
    numbers becomes once a value of it was missing.

    Raises:
        DataError: Bytes that are not UTF-8, or a list, a mapping or an array.

    >>> [text_of(value) for value in (1, 1.0, " 1", "1.0", "01", 0.5, True, float("nan"))]
    ['1', '1', '1', '1', '01', '0.5', 'True', None]
    """
    if value is None or type(value).__name__ in ("NaTType", "NAType") or value != value:
        return None
    if isinstance(value, str):
        value = value.strip()
        whole = _WHOLE.fullmatch(value)
        return (value or None) if whole is None else _zero(whole[1])
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return normalize_value(format(value, "f"))
    if isinstance(value, Real):
        number = float(value)
        if math.isfinite(number) and number.is_integer() and abs(number) < _EXACT:
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


def _zero(text: str) -> str:
    return "0" if text == "-0" else text


def sort_values(values: Iterable[str]) -> list[str]:
    """Return values in order: numbers by size, then text.

    >>> in_order(["b", "10", "9", "a", "-1"])
    ['-1', '9', '10', 'a', 'b']
    """

    def key(value: str) -> tuple[bool, float, str]:
        number = _NUMBER.fullmatch(value) is not None
        return (not number, float(value) if number else 0.0, value)

    return sorted(values, key=key)
