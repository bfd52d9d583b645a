"""Short lists of values in a message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def quote_some(values: Iterable[str], most: int = 5) -> str:
    """Quote the first values in a line, and say how many more there are.

    >>> few(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    return join_first([f"'{value}'" for value in values], most)


def join_first(parts: Sequence[str], most: int = 5) -> str:
    """Join the first parts in a line, and say how many more there are."""
    more = f" and {len(parts) - most:,} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more
