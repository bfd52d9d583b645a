"""Plot of validation accuracy against epochs and seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biascon.report.convergence import validation_curves
from biascon.report.experiments import Experiment
from biascon.report.plots.style import COLORS, MARKERS, PAGE, loss_label, make_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_convergence(group: Experiment, ax: Axes | None = None) -> Axes:
    """Draw the headline validation accuracy of a probe by epoch: a thin line a seed, their mean."""
    from matplotlib.ticker import MaxNLocator

    ax = make_axes(ax, PAGE, 2.8)
    for k, (label, found) in enumerate(validation_curves(group).items()):
        color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
        for one in found:
            ax.plot(
                [p.epoch for p in one],
                [100 * p.accuracy for p in one],
                color=color,
                lw=0.6,
                alpha=0.5,
            )
        epochs = sorted({p.epoch for one in found for p in one})
        means = [
            np.mean([p.accuracy for one in found for p in one if p.epoch == e]) for e in epochs
        ]
        ax.plot(
            epochs,
            [100 * m for m in means],
            color=color,
            marker=marker,
            ms=4,
            label=loss_label(group, label),
        )
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel(f"{group.metrics[group.headline]} validation accuracy, %")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
