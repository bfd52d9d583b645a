"""Plots of accuracy: by loss, by cell, and against rho."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from biascon.report.experiments import Experiment
from biascon.report.plots.style import (
    COLORS,
    COLUMN,
    MARKERS,
    PAGE,
    SERIES,
    WITHOUT_BIAS,
    get_rho,
    loss_label,
    make_axes,
    plain_label,
)
from biascon.report.verdicts import summarize_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_accuracies(group: Experiment, ax: Axes | None = None) -> Axes:
    """Draw accuracies by loss: a small mark a seed, the mean with its 95 % t interval."""
    ax = make_axes(ax)
    labels = list(group.losses)
    for metric, name, color, marker in SERIES if group.has_bias else WITHOUT_BIAS:
        legend: str | None = name
        for row, label in enumerate(labels):
            values = [100 * value for value in group.values(label, metric).values()]
            mean = summarize_seeds(group, label, metric)
            if mean is None:
                continue
            ax.plot(values, [row] * len(values), marker, color=color, ms=3, alpha=0.45, mew=0)
            ax.plot(100 * mean.mean, row, marker, color=color, ms=6, label=legend)
            legend = None
            if metric == group.headline and mean.n > 1:
                ax.plot([100 * mean.low, 100 * mean.high], [row, row], color=color, lw=1.5)
    ax.set_yticks(range(len(labels)), [loss_label(group, label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlim(right=101)
    ax.set_xlabel(f"test accuracy, % (n = {group.first['top1']['n']:,})")
    ax.grid(axis="x", alpha=0.3)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return ax


def draw_cells(group: Experiment, label: str, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of each (label, bias) cell of the test images, mean over seeds, as a heat map."""
    ax = make_axes(ax, COLUMN, COLUMN)
    tables = np.array([run.evaluation["counts"] for run in group.losses[label]], dtype=float)
    rows = tables.sum(axis=-1)  # (S, K, M)
    hits = np.moveaxis(np.diagonal(tables, axis1=1, axis2=3), -1, 1)  # (S, K, M)
    with np.errstate(invalid="ignore"):
        value = 100 * (hits / rows).mean(axis=0)
    ax.set_facecolor("0.85")  # of a cell without images
    ax.imshow(value, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    for (k, m), cell in np.ndenumerate(value):
        if np.isfinite(cell):
            color = "black" if cell > 55 else "white"
            ax.text(m, k, f"{cell:.0f}", ha="center", va="center", fontsize=6, color=color)
    values, names = (
        [plain_label(name) for name in each]
        for each in (group.bias["values"], group.first["labels"])
    )
    ax.set_xticks(range(len(values)), values, rotation=60, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel(plain_label(group.bias["name"]))
    ax.set_ylabel("label")
    ax.set_title(loss_label(group, label), fontsize="medium")
    return ax


def draw_against_rho(groups: Sequence[Experiment], ax: Axes | None = None) -> Axes:
    """Draw unbiased accuracy against the color correlation rho, a line a loss, with 95 % t intervals."""
    ax = make_axes(ax, PAGE, 3.2)
    labels = list(dict.fromkeys(label for group in groups for label in group.losses))
    for k, label in enumerate(labels):
        points = []
        for place, group in enumerate(groups):
            mean = summarize_seeds(group, label, "unbiased") if label in group.losses else None
            if mean is not None:
                spread = (mean.mean - mean.low, mean.high - mean.mean) if mean.n > 1 else (0.0, 0.0)
                points.append((place, mean.mean, *spread))
        if not points:
            continue
        x, y, low, high = (np.array(column) for column in zip(*points, strict=True))
        ax.errorbar(
            x + 0.04 * (k - len(labels) / 2), 100 * y, yerr=(100 * low, 100 * high),
            color=COLORS[k % len(COLORS)], marker=MARKERS[k % len(MARKERS)], ms=5, lw=1.2,
            capsize=2, label=label.replace("$", r"\$"),
        )  # fmt: skip
    ax.set_xticks(range(len(groups)), [get_rho(group) for group in groups])
    ax.set_ylim(top=min(101.0, ax.get_ylim()[1]))
    ax.set_xlabel("rho")
    ax.set_ylabel(f"unbiased accuracy, % (n = {groups[0].first['top1']['n']:,})")
    ax.grid(axis="y", alpha=0.3)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
