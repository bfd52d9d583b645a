"""Plots of an audit: the rates of every group, or the comparisons of the groups, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from biascon.auditing.record import AuditRecord
from biascon.errors import UsageError, unknown_name
from biascon.metrics.multiclass import MULTICLASS_METRICS
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.records import Metric
from biascon.metrics.summary import COMPARISONS
from biascon.utils.figures import COLORS, MARKERS, PAGE, plain_label
from biascon.utils.text import shorten
from biascon.utils.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PlotKind = Literal["rates", "accuracy", "differences"]
MAX_GROUPS = 30  # of a plot: those with the lowest accuracy
_MAX_LETTERS = 32  # of the name of a group
_RATES = {
    "selection_rate": "selection rate",
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
}
_GRAY = "#6b6b6b"


@dataclass(frozen=True)
class Series:
    """One rate of every group.

    Attributes:
        name: The name in the legend.
        groups: The rate of each group, with its interval.
        pooled: The rate over all rows, None where it is undefined.
    """

    name: str
    groups: Sequence[Metric]
    pooled: float | None


def draw_audit(record: AuditRecord, kind: PlotKind = "rates", ax: Axes | None = None) -> Axes:
    """Draw a record.

    Args:
        record: The record.
        kind: ``"rates"``: accuracy, and with two classes the selection rate, the true positive rate and the
            false positive rate of the positive class, of every group. ``"accuracy"``: the accuracy of every
            group. ``"differences"``: the differences between groups, with their value by chance.
        ax: The axes to draw on; None for those of a new figure.

    Raises:
        UsageError: ``kind`` is another text, or ``ax`` is no axes.
    """
    from matplotlib.axes import Axes as MatplotlibAxes

    if kind not in get_args(PlotKind):
        raise unknown_name("kind of plot", str(kind), get_args(PlotKind))
    if ax is not None and not isinstance(ax, MatplotlibAxes):
        raise UsageError(f"expected ax to be axes of matplotlib or None, but got {ax!r}")
    if kind == "differences":
        return _draw_differences(record, ax)
    series = _group_series(record)
    return _draw_groups(record, series[:1] if kind == "accuracy" else series, ax)


def _group_series(record: AuditRecord) -> list[Series]:
    """Return the accuracy of every group, and with two classes the rates of the positive class."""
    series = [
        Series("accuracy", [group.accuracy for group in record.by_group], record["top1"].value)
    ]
    k, n_groups = record.positive, len(record.groups)
    if k is None:
        return series
    for key, name in _RATES.items():
        rate = record.rates.by_class[key]
        groups = [rate.metric(k, m) for m in range(n_groups)]
        # The rows of a rate with weights have the effective number of their group.
        pooled = None if record.weights is not None else _pool(rate.hits[k], rate.effective[k])
        series.append(Series(name, groups, pooled))
    return series


def _pool(hits: Array, rows: Array) -> float | None:
    total = float(rows.sum())
    return float(hits.sum()) / total if total else None


def _draw_groups(record: AuditRecord, series: Sequence[Series], ax: Axes | None) -> Axes:
    """Draw a row for each group, with a point for each series, from top to bottom."""
    shown = _choose_groups(record)
    row_height = 0.12 + (0.1 if len(series) > 1 else 0.16) * len(series)
    ax = _make_axes(ax, 1.15 + row_height * max(len(shown), 2))
    step = 0.7 / len(series)
    for k, part in enumerate(series):
        color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
        if part.pooled is not None:
            ax.axvline(100 * part.pooled, color=color, lw=0.8, ls=(0, (2, 3)), alpha=0.7, zorder=1)
        offset = (k - (len(series) - 1) / 2) * step
        positions = [(row + offset, part.groups[m]) for row, m in enumerate(shown)]
        _draw_points(ax, positions, color, marker, plain_label(part.name))
    marks = ["" if is_compared else ", not compared" for is_compared in record.compared]
    names = [
        f"{_shorten(record.groups[m])}  (n = {record.by_group[m].n:,}{marks[m]})" for m in shown
    ]
    for row in range(1, len(shown), 2):  # stripes keep the points of a group together
        ax.axhspan(row - 0.5, row + 0.5, color="black", alpha=0.04, lw=0, zorder=0)
    _finish(ax, names, 101)
    positive = record.summary.positive
    of_class = (
        "" if len(series) == 1 or positive is None else f"; rates of '{plain_label(positive)}'"
    )
    what = "accuracy in percent" if len(series) == 1 else "percent"
    _name_axis(ax, f"{what}, with 95 % intervals{of_class}; dotted: over all rows")
    limit = "" if len(shown) == len(record.groups) else (
        f", the {len(shown)} of {len(record.groups):,} with the lowest accuracy"
    )  # fmt: skip
    ax.set_title(
        plain_label(record.bias, _MAX_LETTERS) + limit, fontsize=9, weight="bold", loc="left"
    )
    if len(series) > 1:
        _add_legend(ax, len(series))
    return ax


def _draw_differences(record: AuditRecord, ax: Axes | None) -> Axes:
    """Draw a row for each difference between groups, with its interval and its value by chance."""
    names = [name for name in COMPARISONS if name.endswith("_difference")]
    multiclass = MULTICLASS_METRICS[0]  # the largest difference over all classes: no mean
    if record[multiclass].n:
        names.insert(names.index("equal_opportunity_difference"), multiclass)
    ax = _make_axes(ax, 1.25 + 0.34 * len(names))
    positions = [(float(row), record[name]) for row, name in enumerate(names)]
    _draw_points(ax, positions, COLORS[0], MARKERS[0], "found")
    tests = record.summary.disparity or {}
    chance = [
        (row, 100 * expected)
        for row, name in enumerate(names)
        if name in tests and (expected := tests[name].expected) is not None
    ]
    if chance:
        y, x = zip(*chance, strict=True)
        ax.plot(x, y, ls="none", marker="|", ms=11, mew=1.8, color=COLORS[1], label="by chance")
    largest = [m.high if m.high is not None else m.value for _, m in positions]
    right = 100 * max((value for value in largest if value is not None), default=1.0)
    rows = [METRIC_NAMES[name].name.removesuffix(" difference") for name in names]
    _finish(ax, rows, min(101, 1.08 * max(right, 5)))
    positive = record.summary.positive
    of_class = "mean over classes" if positive is None else f"class '{plain_label(positive)}'"
    if multiclass in names:
        of_class += "; multi-class: largest difference"
    bias = plain_label(record.bias, _MAX_LETTERS)
    _name_axis(ax, f"points, with 95 % intervals; {of_class}")
    title = f"largest difference between groups of {bias}"
    ax.set_title(title, fontsize=9, weight="bold", loc="left")
    _add_legend(ax, 2)
    return ax


def _shorten(name: str) -> str:
    """Return a name for a plot; a long one is cut in the middle, as names often differ at the end."""
    return plain_label(shorten(" ".join(name.split()), _MAX_LETTERS), _MAX_LETTERS)


def _make_axes(ax: Axes | None, height: float) -> Axes:
    """Return ``ax``, or the axes of a new figure of pyplot, which a notebook shows."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(PAGE, height), layout="constrained").subplots()


