"""Plots of the results of a study: confirmation, accuracy against disparity, importance, variance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from biascon.report.plots.study_curves import set_plain_log_axis, split_axes
from biascon.report.plots.style import COLORS, MARKERS, plain_label
from biascon.studies.confirmation import Comparison, Verdict
from biascon.studies.multiverse import Importance, VarianceSource
from biascon.studies.records import VARIANCE_STAGES, Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERDICT_MARKS = {
    Verdict.BETTER: ("^", COLORS[0]),
    Verdict.WORSE: ("v", COLORS[1]),
    Verdict.LEVEL: ("s", COLORS[2]),
    Verdict.UNDECIDED: ("o", "0.35"),
    Verdict.NONE: ("D", "0.6"),
}
STAGE_NAMES = {
    Stage.CONFIRMATION: "all together",
    Stage.SEEDS: "training seed",
    Stage.DATASETS: "dataset seed",
    Stage.ROUNDING: "rounding",
}
MAX_COLORED = 8  # methods that have a color of their own


def draw_confirmation(
    panels: Mapping[str, Sequence[Comparison]], methods: Sequence[str], margin: float, ax: Axes
) -> Axes:
    """Draw the differences of the confirmation with both intervals; the margin of equivalence is shaded.

    A comparison without a verdict has only the interval of the two chosen settings.

    Args:
        panels: The comparisons by the title of their panel.
        methods: The methods, a row each.
        margin: The margin.
        ax: The axes that the panels replace.
    """
    axes = split_axes(ax, 1, len(panels), sharey=True)[0]
    for panel, (title, comparisons) in zip(axes, panels.items(), strict=True):
        panel.axvspan(-100 * margin, 100 * margin, color="0.9", lw=0)
        panel.axvline(0, color="black", lw=0.8)
        for c in comparisons:
            row = methods.index(c.method)
            marker, color = VERDICT_MARKS[c.verdict]
            _draw_interval(panel, row, c.settings_low, c.settings_high, color, 5.0, 0.3)
            _draw_interval(panel, row, c.low, c.high, color, 1.3, 1.0)
            panel.plot(100 * c.difference, row, marker, color=color, ms=5.5, mec="white", mew=0.5)
        panel.set_title(plain_label(title), fontsize="medium")
        panel.set_xlabel("difference, points")
        panel.grid(axis="x", alpha=0.25)
    axes[0].set_yticks(range(len(methods)), [plain_label(method) for method in methods])
    axes[0].set_ylim(len(methods) - 0.4, -0.6)
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker=marker, color=color, label=verdict.value)
        for verdict, (marker, color) in VERDICT_MARKS.items()
        if verdict is not Verdict.NONE
        or any(c.verdict is verdict for part in panels.values() for c in part)
    ]
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False)
    return axes[0]  # type: ignore[no-any-return]


def _draw_interval(
    panel: Axes, row: int, low: float, high: float, color: str, width: float, alpha: float
) -> None:
    if math.isfinite(low) and math.isfinite(high):
        panel.plot(
            [100 * low, 100 * high], [row, row], color=color, lw=width, alpha=alpha,
            solid_capstyle="butt",
        )  # fmt: skip


def draw_front(
    points: Mapping[str, Sequence[tuple[float, float]]],
    front: Sequence[tuple[float, float]],
    confirmed: Mapping[str, tuple[float, float]],
    names: tuple[str, str],
    ax: Axes,
) -> Axes:
    """Draw accuracy against disparity of all trials, with their Pareto front.

    Args:
        points: Disparity and accuracy of the trials by method.
        front: Disparity and accuracy on the front, in the order of the disparity.
        confirmed: The mean disparity and accuracy of the confirmation, by method.
        names: The names of the disparity and of the accuracy.
        ax: The axes.
    """
    on_front = {method for method, part in points.items() if any(point in front for point in part)}
    colored = list(points)
    if len(points) > MAX_COLORED:
        colored = sorted(points, key=lambda method: method not in on_front)[:MAX_COLORED]
    for method, part in points.items():
        x, y = (100 * np.array([point[k] for point in part]) for k in (0, 1))
        if method not in colored:
            ax.plot(x, y, ".", color="0.75", ms=3, mew=0)
            continue
        k = colored.index(method)
        color, marker = COLORS[k], MARKERS[k]
        ax.plot(x, y, marker, color=color, ms=4, alpha=0.75, mew=0, label=plain_label(method))
        if method in confirmed:
            a, b = confirmed[method]
            ax.plot(100 * a, 100 * b, marker, color=color, ms=9, mec="black", mew=1.2)
    if len(colored) < len(points):
        ax.plot([], [], ".", color="0.75", ms=5, label="other methods")
    ax.step(
        [100 * x for x, _ in front], [100 * y for _, y in front], where="post", color="black", lw=1,
        marker="o", ms=7, mfc="none", mew=0.8, label="Pareto front of the trials", zorder=0,
    )  # fmt: skip
    ax.set_xlabel(f"{names[0]}, % (lower is better)")
    ax.set_ylabel(f"{names[1]}, %")
    ax.grid(alpha=0.25)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def draw_importance(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[str, str], tuple[float, str]],
    ax: Axes,
) -> Axes:
    """Draw the leave-one-out R^2 of each parameter as a heat map, with its number in percent.

    Args:
        rows: The methods.
        columns: The columns.
        cells: The share and the name in front of it, by method and column.
        ax: The axes.
    """
    values = np.full((len(rows), len(columns)), math.nan)
    for (row, column), (share, _) in cells.items():
        values[rows.index(row), columns.index(column)] = max(0.0, share)
    ax.set_facecolor("0.88")
    ax.imshow(100 * values, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    for (row, column), (share, name) in cells.items():
        text = "-" if math.isnan(share) else f"{100 * share:.0f}" if share > 0 else "0"
        text = f"{plain_label(name, 10)} {text}" if name else text
        dark = math.isnan(share) or share < 0.55
        color = "black" if math.isnan(share) else "white" if dark else "black"
        ax.text(
            columns.index(column), rows.index(row), text, ha="center", va="center", fontsize=6.5,
            color=color,
        )  # fmt: skip
    ax.set_xticks(
        range(len(columns)), [plain_label(name) for name in columns], rotation=30, ha="right"
    )
    ax.set_yticks(range(len(rows)), [plain_label(name) for name in rows])
    return ax


def importance_columns(
    importances: Sequence[Importance], max_own: int = 4
) -> tuple[list[str], dict[tuple[str, str], tuple[float, str]]]:
    """Return the columns and cells of the heat map of importance.

    A parameter that only few methods have gets a column of its own if there are at most ``max_own`` such
    parameters. Otherwise the own parameters of a method share columns, with their names in the cells.
    """
    methods = {item.method for item in importances}
    users: dict[str, set[str]] = {}
    for item in importances:
        users.setdefault(item.parameter, set()).add(item.method)
    shared = [key for key, names in users.items() if 2 * len(names) > len(methods)]
    own = [key for key in users if key not in shared]
    cells: dict[tuple[str, str], tuple[float, str]] = {}
    columns = list(shared)
    if len(own) <= max_own:
        columns += own
        cells = {(i.method, i.parameter): (i.share, "") for i in importances}
        return columns, cells
    counts: dict[str, int] = {}
    for item in importances:
        if item.parameter in shared:
            cells[item.method, item.parameter] = (item.share, "")
            continue
        counts[item.method] = counts.get(item.method, 0) + 1
        column = f"own parameter {counts[item.method]}"
        cells[item.method, column] = (item.share, item.parameter.rpartition(".")[2])
    columns += [f"own parameter {k + 1}" for k in range(max(counts.values()))]
    return columns, cells


def draw_variance(rows: Mapping[str, Sequence[VarianceSource]], ax: Axes) -> Axes:
    """Draw the standard deviation by source of randomness with 95 % intervals.

    Args:
        rows: The sources by the name of their group of rows.
        ax: The axes.
    """
    stages = (Stage.CONFIRMATION, *VARIANCE_STAGES)
    for k, stage in enumerate(stages):
        name: str | None = STAGE_NAMES[stage]
        for place, sources in enumerate(rows.values()):
            for source in sources:
                if source.stage is not stage:
                    continue
                y = place + (k - 1.5) * 0.18
                ax.plot([100 * source.low, 100 * source.high], [y, y], color=COLORS[k], lw=1.2)
                ax.plot(100 * source.sd, y, MARKERS[k], color=COLORS[k], ms=4.5, label=name)
                name = None
    ax.set_yticks(range(len(rows)), [plain_label(name, 34) for name in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    if all(s.low > 0 for part in rows.values() for s in part):  # a source may have no effect at all
        set_plain_log_axis(ax)
    ax.set_xlabel("standard deviation, points")
    ax.grid(axis="x", alpha=0.25)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return ax
