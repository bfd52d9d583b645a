"""The figures of a report, a function each: ``ax=None`` in, ``ax`` out.

Colours are told apart without seeing colour: by marker or line as well.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from biascon.data.dataset import Split
from biascon.report.collect import Group, Run
from biascon.report.compare import summary
from biascon.report.convergence import curves
from biascon.runs import FEATURES, PREDICTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
# Okabe and Ito's.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SERIES = (
    ("bias_aligned", "bias-aligned cells", "#E69F00", "^"),
    ("unbiased", "all cells (unbiased)", "#0072B2", "o"),
    ("bias_conflicting", "bias-conflicting cells", "#D55E00", "v"),
)
WITHOUT_BIAS = (("top1", "top-1", "#0072B2", "o"), ("top5", "top-5", "#E69F00", "^"))
COLUMN, PAGE = 3.4, 7.0  # inches: the width of a column, and of a page


def page_of(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(page)
    return page


def axes_of(ax: Axes | None, width: float = PAGE, height: float = 3.0) -> Axes:
    """Return an axis to draw on: the one given, or one of a new figure."""
    return page_of(width, height).subplots() if ax is None else ax


def draw_accuracies(group: Group, ax: Axes | None = None) -> Axes:
    """Draw accuracies by loss: a small mark a seed, the mean with its 95 % t interval."""
    ax = axes_of(ax)
    labels = list(group.losses)
    for metric, name, colour, marker in SERIES if group.has_bias else WITHOUT_BIAS:
        legend: str | None = name
        for row, label in enumerate(labels):
            values = [100 * value for value in group.values(label, metric).values()]
            mean = summary(group, label, metric)
            if mean is None:
                continue
            ax.plot(values, [row] * len(values), marker, color=colour, ms=3, alpha=0.45, mew=0)
            ax.plot(100 * mean.mean, row, marker, color=colour, ms=6, label=legend)
            legend = None
            if metric == group.headline and mean.n > 1:
                ax.plot([100 * mean.low, 100 * mean.high], [row, row], color=colour, lw=1.5)
    ax.set_yticks(range(len(labels)), [name_of(group, label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlim(right=101)
    ax.set_xlabel(f"test accuracy, % (n = {group.first['top1']['n']:,})")
    ax.grid(axis="x", alpha=0.3)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return ax


def name_of(group: Group, label: str) -> str:
    """Return a loss as a figure names it, with its marks."""
    first = group.losses[label][0]
    own = " (c)" if first.judge == "own classifier" else ""
    return label.replace("$", r"\$") + own + " †" * first.sees_bias


def written(name: object, most: int = 24) -> str:
    """Return a value's name for a figure: in a line, not too long, and no formula.

    >>> written("$x$" + chr(10) + "y"), written("_"), written("a" * 30)
    ('\\\\$x\\\\$ y', ' _', 'aaaaaaaaaaaaaaaaaaaaaaa…')
    """
    text = " ".join(str(name).split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    return " " * text.startswith("_") + text.replace(
        "$", r"\$"
    )  # a legend leaves out what starts with "_"


def marks(group: Group) -> str:
    """Say what the marks on names mean, where there are any."""
    runs = [found[0] for found in group.losses.values()]
    own = " (c): by its own classifier." if any(r.judge == "own classifier" for r in runs) else ""
    return own + (" †: is given bias labels." if any(r.sees_bias for r in runs) else "")


def draw_cells(group: Group, label: str, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of each (label, bias) cell of the test images, mean over seeds, as a heat map."""
    ax = axes_of(ax, COLUMN, COLUMN)
    tables = np.array([run.evaluation["counts"] for run in group.losses[label]], dtype=float)
    rows = tables.sum(axis=-1)  # (S, K, M)
    hits = np.moveaxis(np.diagonal(tables, axis1=1, axis2=3), -1, 1)  # (S, K, M)
    with np.errstate(invalid="ignore"):
        value = 100 * (hits / rows).mean(axis=0)
    ax.set_facecolor("0.85")  # of a cell without images
    ax.imshow(value, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    for (k, m), cell in np.ndenumerate(value):
        if np.isfinite(cell):
            colour = "black" if cell > 55 else "white"
            ax.text(m, k, f"{cell:.0f}", ha="center", va="center", fontsize=6, color=colour)
    values, names = (
        [written(name) for name in each] for each in (group.bias["values"], group.first["labels"])
    )
    ax.set_xticks(range(len(values)), values, rotation=60, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel(written(group.bias["name"]))
    ax.set_ylabel("label")
    ax.set_title(name_of(group, label), fontsize="medium")
    return ax


ONE_LABEL = {"same_bias": ("one label", "-"), "negative": ("other labels", ":")}
KINDS = {
    "self": ("two views of one image", "-."),
    "same_bias": ("one label, one bias value", "-"),
    "other_bias": ("one label, other bias values", "--"),
    "negative": ("other labels", ":"),
}


def draw_similarities(group: Group, label: str, ax: Axes | None = None) -> Axes:
    """Draw how similar the features of which pairs of test images are: densities, mean over seeds."""
    ax = axes_of(ax, COLUMN, 2.4)
    for k, (kind, (name, style)) in enumerate((KINDS if group.has_bias else ONE_LABEL).items()):
        found = [
            run.evaluation["representation"]["similarities"].get(kind)
            for run in group.losses[label]
        ]
        counts = [np.array(one["counts"]) / one["n"] for one in found if one]
        if counts:
            mean = np.mean(counts, axis=0)
            edges = np.linspace(-1, 1, len(mean) + 1)
            ax.stairs(mean * len(mean) / 2, edges, color=COLOURS[k], ls=style, lw=1.4, label=name)
    ax.set_xlabel("cosine of two features")
    ax.set_ylabel("density")
    ax.set_title(name_of(group, label), fontsize="medium")
    ax.legend(frameon=False, fontsize="x-small", loc="upper left")
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])  # room for the legend
    return ax


