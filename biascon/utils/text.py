"""Text: lists of values in messages, cut to a few values; tables with a line below the header."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def quote_some(values: Iterable[str], most: int = 5) -> str:
    """Join the first values, quoted, and add the number of the other values.

    >>> quote_some(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    return join_first([f"'{value}'" for value in values], most)


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

    Args:
        header: The names of the columns.
        rows: The cells, row by row.
        left: The number of columns that are aligned to the left; the others are aligned to the right.
    """
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
