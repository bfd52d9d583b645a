"""Plots of features: cosine similarities of pairs, and a t-SNE map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from biascon.report.experiments import Experiment
from biascon.report.plots.style import COLORS, COLUMN, MARKERS, loss_label, make_axes, plain_label
from biascon.report.tsne import tsne_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Kinds of pairs with their name in the legend and their line style.
PAIR_KINDS = {
    "self": ("two views of one image", "-."),
    "same_bias": ("one label, one bias value", "-"),
    "other_bias": ("one label, other bias values", "--"),
    "negative": ("other labels", ":"),
}
PAIR_KINDS_WITHOUT_BIAS = {"same_bias": ("one label", "-"), "negative": ("other labels", ":")}
MAX_IN_LEGEND = 40
# The colors of matplotlib's "tab20", the saturated ones first.
TAB20 = (
    *(f"C{k}" for k in range(10)),
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5",
    "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
)  # fmt: skip


def draw_similarities(experiment: Experiment, label: str, ax: Axes | None = None) -> Axes:
    """Draw the density of the cosine similarities of each kind of pairs of test images, means over seeds."""
    ax = make_axes(ax, COLUMN, 2.4)
    kinds = PAIR_KINDS if experiment.has_bias else PAIR_KINDS_WITHOUT_BIAS
    for k, (kind, (name, line_style)) in enumerate(kinds.items()):
        histograms = [
            run.evaluation.features.similarities[kind]
            for run in experiment.losses[label]
            if kind in run.evaluation.features.similarities
        ]
        if histograms:
            shares = [np.array(histogram.counts) / histogram.n for histogram in histograms]
            mean = np.mean(shares, axis=0)
            edges = np.linspace(-1, 1, len(mean) + 1)
            ax.stairs(
                mean * len(mean) / 2, edges, color=COLORS[k], ls=line_style, lw=1.4, label=name
            )
    ax.set_xlabel("cosine similarity of two features")
    ax.set_ylabel("density")
    ax.set_title(loss_label(experiment, label), fontsize="medium")
    ax.legend(frameon=False, fontsize="x-small", loc="upper left")
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])  # room for the legend
    return ax


def draw_tsne(
    experiment: Experiment, label: str, by: Literal["labels", "bias"], ax: Axes | None = None
) -> Axes:
    """Draw the t-SNE map of the test features of the first seed of a loss, colored by label or bias."""
    ax = make_axes(ax, COLUMN, COLUMN)
    shown = tsne_map(experiment.losses[label][0])
    if by == "labels":
        values, names, colored_by = shown.labels, experiment.identity.labels, "label"
    else:
        values, names = shown.bias, experiment.bias.values
        colored_by = plain_label(experiment.bias.name)
    for k, name in enumerate(names):
        x, y = shown.positions[values == k].T
        ax.plot(
            x, y, MARKERS[k % len(MARKERS)], ms=2.2, mew=0, alpha=0.8,
            color=TAB20[k % len(TAB20)], label=plain_label(name), rasterized=True,
        )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(f"{loss_label(experiment, label)}, by {colored_by}", fontsize="medium")
    if len(names) > MAX_IN_LEGEND:  # the legend would need more room than the points
        return ax
    columns = 1 if len(names) <= 12 else 2
    ax.legend(
        frameon=False, fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=columns,
        handletextpad=0.1, markerscale=2,
    )  # fmt: skip
    return ax
