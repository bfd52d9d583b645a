"""A table of text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        title: The title.
        header: The names of the columns.
        rows: The cells of each row.
        left: How many of the first columns are aligned to the left; the others are aligned to the right.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    left: int = 1
