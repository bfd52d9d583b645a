"""A table of text, and long names in tables."""

from __future__ import annotations

from dataclasses import dataclass

from biascon.utils.text import shorten, shorten_words


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

    def shorten(self) -> TextTable:
        """Return the table for display: long cells and long words of the title are cut."""
        return TextTable(
            shorten_words(self.title),
            [shorten(cell) for cell in self.header],
            [[shorten(cell) for cell in row] for row in self.rows],
            self.left,
        )