def _choose_groups(record: AuditRecord) -> list[int]:
    """Return the groups of a plot in their order: all, or those with the lowest accuracy."""

    def accuracy(m: int) -> float:
        value = record.by_group[m].accuracy.value
        return np.inf if value is None else value

    return sorted(sorted(range(len(record.groups)), key=accuracy)[:MAX_GROUPS])


def _draw_points(
    ax: Axes, positions: Sequence[tuple[float, Metric]], color: str, marker: str, name: str
) -> None:
    """Draw metrics in percent at their heights; an undefined one is a word."""
    defined = [(y, metric) for y, metric in positions if metric.value is not None]
    for y, metric in positions:
        if metric.value is None:
            ax.text(1, y, "undefined", fontsize=6.5, color=_GRAY, va="center", style="italic")
    values = np.array([100 * (metric.value or 0.0) for _, metric in defined])
    limits = [metric.interval or (metric.value, metric.value) for _, metric in defined]
    spread = np.abs(100 * np.array(limits, dtype=float).reshape(-1, 2).T - values)
    ax.errorbar(
        values, [y for y, _ in defined], xerr=spread, color=color, marker=marker, ls="none", ms=5,
        mec="white", mew=0.6, elinewidth=1.3, capsize=0, label=name, zorder=3,
    )  # fmt: skip


def _finish(ax: Axes, names: Sequence[str], right: float) -> None:
    """Name the rows, from top to bottom, and draw the grid of percents up to a limit on the right."""
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(-0.01 * right, right)
    ax.tick_params(axis="x", labelsize=9)
    ax.grid(axis="x", alpha=0.25)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _name_axis(ax: Axes, text: str) -> None:
    """Name the horizontal axis; the text ends on the right, as it may be wider than the axis."""
    ax.set_xlabel(text, fontsize=9, loc="right")


def _add_legend(ax: Axes, n: int) -> None:
    """Add a legend above the axes for n series; it ends on the right, with the title on a line of its own."""
    handles, names = ax.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda k: names[k] == "by chance")
    ax.legend(
        [handles[k] for k in order], [names[k] for k in order], loc="lower right",
        bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.2, fontsize=9, handletextpad=0.3,
        columnspacing=1.2,
    )  # fmt: skip
    ax.set_title(
        ax.get_title(loc="left"),
        fontsize=9,
        weight="bold",
        loc="left",
        pad=14 + 14 * ((n + 1) // 2),
    )
