"""The designs of the coverage study: how many rows each cell has, and how often they are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biascon.utils.types import Array


@dataclass(frozen=True)
class Design:
    """A truth from which tables are drawn.

    Attributes:
        name: The name on the page.
        rows: The expected rows of each cell (label, group), ``(K, M)`` or a number for all cells.
        accuracy: The probability that a row of the cell is right, ``(K, M)`` or less.
        shape: (K, M).
        fresh: Whether the design was first looked at after the methods were finished.
        most_tables: The number of tables to draw at most, fewer where a table takes long.
    """

    name: str
    rows: Sequence[Sequence[float]] | float
    accuracy: Sequence[Sequence[float]] | Sequence[float] | float
    shape: tuple[int, int]
    fresh: bool = False
    most_tables: int = 10_000

    @property
    def n(self) -> int:
        """The number of rows of a table."""
        return round(float(np.broadcast_to(self.rows, self.shape).sum()))

    @property
    def probabilities(self) -> Array:
        """The probability of each table entry ``(K, M, K)``; all other classes have the same errors."""
        rows, right = (np.broadcast_to(x, self.shape) for x in (self.rows, self.accuracy))
        labels = self.shape[0]
        p = np.repeat(((1 - right) / (labels - 1))[..., None], labels, axis=-1)
        p[np.arange(labels), :, np.arange(labels)] = right
        weighted = p * rows[..., None]
        return np.asarray(weighted / weighted.sum())

    def draw(self, rng: np.random.Generator, tables: int) -> Array:
        """Return tables int64 ``(T, K, M, K)``."""
        p = self.probabilities
        return np.asarray(rng.multinomial(self.n, p.reshape(-1), tables).reshape(-1, *p.shape))


_ALIGNED = np.eye(10)
_LINE = np.linspace(-1.5, 1.5, 10)

DESIGNS = (
    Design("two classes, cells of 490 and 10, 99 % right", [[490, 10], [10, 490]], 0.99, (2, 2)),
    Design("10 rows a cell, 99 % right", 10, 0.99, (2, 2)),
    Design("8 rows a cell, one at 60 %", 8, [[0.9, 0.6], [0.8, 0.8]], (2, 2)),
    Design("250 rows a cell, a gap of 10 points", 250, [[0.8, 0.7], [0.8, 0.8]], (2, 2)),
    Design("three groups of 5 rows a cell", 5, 0.7, (2, 3)),
    Design(
        "2500, 2500 and 150 rows a cell, gaps of 10 and 5 points",
        [[2500, 2500, 150]] * 2,
        [0.9, 0.8, 0.85],
        (2, 3),
    ),
    Design("four equal groups of 250 rows a cell", 250, 0.8, (2, 4)),
    Design(
        "ten unequal groups, 400 to 8 rows a cell",
        [[400, 200, 100, 60, 40, 30, 20, 15, 10, 8]] * 2,
        0.9,
        (2, 10),
    ),
    Design(
        "a cell of 3 rows at 50 %", [[2000, 3], [2000, 400]], [[0.99, 0.5], [0.99, 0.99]], (2, 2)
    ),
    Design("groups of nearly one label", [[0.6, 19.4], [19.4, 0.6]], 0.5, (2, 2)),
    Design(
        "three classes, four unequal groups with gaps",
        [[300, 100, 50, 30]] * 3,
        [[0.9, 0.8, 0.7, 0.6], [0.8] * 4, [0.95, 0.9, 0.9, 0.9]],
        (3, 4),
    ),
    Design("five classes, six unequal groups", [[200, 120, 80, 50, 30, 20]] * 5, 0.8, (5, 6)),
    Design(
        "ten classes, ten groups of 100 rows a cell, 98.5 %",
        100,
        0.985,
        (10, 10),
        most_tables=100,
    ),
    Design(
        "ten classes, ten groups of 10 rows a cell, 60 to 95 %",
        10,
        (0.775 + 0.175 * np.sin(np.add.outer(_LINE, 2 * _LINE))).tolist(),
        (10, 10),
        most_tables=100,
    ),
    Design(
        "ten classes, biased: 180 aligned rows at 99 %, 3 others at 70 %",
        (3 + 177 * _ALIGNED).tolist(),
        (0.7 + 0.29 * _ALIGNED).tolist(),
        (10, 10),
        most_tables=100,
    ),
    Design(
        "as Waterbirds", [[2255, 2255], [642, 642]], [[0.99, 0.8], [0.75, 0.96]], (2, 2), fresh=True
    ),
    Design(
        "as CelebA, a tenth of its test set",
        [[977, 754], [248, 18]],
        [[0.96, 0.99], [0.95, 0.45]],
        (2, 2),
        fresh=True,
    ),
    Design(
        "as NLI with a negation word, three classes",
        [[1500, 150], [1400, 60], [1300, 300]],
        [[0.92, 0.85], [0.86, 0.7], [0.9, 0.97]],
        (3, 2),
        fresh=True,
    ),
    Design(
        "ten unequal groups with true differences",
        [
            [900, 700, 500, 300, 200, 150, 100, 60, 40, 25],
            [300, 250, 200, 90, 80, 50, 40, 25, 20, 12],
        ],
        [
            [0.95, 0.94, 0.95, 0.9, 0.92, 0.9, 0.88, 0.9, 0.9, 0.85],
            [0.8, 0.82, 0.8, 0.75, 0.7, 0.75, 0.8, 0.65, 0.7, 0.6],
        ],
        (2, 10),
        fresh=True,
    ),
    Design(
        "a small clinic, four groups",
        [[30, 25, 12, 6], [12, 9, 6, 4]],
        [[0.9, 0.85, 0.9, 0.8], [0.7, 0.6, 0.8, 0.7]],
        (2, 4),
        fresh=True,
    ),
    Design("seven classes, three groups of 40 rows a cell", 40, 0.65, (7, 3), fresh=True),
    Design("nearly all right, 40 rows a cell", 40, 0.998, (2, 2), fresh=True),
)


@dataclass(frozen=True)
class PairedDesign:
    """Two classifiers on the same rows.

    Attributes:
        name: The name on the page.
        rows: The rows of each cell.
        only_a: The probability that only a is right, of each cell or of all.
        only_b: The probability that only b is right.
        fresh: Whether the design was first looked at after the methods were finished.
    """

    name: str
    rows: Sequence[int]
    only_a: Sequence[float] | float
    only_b: Sequence[float] | float
    fresh: bool = False


PAIRED = (
    PairedDesign("a tie, 4 cells of 10 rows", [10] * 4, 0.1, 0.1),
    PairedDesign("a tie, 100 cells of 10 rows", [10] * 100, 0.05, 0.05),
    PairedDesign("a tie, 100 cells of 100 rows", [100] * 100, 0.01, 0.01),
    PairedDesign("a gap, cells of 490 and 10 rows", [490, 10], 0.3, 0.1),
    PairedDesign("a gap, one cell of 1000 rows", [1000], 0.05, 0.02),
    PairedDesign("a gap, 25 cells of 4 rows", [4] * 25, 0.3, 0.1),
    PairedDesign(
        "90 cells of 10 rows with a gap, 10 of 900 without",
        [10] * 90 + [900] * 10,
        [0.2] * 90 + [0.002] * 10,
        [0.1] * 90 + [0.002] * 10,
        fresh=True,
    ),
    PairedDesign("a tie, cells of 60, 12, 9 and 4 rows", [60, 12, 9, 4], 0.15, 0.15, fresh=True),
)
