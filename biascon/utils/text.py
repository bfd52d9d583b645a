"""Lists of values in messages, cut to a few values."""

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
