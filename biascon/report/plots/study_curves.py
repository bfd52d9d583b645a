"""Plots of the search of a study: tuning curves and specification curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biascon.report.plots.style import COLORS, PAGE, plain_label
from biascon.studies.curves import TuningCurve, crossing_budget
from biascon.studies.multiverse import SpecificationCurve
from biascon.utils.distributions import Choice, Distribution, LogUniform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GRAY = COLORS[0], COLORS[1], "0.35"
MAX_COLUMNS = 5
PANEL_HEIGHT = 1.75


def split_axes(ax: Axes, rows: int, columns: int, **options: Any) -> Any:
    """Replace axes by a grid of axes of the same figure, and return the grid as a 2-D array."""
    figure = ax.figure
    ax.remove()
    return figure.subplots(rows, columns, squeeze=False, **options)


def grid_shape(panels: int) -> tuple[int, int]:
    """Return the rows and columns of a grid of panels."""
    columns = min(panels, 3 if panels <= 6 else MAX_COLUMNS)
    return math.ceil(panels / columns), columns


def grid_size(panels: int) -> tuple[float, float]:
    """Return the width and height in inches of a grid of panels."""
    rows, columns = grid_shape(panels)
    return PAGE, 0.75 + PANEL_HEIGHT * (1.25 if columns <= 3 else 0.95) * rows


def set_plain_log_axis(ax: Axes) -> None:
    """Make the x axis logarithmic, with a few plain numbers on it."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=6))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_tuning_curves(
    curves: Sequence[TuningCurve], reference: TuningCurve | None, ax: Axes, *, in_seconds: bool
) -> Axes:
    """Draw the tuning curve of each method beside that of the reference, a panel for each method.

    Args:
        curves: The curves of the other methods.
        reference: The curve of the reference, None without one.
        ax: The axes that the panels replace.
        in_seconds: Whether the budget is in seconds of training, not in trials.
    """
    from matplotlib.ticker import MaxNLocator

    rows, columns = grid_shape(len(curves))
    axes = split_axes(ax, rows, columns, sharey=True)
    for k, panel in enumerate(axes.flat):
        if k >= len(curves):
            panel.set_axis_off()
            continue
        if reference is not None:
            _draw_curve(panel, reference, GRAY, "s", in_seconds)
        _draw_curve(panel, curves[k], BLUE, "o", in_seconds)
        crossing = None if reference is None else crossing_budget(curves[k], reference)
        if crossing is not None and not in_seconds:
            panel.axvline(crossing, color=ORANGE, lw=0.9, ls=":")
        panel.set_title(plain_label(curves[k].method), fontsize="medium", color=BLUE)
        panel.grid(alpha=0.25)
        if in_seconds:
            set_plain_log_axis(panel)
        else:
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if k + columns >= len(curves):
            panel.set_xlabel("seconds of training" if in_seconds else "trials")
            panel.tick_params(labelbottom=True)
    shown = [*curves, *([] if reference is None else [reference])]
    axes[0, 0].set_ylim(*_limits(shown))
    figure = axes[0, 0].figure
    figure.supylabel("best validation score, %", fontsize="medium")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if labels:
        names = [plain_label(reference.method)] if reference is not None else []
        kinds = [*(f"{name} (reference)" for name in names), "method of the panel"]
        figure.legend(handles, kinds, loc="outside upper center", ncols=2, frameon=False)
    return axes[0, 0]  # type: ignore[no-any-return]


def _limits(curves: Sequence[TuningCurve]) -> tuple[float, float]:
    """Return limits of the axis at which the curves are legible: a band may reach from 0 to 100 %."""
    scores = [100 * value for curve in curves for value in (*curve.median, *curve.expected)]
    low, high = min(scores), max(scores)
    pad = max(1.0, 0.35 * (high - low))
    return max(0.0, low - pad), min(100.0, high + pad)


def _draw_curve(panel: Axes, curve: TuningCurve, color: str, marker: str, in_seconds: bool) -> None:
    scale = curve.seconds if in_seconds else 1.0
    if scale is None:
        return
    x = scale * np.array(curve.budgets, dtype=float)
    low, median, high, expected = (
        100 * np.array(part) for part in (curve.low, curve.median, curve.high, curve.expected)
    )
    style = "-" if color == BLUE else ":"  # the band of the reference has dotted edges
    panel.fill_between(x, low, high, step="mid", facecolor=color, alpha=0.13, lw=0)
    for edge in (low, high):
        panel.plot(x, edge, color=color, lw=0.7, ls=style, alpha=0.8, drawstyle="steps-mid")
    panel.plot(
        x, median, color=color, marker=marker, ms=2.5, lw=1.4, drawstyle="steps-mid",
        label=plain_label(curve.method),
    )  # fmt: skip
    panel.plot(x, expected, color=color, lw=1.0, ls="--")


