"""Text for people: names without control characters, long ones cut; lists of values; tables.

Labels, names of columns and paths come from files of others. An escape code in one of them could delete or
fake lines of a terminal. Every text that a command prints goes through ``visible``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

NAME_LETTERS = 72  # of a name in a table, such as a label
CELL_LETTERS = 400  # of any cell of a table, such as the path of a run
WORD_LETTERS = 200  # of a word of a message
MESSAGE_LETTERS = 2000  # of a message


def visible(text: str) -> str:
    """Return text with line breaks, control characters and invisible characters written as escapes.

    >>> print(visible("a" + chr(10) + "b" + chr(27) + "[2J"))
    a\\nb\\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def visible_lines(text: str) -> str:
    """Return text of several lines, each of them visible, with every very long word cut in the middle."""
    return "\n".join(shorten_words(line, WORD_LETTERS) for line in text.split("\n"))


def shorten(text: str, most: int = NAME_LETTERS) -> str:
    """Return visible text; a long one is cut in the middle, as names often differ at the end.

    >>> shorten("a long name of a group, number 7", 16)
    'a long…number 7'
    """
    text = visible(text)
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[: most - half - 1].rstrip()}…{text[-half:].lstrip()}"


def shorten_words(text: str, most: int = NAME_LETTERS) -> str:
    """Return visible text with every long word cut in the middle."""
    text = visible(text)
    if len(text) <= most:
        return text
    return re.sub(r"\S+", lambda match: shorten(match[0], most), text)


def message_line(text: str) -> str:
    """Return a message as one visible line: very long words, and a very long message, are cut."""
    return shorten(shorten_words(text, WORD_LETTERS), MESSAGE_LETTERS)


def join_lines(lines: Iterable[str]) -> str:
    """Join lines that hold names from files: a line break in a name does not begin a line."""
    return "\n".join(map(visible, lines))


def show_value(value: Any) -> str:
    """Return a value of a setting as text of one line for a message; a long one is cut.

    >>> show_value([1, 2]), show_value("a" * 100)[:6]
    ('[1, 2]', "'aaaaa")
    """
    try:
        return shorten(repr(value))
    except (
        ValueError,
        RecursionError,
    ):  # an integer of more digits than Python converts, deep nesting
        return f"a very long {type(value).__name__}"


def quote_some(values: Iterable[str], most: int = 5) -> str:
    """Join the first values, quoted and shortened, and add the number of the other values.

    >>> quote_some(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    names = [str(value) for value in values]
    shown = [f"'{shorten(name)}'" for name in names[:most]]
    return join_first([*shown, *names[most:]], most)


def join_first(parts: Sequence[str], most: int = 5) -> str:
    """Join the first parts, and add the number of the other parts.

    >>> join_first(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(parts) - most:,} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def count_of(n: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun; the plural adds "s" unless it is given.

    >>> count_of(1, "row"), count_of(1200, "row"), count_of(0, "class", "classes")
    ('1 row', '1,200 rows', '0 classes')
    """
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def format_bytes(n: int) -> str:
    """Return a size in the unit that fits it.

    >>> [format_bytes(n) for n in (900, 2 << 20, 3 << 30, 5 << 40)]
    ['1 KiB', '2.0 MiB', '3.0 GiB', '5.0 TiB']
    """
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if n >= 1 << shift:
            return f"{n / (1 << shift):,.1f} {unit}"
    return f"{-(-n >> 10):,} KiB"


def format_duration(seconds: float) -> str:
    """Return a time in the unit that fits it: seconds, minutes, hours or days.

    >>> [format_duration(s) for s in (0.4, 95, 600, 6_000, 111_600, 900_000)]
    ['0 s', '95 s', '10 min', '1.7 h', '31 h', '10 days']
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours < 71.5:
        return f"{hours:.1f} h" if hours < 9.95 else f"{hours:.0f} h"
    return f"{hours / 24:,.0f} days"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a table as text, with a line below the header.

    Every cell is visible text, and a very long one is cut.

    Args:
        header: The names of the columns.
        rows: The cells, row by row.
        left: The number of columns that are aligned to the left; the others are aligned to the right.
    """
    header, rows = _clean_row(header), [_clean_row(row) for row in rows]
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]

    def layout(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(
        [layout(header), layout(["-" * width for width in widths]), *map(layout, rows)]
    )


def _clean_row(row: Sequence[str]) -> list[str]:
    return [shorten(cell, CELL_LETTERS) for cell in row]
