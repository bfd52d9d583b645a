"""Plot of validation accuracy by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biascon.report.convergence import validation_curves
from biascon.report.experiments import Experiment
from biascon.report.plots.style import COLORS, MARKERS, PAGE, loss_label, make_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_convergence(experiment: Experiment, ax: Axes | None = None) -> Axes:
    """Draw the headline validation accuracy by epoch: a thin line for each seed, and their mean."""
    from matplotlib.ticker import MaxNLocator

    ax = make_axes(ax, PAGE, 2.8)
    for k, (label, curves) in enumerate(validation_curves(experiment).items()):
        color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
        for curve in curves:
            epochs = [point.epoch for point in curve]
            accuracies = [100 * point.accuracy for point in curve]
            ax.plot(epochs, accuracies, color=color, lw=0.6, alpha=0.5)
        points = [point for curve in curves for point in curve]
        epochs = sorted({point.epoch for point in points})
        means = [np.mean([p.accuracy for p in points if p.epoch == epoch]) for epoch in epochs]
        ax.plot(
            epochs,
            [100 * mean for mean in means],
            color=color,
            marker=marker,
            ms=4,
            label=loss_label(experiment, label),
        )
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel(f"{experiment.metrics[experiment.headline]} validation accuracy, %")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