def draw_best_so_far(scores: Mapping[str, Sequence[float]], ax: Axes) -> Axes:
    """Draw the best validation score of the first n trials, a panel for each method; for adaptive search."""
    rows, columns = grid_shape(len(scores))
    axes = split_axes(ax, rows, columns, sharey=True)
    for k, panel in enumerate(axes.flat):
        if k >= len(scores):
            panel.set_axis_off()
            continue
        method = list(scores)[k]
        values = 100 * np.array(scores[method])
        x = np.arange(1, len(values) + 1)
        panel.plot(x, values, "o", color=GRAY, ms=2.5)
        panel.plot(x, np.fmax.accumulate(values), color=BLUE, lw=1.4, drawstyle="steps-post")
        panel.set_title(plain_label(method), fontsize="medium", color=BLUE)
        panel.grid(alpha=0.25)
        if k + columns >= len(scores):
            panel.set_xlabel("trials")
    axes[0, 0].figure.supylabel("validation score, %", fontsize="medium")
    return axes[0, 0]  # type: ignore[no-any-return]


def draw_specification(
    curve: SpecificationCurve, space: Mapping[str, Distribution], ax: Axes
) -> Axes:
    """Draw the sorted differences of two methods, and below them the settings of each trial.

    Args:
        curve: The differences.
        space: The distributions of the parameters whose settings are marked.
        ax: The axes that the panels replace.
    """
    keys = [key for key in space if any(key in settings for settings in curve.settings)]
    ratios = [max(3.0, 0.5 * len(keys)), *[1.0] * len(keys)]
    axes = split_axes(ax, 1 + len(keys), 1, sharex=True, height_ratios=ratios)[:, 0]
    x = np.arange(1, len(curve.differences) + 1)
    differences = 100 * np.array(curve.differences)
    top = axes[0]
    for sign, color, marker in ((1, BLUE, "^"), (-1, ORANGE, "v"), (0, GRAY, "o")):
        rows = np.sign(differences) == sign
        top.vlines(x[rows], 0, differences[rows], color=color, lw=1.0, alpha=0.5)
        top.plot(x[rows], differences[rows], marker, color=color, ms=4)
    top.axhline(0, color="black", lw=0.8)
    top.axhline(100 * curve.median, color=GRAY, lw=0.9, ls="--")
    top.set_ylabel("difference, points")
    top.set_title(
        f"{plain_label(curve.method)} minus {plain_label(curve.reference)}", fontsize="medium"
    )
    top.grid(axis="y", alpha=0.25)
    for panel, key in zip(axes[1:], keys, strict=True):
        values = [settings.get(key) for settings in curve.settings]
        _mark_settings(panel, x, values, space[key])
        panel.set_ylabel(plain_label(key), rotation=0, ha="right", va="center", fontsize="small")
        panel.yaxis.set_label_coords(-0.075, 0.5)
    axes[-1].set_xlabel("recipes, smallest difference first")
    axes[-1].set_xticks([])
    return top  # type: ignore[no-any-return]


def _mark_settings(panel: Axes, x: Any, values: Sequence[Any], distribution: Distribution) -> None:
    """Draw the values of a parameter on a logarithmic, linear or category axis."""
    if isinstance(distribution, Choice):
        names = [str(value) for value in distribution.values]
        heights = [names.index(str(v)) if str(v) in names else math.nan for v in values]
        shown = range(len(names)) if len(names) <= 3 else (0, len(names) - 1)
        panel.set_ylim(-0.6, len(names) - 0.4)
        panel.set_yticks(list(shown), [plain_label(names[k], 8) for k in shown])
    else:
        heights = [math.nan if v is None else float(v) for v in values]
        if isinstance(distribution, LogUniform):
            panel.set_yscale("log")
        low, high = (getattr(distribution, side, math.nan) for side in ("low", "high"))
        panel.minorticks_off()
        if math.isfinite(low):
            pad = (high - low) * 0.12
            limits = (low / (high / low) ** 0.12, high * (high / low) ** 0.12)
            panel.set_ylim(
                *(limits if isinstance(distribution, LogUniform) else (low - pad, high + pad))
            )
            panel.set_yticks([low, high], [f"{low:g}", f"{high:g}"])
    panel.plot(x, heights, "|", color="black", ms=5, mew=1.4)
    panel.tick_params(axis="y", labelsize="x-small", length=2)
    panel.tick_params(axis="x", length=0)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def draw_sorted_differences(curves: Sequence[SpecificationCurve], ax: Axes) -> Axes:
    """Draw the sorted differences of each method, a panel for each method."""
    rows, columns = grid_shape(len(curves))
    axes = split_axes(ax, rows, columns, sharey=True)
    for k, panel in enumerate(axes.flat):
        if k >= len(curves):
            panel.set_axis_off()
            continue
        differences = 100 * np.array(curves[k].differences)
        x = np.arange(1, len(differences) + 1)
        for rows_, color, marker in (
            (differences > 0, BLUE, "^"), (differences < 0, ORANGE, "v"), (differences == 0, GRAY, "o"),
        ):  # fmt: skip
            panel.plot(x[rows_], differences[rows_], marker, color=color, ms=2.5)
        panel.axhline(0, color="black", lw=0.8)
        panel.set_xticks([])
        panel.grid(axis="y", alpha=0.25)
        panel.set_title(plain_label(curves[k].method), fontsize="medium")
    axes[0, 0].figure.supylabel("difference, points", fontsize="medium")
    return axes[0, 0]  # type: ignore[no-any-return]
