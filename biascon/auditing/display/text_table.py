"""A table of text, and long names in tables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from biascon.utils.markup import visible

MAX_LETTERS = 72  # of a cell of a table, and of a word of its title


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


def shorten(text: str, max_letters: int = MAX_LETTERS) -> str:
    """Return text without control characters; a long one is cut in the middle.

    The end is kept, as names often differ at the end.

    >>> shorten("a long name of a group, number 7", 16)
    'a long…number 7'
    """
    text = visible(text)
    if len(text) <= max_letters:
        return text
    half = max_letters // 2
    return f"{text[: max_letters - half - 1].rstrip()}…{text[-half:].lstrip()}"


def shorten_words(text: str) -> str:
    """Return text without control characters, with every long word cut in the middle."""
    return re.sub(r"\S+", lambda match: shorten(match[0]), visible(text))
