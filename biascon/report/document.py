"""A report as data: sections of text, tables, commands and figures, for rendering in several formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from biascon.report.tables import TableCell

if TYPE_CHECKING:
    from biascon.report.figures import Figure

Cell = str | TableCell


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Plain text.
        is_conclusion: Whether it states a result, and is set apart.
    """

    text: str
    is_conclusion: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        title: What the table shows.
        header: The names of the columns.
        rows: The cells, row by row.
        in_words: Whether the cells are sentences, not numbers.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    in_words: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Code:
    """Commands or a file, as they are typed."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Picture:
    """A figure."""

    figure: Figure
    kind: str = "picture"


Block = Text | Table | Code | Picture


@dataclass(frozen=True)
class Section:
    """A section with its heading."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: The title.
        source: The origin of its numbers.
        sections: The sections.
        limits: What the numbers do not show, at the end.
    """

    title: str
    source: str
    sections: Sequence[Section]
    limits: str

    @property
    def figures(self) -> list[Figure]:
        """All figures, in the order of the document."""
        return [
            block.figure
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Picture)
        ]


def cell_text(cell: Cell) -> str:
    """Return what a cell prints."""
    return cell if isinstance(cell, str) else cell.text


def cell_value(cell: Cell) -> str | None:
    """Return what a column is sorted by, None for the text itself."""
    return None if isinstance(cell, str) else cell.value
