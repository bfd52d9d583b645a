"""Colors, sizes and labels that all plots share.

Every plot function takes ``ax`` and returns it; with ``ax=None`` it draws on a new figure. Colors are always
paired with a marker or a line style, so that the plots can be read without color.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from biascon.utils.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colors of Okabe and Ito, which color-blind readers can distinguish.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# Widths in inches: of a column, and of a page.
COLUMN, PAGE = 3.4, 7.0


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches; it needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def make_axes(ax: Axes | None, width: float = PAGE, height: float = 3.0) -> Axes:
    """Return ``ax``, or the axes of a new figure if it is None."""
    return new_figure(width, height).subplots() if ax is None else ax


def escape_math(text: str) -> str:
    """Return a text in which matplotlib finds no formula and no control character."""
    return visible(text).replace("$", r"\$")


def plain_label(name: object, max_length: int = 24) -> str:
    """Return the name of a value for a plot: in one line, shortened, and never taken for a formula.

    Control characters are written as escapes.

    >>> plain_label("$x$" + chr(10) + "y"), plain_label("_"), plain_label("a" * 30)
    ('\\\\$x\\\\$ y', ' _', 'aaaaaaaaaaaaaaaaaaaaaaa…')
    """
    text = visible(" ".join(str(name).split()))
    text = text if len(text) <= max_length else text[: max_length - 1] + "…"
    # A legend leaves out every name that starts with "_".
    return " " * text.startswith("_") + escape_math(text)
