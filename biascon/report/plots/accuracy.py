"""Plots of accuracy: by loss, by cell, and against rho."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from biascon.report.dataset_parameters import biased_mnist_parameters
from biascon.report.experiments import Experiment
from biascon.report.plots.style import (
    ACCURACY_SERIES,
    ACCURACY_SERIES_WITHOUT_BIAS,
    COLORS,
    COLUMN,
    MARKERS,
    PAGE,
    escape_math,
    loss_label,
    make_axes,
    plain_label,
)
from biascon.report.verdicts import summarize_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_accuracies(experiment: Experiment, ax: Axes | None = None) -> Axes:
    """Draw accuracies by loss: a small marker for each seed, a large one for the mean, a 95 % t interval."""
    ax = make_axes(ax)
    labels = list(experiment.losses)
    series = ACCURACY_SERIES if experiment.has_bias else ACCURACY_SERIES_WITHOUT_BIAS
    for metric, name, color, marker in series:
        legend_name: str | None = name
        for row, label in enumerate(labels):
            values = [100 * value for value in experiment.values(label, metric).values()]
            mean = summarize_seeds(experiment, label, metric)
            if mean is None:
                continue
            ax.plot(values, [row] * len(values), marker, color=color, ms=3, alpha=0.45, mew=0)
            ax.plot(100 * mean.mean, row, marker, color=color, ms=6, label=legend_name)
            legend_name = None
            if metric == experiment.headline and mean.n > 1:
                ax.plot([100 * mean.low, 100 * mean.high], [row, row], color=color, lw=1.5)
    ax.set_yticks(range(len(labels)), [loss_label(experiment, label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    # A t interval may reach below 0; the axis does not.
    ax.set_xlim(max(-1.0, ax.get_xlim()[0]), 101)
    ax.set_xlabel(f"test accuracy, % (n = {experiment.test_n:,})")
    ax.grid(axis="x", alpha=0.3)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return ax


def draw_cells(experiment: Experiment, label: str, ax: Axes | None = None) -> Axes:
    """Draw the test accuracy of each (label, bias) cell as a heat map, means over seeds."""
    ax = make_axes(ax, COLUMN, COLUMN)
    tables = np.array(
        [run.evaluation.summary.counts for run in experiment.losses[label]], dtype=float
    )
    rows = tables.sum(axis=-1)  # (S, K, M)
    correct = np.moveaxis(np.diagonal(tables, axis1=1, axis2=3), -1, 1)  # (S, K, M)
    with np.errstate(invalid="ignore"):
        accuracy = 100 * (correct / rows).mean(axis=0)
    ax.set_facecolor("0.85")  # shows where a cell has no images
    ax.imshow(accuracy, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    for (k, m), value in np.ndenumerate(accuracy):
        if np.isfinite(value):
            color = "black" if value > 55 else "white"
            ax.text(m, k, f"{value:.0f}", ha="center", va="center", fontsize=6, color=color)
    bias_names = [plain_label(name) for name in experiment.bias.values]
    label_names = [plain_label(name) for name in experiment.identity.labels]
    ax.set_xticks(range(len(bias_names)), bias_names, rotation=60, ha="right")
    ax.set_yticks(range(len(label_names)), label_names)
    ax.set_xlabel(plain_label(experiment.bias.name))
    ax.set_ylabel("label")
    ax.set_title(loss_label(experiment, label), fontsize="medium")
    return ax


def list_labels(experiments: Sequence[Experiment]) -> list[str]:
    """Return the labels of all losses of several experiments, each once."""
    return list(dict.fromkeys(label for each in experiments for label in each.losses))


def rho_figure_height(experiments: Sequence[Experiment]) -> float:
    """Return the height in inches of the figure against rho; its legend has a line for each loss."""
    return max(3.2, 0.6 + 0.19 * len(list_labels(experiments)))


def draw_against_rho(experiments: Sequence[Experiment], ax: Axes | None = None) -> Axes:
    """Draw unbiased accuracy against rho: a line for each loss, with 95 % t intervals.

    Args:
        experiments: Experiments on BiasedMNIST, in the order of rho.
        ax: The axes to draw on.
    """
    labels = list_labels(experiments)
    ax = make_axes(ax, PAGE, rho_figure_height(experiments))
    offset = min(0.04, 0.6 / len(labels))  # between the points of two losses
    for k, label in enumerate(labels):
        points = []
        for position, experiment in enumerate(experiments):
            if label not in experiment.losses:
                continue
            mean = summarize_seeds(experiment, label, "unbiased")
            if mean is not None:
                spread = (mean.mean - mean.low, mean.high - mean.mean) if mean.n > 1 else (0.0, 0.0)
                points.append((position, mean.mean, *spread))
        if not points:
            continue
        x, y, low, high = (np.array(column) for column in zip(*points, strict=True))
        ax.errorbar(
            x + offset * (k - len(labels) / 2), 100 * y, yerr=(100 * low, 100 * high),
            color=COLORS[k % len(COLORS)], marker=MARKERS[k % len(MARKERS)], ms=5, lw=1.2,
            capsize=2, label=escape_math(label),
        )  # fmt: skip
    parameters = [biased_mnist_parameters(experiment.identity) for experiment in experiments]
    ax.set_xticks(range(len(experiments)), ["" if p is None else p.rho for p in parameters])
    ax.set_ylim(max(-1.0, ax.get_ylim()[0]), min(101.0, ax.get_ylim()[1]))
    ax.set_xlabel("rho")
    ax.set_ylabel(f"unbiased accuracy, % (n = {experiments[0].test_n:,})")
    ax.grid(axis="y", alpha=0.3)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
