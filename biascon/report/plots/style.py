"""The figures of a report, a function each: ``ax=None`` in, ``ax`` out.

Colors are told apart without seeing color: by marker or line as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from biascon.report.experiments import Experiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
# Okabe and Ito's.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SERIES = (
    ("bias_aligned", "bias-aligned cells", "#E69F00", "^"),
    ("unbiased", "all cells (unbiased)", "#0072B2", "o"),
    ("bias_conflicting", "bias-conflicting cells", "#D55E00", "v"),
)
WITHOUT_BIAS = (("top1", "top-1", "#0072B2", "o"), ("top5", "top-5", "#E69F00", "^"))
COLUMN, PAGE = 3.4, 7.0  # inches: the width of a column, and of a page


def page_size(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(page)
    return page


def make_axes(ax: Axes | None, width: float = PAGE, height: float = 3.0) -> Axes:
    """Return an axis to draw on: the one given, or one of a new figure."""
    return page_size(width, height).subplots() if ax is None else ax


def loss_label(group: Experiment, label: str) -> str:
    """Return a loss as a figure names it, with its marks."""
    first = group.losses[label][0]
    own = " (c)" if first.judge == "own classifier" else ""
    return label.replace("$", r"\$") + own + " †" * first.sees_bias


def plain_label(name: object, most: int = 24) -> str:
    """Return a value's name for a figure: in a line, not too long, and no formula.

    >>> written("$x$" + chr(10) + "y"), written("_"), written("a" * 30)
    ('\\\\$x\\\\$ y', ' _', 'aaaaaaaaaaaaaaaaaaaaaaa…')
    """
    text = " ".join(str(name).split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    return " " * text.startswith("_") + text.replace(
        "$", r"\$"
    )  # a legend leaves out what starts with "_"


def legend_notes(group: Experiment) -> str:
    """Say what the marks on names mean, where there are any."""
    runs = [found[0] for found in group.losses.values()]
    own = " (c): by its own classifier." if any(r.judge == "own classifier" for r in runs) else ""
    return own + (" †: is given bias labels." if any(r.sees_bias for r in runs) else "")


def get_rho(group: Experiment) -> str:
    """Return the rho of a BiasedMNIST from its name, nothing of another dataset."""
    found = _BMNIST.match(group.first["dataset"])
    return found[2] if found else ""


def get_shapes(group: Experiment) -> str:
    """Return what a BiasedMNIST is made of, from its name: ``bmnist``, ``bmnist5k``, ``fashion-bmnist``, ...

    Nothing of another dataset.
    """
    found = _BMNIST.match(group.first["dataset"])
    return found[1] if found else ""


_BMNIST = re.compile(r"((?:fashion-|k)?bmnist(?:5k)?)-(\d\.\d+)")
