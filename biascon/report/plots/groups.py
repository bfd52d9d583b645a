"""The accuracy of each group, a bar a loss: ``ax=None`` in, ``ax`` out."""

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
MOST = 5  # bars of a group
ACROSS = 80  # letters that fit beside each other on a page


def group_rates(
    group: Experiment, label: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the accuracy of each group, ``(M,)``, and its limits ``(2, M)``.

    Over two seeds or more their mean and its 95 % t interval; of one seed Wilson's over the test images.
    NaN for a group without test images.
    """
    tables = np.array([run.evaluation["counts"] for run in group.losses[label]], dtype=np.int64)
    rows = tables.sum(axis=(1, 3))  # (S, M)
    hits = np.diagonal(tables, axis1=1, axis2=3).sum(axis=-1)
    accuracy = divide(hits, rows)
    if len(tables) == 1:
        return accuracy[0], np.stack(wilson(hits[0], rows[0]))
    means = [t_interval(one) for one in accuracy.T]
    limits = [[mean.low for mean in means], [mean.high for mean in means]]
    return accuracy.mean(axis=0), np.clip(np.array(limits), 0, 1)


def draw_groups(group: Experiment, labels: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw the accuracy of the test images of each bias value, a bar a loss, with 95 % intervals."""
    ax = make_axes(ax, PAGE, 2.8)
    width = 0.84 / len(labels)
    names = group.first["bias"]["values"]
    places = np.arange(len(names))
    for k, label in enumerate(labels):
        value, (low, high) = group_rates(group, label)
        ax.bar(
            places + (k - (len(labels) - 1) / 2) * width, 100 * value, 0.92 * width,
            yerr=np.maximum(np.nan_to_num(100 * np.stack((value - low, high - value))), 0),
            color=COLORS[k % len(COLORS)], hatch=HATCHES[k % len(HATCHES)], edgecolor="white",
            linewidth=0, label=loss_label(group, label), error_kw={"lw": 0.8, "capsize": 1.5},
        )  # fmt: skip
    n = np.array(group.first["counts"]).sum(axis=(0, 2))
    told = [plain_label(name) for name in names]
    tilted = len(names) * max(map(len, told)) > ACROSS
    ticks = [
        f"{name}{', ' if tilted else chr(10)}{count:,}" for name, count in zip(told, n, strict=True)
    ]
    ax.set_xticks(places, ticks, rotation=60 if tilted else 0, ha="right" if tilted else "center")
    ax.set_ylim(0, 105)
    ax.set_xlabel(f"{plain_label(group.first['bias']['name'])}, n")
    ax.set_ylabel("accuracy, %")
    ax.grid(axis="y", alpha=0.3)
    ax.set_axisbelow(True)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(labels), frameon=False)
    return ax