def draw_convergence(group: Group, ax: Axes | None = None) -> Axes:
    """Draw the headline validation accuracy of a probe by epoch: a thin line a seed, their mean."""
    from matplotlib.ticker import MaxNLocator

    ax = axes_of(ax, PAGE, 2.8)
    for k, (label, found) in enumerate(curves(group).items()):
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        for one in found:
            ax.plot(
                [p.epoch for p in one],
                [100 * p.accuracy for p in one],
                color=colour,
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
            color=colour,
            marker=marker,
            ms=4,
            label=name_of(group, label),
        )
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel(f"{group.metrics[group.headline]} validation accuracy, %")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def draw_against_rho(groups: Sequence[Group], ax: Axes | None = None) -> Axes:
    """Draw unbiased accuracy against the colour correlation rho, a line a loss, with 95 % t intervals."""
    ax = axes_of(ax, PAGE, 3.2)
    labels = list(dict.fromkeys(label for group in groups for label in group.losses))
    for k, label in enumerate(labels):
        points = []
        for place, group in enumerate(groups):
            mean = summary(group, label, "unbiased") if label in group.losses else None
            if mean is not None:
                spread = (mean.mean - mean.low, mean.high - mean.mean) if mean.n > 1 else (0.0, 0.0)
                points.append((place, mean.mean, *spread))
        if not points:
            continue
        x, y, low, high = (np.array(column) for column in zip(*points, strict=True))
        ax.errorbar(
            x + 0.04 * (k - len(labels) / 2), 100 * y, yerr=(100 * low, 100 * high),
            color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)], ms=5, lw=1.2,
            capsize=2, label=label.replace("$", r"\$"),
        )  # fmt: skip
    ax.set_xticks(range(len(groups)), [rho_of(group) for group in groups])
    ax.set_ylim(top=min(101.0, ax.get_ylim()[1]))
    ax.set_xlabel("rho")
    ax.set_ylabel(f"unbiased accuracy, % (n = {groups[0].first['top1']['n']:,})")
    ax.grid(axis="y", alpha=0.3)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def rho_of(group: Group) -> str:
    """Return the rho of a BiasedMNIST from its name, nothing of another dataset."""
    found = _BMNIST.match(group.first["dataset"])
    return found[2] if found else ""


