"""Plots of features: similarities of pairs, and a t-SNE map."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from biascon.report.experiments import Experiment, FinishedRun
from biascon.report.plots.style import COLORS, COLUMN, MARKERS, loss_label, make_axes, plain_label
from biascon.runs.folder import FEATURES, PREDICTIONS
from biascon.utils.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


ONE_LABEL = {"same_bias": ("one label", "-"), "negative": ("other labels", ":")}
KINDS = {
    "self": ("two views of one image", "-."),
    "same_bias": ("one label, one bias value", "-"),
    "other_bias": ("one label, other bias values", "--"),
    "negative": ("other labels", ":"),
}


def draw_similarities(group: Experiment, label: str, ax: Axes | None = None) -> Axes:
    """Draw how similar the features of which pairs of test images are: densities, mean over seeds."""
    ax = make_axes(ax, COLUMN, 2.4)
    for k, (kind, (name, style)) in enumerate((KINDS if group.has_bias else ONE_LABEL).items()):
        found = [
            run.evaluation["representation"]["similarities"].get(kind)
            for run in group.losses[label]
        ]
        counts = [np.array(one["counts"]) / one["n"] for one in found if one]
        if counts:
            mean = np.mean(counts, axis=0)
            edges = np.linspace(-1, 1, len(mean) + 1)
            ax.stairs(mean * len(mean) / 2, edges, color=COLORS[k], ls=style, lw=1.4, label=name)
    ax.set_xlabel("cosine of two features")
    ax.set_ylabel("density")
    ax.set_title(loss_label(group, label), fontsize="medium")
    ax.legend(frameon=False, fontsize="x-small", loc="upper left")
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])  # room for the legend
    return ax


NAMED = 40  # values that a legend may have
SHOWN = 1500  # points of a t-SNE, images evenly drawn from the test split
FEATURES_TEST = FEATURES[2]


def has_features(run: FinishedRun) -> bool:
    """Whether the features of the test images are kept in the run's folder."""
    return (run.folder / FEATURES_TEST).is_file()


@functools.cache
def tsne_embedding(folder: Path) -> tuple[Array, Array, Array]:
    """Return t-SNE positions ``(S, 2)`` of a run's test features, and the labels and bias of these images."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file
    from sklearn.manifold import TSNE

    features = load_file(folder / FEATURES_TEST)["features"]
    frame = pq.read_table(folder / PREDICTIONS, columns=["label", "bias"]).to_pandas()
    rows = np.linspace(0, len(features) - 1, min(SHOWN, len(features))).astype(np.int64)
    x = features[rows]
    x = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    found = TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(x)
    return found, frame["label"].to_numpy()[rows], frame["bias"].to_numpy()[rows]


def draw_tsne(
    group: Experiment, label: str, by: Literal["labels", "bias"], ax: Axes | None = None
) -> Axes:
    """Draw a t-SNE of the test features of a loss's first seed, colored by label or by bias attribute."""
    ax = make_axes(ax, COLUMN, COLUMN)
    at, labels, bias = tsne_embedding(group.losses[label][0].folder)
    values, names = (
        (labels, group.first["labels"]) if by == "labels" else (bias, group.bias["values"])
    )
    for k, name in enumerate(names):
        here = values == k
        ax.plot(
            at[here, 0], at[here, 1], MARKERS[k % len(MARKERS)], ms=2.2, mew=0, alpha=0.8,
            color=TWENTY[k % len(TWENTY)], label=plain_label(name), rasterized=True,
        )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    what = "label" if by == "labels" else plain_label(group.bias["name"])
    ax.set_title(f"{loss_label(group, label)}, by {what}", fontsize="medium")
    columns = 1 if len(names) <= 12 else 2
    if len(names) > NAMED:  # a name each would need more room than the points
        return ax
    ax.legend(
        frameon=False, fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=columns,
        handletextpad=0.1, markerscale=2,
    )  # fmt: skip
    return ax


# matplotlib's "tab20", its strong colors first.
TWENTY = (
    *(f"C{k}" for k in range(10)),
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5",
    "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
)  # fmt: skip
