"""The delimiter and the decimal mark of a CSV file: as given, or recognized from its header."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from biascon.errors import UsageError

DELIMITERS = (",", ";", "\t", "|")  # that are recognized, in this order
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_DECIMAL_POINT = re.compile(r"[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Attributes:
        delimiter: The byte between two values.
        decimal: The decimal mark of numbers, ``.`` or ``,``.
        names: The names of the columns.
        note: What was recognized, None if it is a comma and a point or if it was given.
    """

    delimiter: str
    decimal: str
    names: list[str]
    note: str | None

    def normalize_number(self, text: str) -> str:
        """Return a number with a decimal point; other text as it is."""
        if self.decimal == "," and _DECIMAL_COMMA.fullmatch(text.strip()):
            return text.replace(",", ".")
        return text


def check_delimiter(delimiter: str | None) -> str | None:
    """Return the character of a delimiter, given as itself or by name (``tab``).

    Raises:
        UsageError: It is no single character, or a character that values or quotes hold.
    """
    if delimiter is None:
        return None
    mark = _NAMES.get(delimiter.lower(), delimiter)
    if len(mark) != 1 or not mark.isascii() or mark.isalnum() or mark in '"\n\r\0.+-':
        raise UsageError(
            f"expected one character such as ',' or ';', or 'tab', as delimiter, but got {delimiter!r}"
        )
    return mark


def check_decimal(decimal: str | None, delimiter: str | None) -> str | None:
    """Return a decimal mark.

    Raises:
        UsageError: It is neither a point nor a comma, or it is the delimiter.
    """
    if decimal not in (None, ".", ","):
        raise UsageError(f"expected '.' or ',' as decimal mark, but got {decimal!r}")
    if decimal == "," and delimiter == ",":
        raise UsageError("expected delimiter and decimal mark to differ, but got ',' for both")
    return decimal


def recognize_dialect(
    head: str, wanted: Sequence[str], delimiter: str | None = None, decimal: str | None = None
) -> Dialect:
    """Return the dialect of a CSV file.

    The delimiter is the one that finds the most of the wanted columns in the header. The decimal mark is a
    comma if the delimiter is another character, and the wanted columns hold numbers with a comma but none
    with a point.

    Args:
        head: The start of the file.
        wanted: The names of the columns that will be read.
        delimiter: The delimiter, None to recognize it.
        decimal: The decimal mark, None to recognize it.

    Raises:
        csv.Error: The header is no CSV.
    """
    candidates = DELIMITERS if delimiter is None else (delimiter,)
    headers = {mark: _read_header(head, mark) for mark in candidates}

    def rank(mark: str) -> tuple[int, bool, int]:
        names = headers[mark]
        return len(set(wanted) & set(names)), mark == "," and len(names) > 1, len(names)

    chosen = max(candidates, key=rank)
    names = headers[chosen]
    mark = decimal or _recognize_decimal(head, chosen, names, wanted)
    recognized = []
    if delimiter is None and chosen != ",":
        recognized.append(f"{'tab' if chosen == chr(9) else repr(chosen)} as delimiter")
    if decimal is None and mark != ".":
        recognized.append("',' as decimal mark")
    note = f"read with {' and '.join(recognized)}" if recognized else None
    return Dialect(chosen, mark, names, note)


def _read_header(head: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(head.lstrip("\r\n"), newline=""), delimiter=delimiter), [])


def _recognize_decimal(
    head: str, delimiter: str, names: Sequence[str], wanted: Sequence[str]
) -> str:
    """Return the decimal mark of the wanted columns in the first rows."""
    positions = [k for k, name in enumerate(names) if name in wanted]
    if delimiter == "," or not positions:
        return "."
    has_comma = False
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    try:
        for row in itertools.islice(reader, 10_000):
            for k in positions:
                value = row[k].strip() if k < len(row) else ""
                if _DECIMAL_POINT.fullmatch(value):
                    return "."
                has_comma = has_comma or _DECIMAL_COMMA.fullmatch(value) is not None
    except csv.Error:
        pass  # the reader of the rows reports it
    return "," if has_comma else "."