def shapes_of(group: Group) -> str:
    """Return what a BiasedMNIST is made of, from its name: ``bmnist``, ``bmnist5k``, ``fashion-bmnist``, ...

    Nothing of another dataset.
    """
    found = _BMNIST.match(group.first["dataset"])
    return found[1] if found else ""


_BMNIST = re.compile(r"((?:fashion-|k)?bmnist(?:5k)?)-(\d\.\d+)")


NAMED = 40  # values that a legend may have
SHOWN = 1500  # points of a t-SNE, images evenly drawn from the test split
FEATURES_TEST = FEATURES[2]


def has_features(run: Run) -> bool:
    """Whether the features of the test images are kept in the run's folder."""
    return (run.folder / FEATURES_TEST).is_file()


@functools.cache
def embedding(folder: Path) -> tuple[Array, Array, Array]:
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
    group: Group, label: str, by: Literal["labels", "bias"], ax: Axes | None = None
) -> Axes:
    """Draw a t-SNE of the test features of a loss's first seed, coloured by label or by bias attribute."""
    ax = axes_of(ax, COLUMN, COLUMN)
    at, labels, bias = embedding(group.losses[label][0].folder)
    values, names = (
        (labels, group.first["labels"]) if by == "labels" else (bias, group.bias["values"])
    )
    for k, name in enumerate(names):
        here = values == k
        ax.plot(
            at[here, 0], at[here, 1], MARKERS[k % len(MARKERS)], ms=2.2, mew=0, alpha=0.8,
            color=TWENTY[k % len(TWENTY)], label=written(name), rasterized=True,
        )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    what = "label" if by == "labels" else written(group.bias["name"])
    ax.set_title(f"{name_of(group, label)}, by {what}", fontsize="medium")
    columns = 1 if len(names) <= 12 else 2
    if len(names) > NAMED:  # a name each would need more room than the points
        return ax
    ax.legend(
        frameon=False, fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=columns,
        handletextpad=0.1, markerscale=2,
    )  # fmt: skip
    return ax


# matplotlib's "tab20", its strong colours first.
TWENTY = (
    *(f"C{k}" for k in range(10)),
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5",
    "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
)  # fmt: skip
GALLERY = (3, 8)


def wrongly(run: Run) -> list[tuple[int, int, int]]:
    """Return (row, label, prediction) of test images, none aligned, that a run gets wrong, surest first."""
    import pyarrow.parquet as pq

    frame = pq.read_table(run.folder / PREDICTIONS).to_pandas()
    scores = frame[[c for c in frame.columns if c.startswith("score_")]].to_numpy()
    of_interest = ~frame["aligned"].astype(bool)  # all of them where no alignment is defined
    wrong = np.flatnonzero((frame["prediction"] != frame["label"]) & of_interest)
    order = wrong[np.argsort(-scores[wrong].max(axis=1), kind="stable")]
    return [(int(r), int(frame["label"][r]), int(frame["prediction"][r])) for r in order]


def draw_gallery(group: Group, label: str, test: Split, ax: Axes | None = None) -> Axes:
    """Draw conflicting test images that a loss's first seed gets wrong, those it is most sure of."""
    ax = axes_of(ax, PAGE, 3.0)
    rows, columns = GALLERY
    _, _, h, w = test.images.shape
    gap = max(2, h // 3)
    sheet = np.full((rows * (h + gap), columns * (w + 2), 3), 255, np.uint8)
    names = group.first["labels"]
    for place, (row, told, guessed) in enumerate(wrongly(group.losses[label][0])[: rows * columns]):
        y, x = (place // columns) * (h + gap), (place % columns) * (w + 2)
        sheet[y : y + h, x : x + w] = test.images[row].transpose(1, 2, 0)
        text = f"{written(names[told], 12)}, not {written(names[guessed], 12)}"
        ax.text(x + w / 2, y + h + gap / 2, text, ha="center", va="center", fontsize=6)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(name_of(group, label), fontsize="medium")
    return ax
