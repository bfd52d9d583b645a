"""Plot of the test accuracy of each group, that is, of each value of the bias attribute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biascon.metrics.counts import divide
from biascon.metrics.intervals import t_interval, wilson
from biascon.report.experiments import Experiment
from biascon.report.plots.style import COLORS, PAGE, loss_label, make_axes, plain_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
MAX_BARS = 5  # losses that a group has bars of
MAX_TICK_LETTERS = 80  # that fit on the width of a page without a rotation


def group_accuracies(
    experiment: Experiment, label: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the accuracy of each group, ``(M,)``, and the limits of its 95 % interval, ``(2, M)``.

    With two seeds or more: the mean with its t interval. With one seed: the interval of Wilson over the test
    images. NaN for a group without test images.
    """
    runs = experiment.losses[label]
    tables = np.array([run.evaluation.summary.counts for run in runs], dtype=np.int64)
    rows = tables.sum(axis=(1, 3))  # (S, M)
    correct = np.diagonal(tables, axis1=1, axis2=3).sum(axis=-1)  # (S, M)
    accuracy = divide(correct, rows)
    if len(tables) == 1:
        return accuracy[0], np.stack(wilson(correct[0], rows[0]))
    means = [t_interval(values) for values in accuracy.T]
    limits = [[mean.low for mean in means], [mean.high for mean in means]]
    return accuracy.mean(axis=0), np.clip(np.array(limits), 0, 1)


def draw_groups(experiment: Experiment, labels: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw the test accuracy of each group, a bar for each loss, with 95 % intervals."""
    ax = make_axes(ax, PAGE, 2.8)
    width = 0.84 / len(labels)
    positions = np.arange(len(experiment.bias.values))
    for k, label in enumerate(labels):
        value, (low, high) = group_accuracies(experiment, label)
        ax.bar(
            positions + (k - (len(labels) - 1) / 2) * width, 100 * value, 0.92 * width,
            yerr=np.maximum(np.nan_to_num(100 * np.stack((value - low, high - value))), 0),
            color=COLORS[k % len(COLORS)], hatch=HATCHES[k % len(HATCHES)], edgecolor="white",
            linewidth=0, label=loss_label(experiment, label), error_kw={"lw": 0.8, "capsize": 1.5},
        )  # fmt: skip
    n = np.array(experiment.metadata.summary.counts).sum(axis=(0, 2))
    names = [plain_label(name) for name in experiment.bias.values]
    is_rotated = len(names) * max(map(len, names)) > MAX_TICK_LETTERS
    separator = ", " if is_rotated else "\n"
    ax.set_xticks(
        positions,
        [f"{name}{separator}{count:,}" for name, count in zip(names, n, strict=True)],
        rotation=60 if is_rotated else 0,
        ha="right" if is_rotated else "center",
    )
    ax.set_ylim(0, 105)
    ax.set_xlabel(f"{plain_label(experiment.bias.name)}, n")
    ax.set_ylabel("accuracy, %")
    ax.grid(axis="y", alpha=0.3)
    ax.set_axisbelow(True)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(labels), frameon=False)
    return ax
