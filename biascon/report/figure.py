"""The figures of a report, a function each: ``ax=None`` in, ``ax`` out; and what a page does with them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biascon.report.collect import Group
from biascon.report.compare import summary
from biascon.report.convergence import curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by marker as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SERIES = (
    ("bias_aligned", "bias-aligned cells", "#E69F00", "^"),
    ("unbiased", "all cells (unbiased)", "#0072B2", "o"),
    ("bias_conflicting", "bias-conflicting cells", "#D55E00", "v"),
)
COLUMN, PAGE = 3.4, 7.0  # inches: the width of a column, and of a page


@dataclass(frozen=True)
class Drawing:
    """A figure before it has a form.

    Attributes:
        name: Of a file.
        caption: What it shows, with its n.
        runs: The digests of the runs in it.
        draw: Draws on an axis.
        size: Width and height in inches.
    """

    name: str
    caption: str
    runs: str
    draw: Callable[[Axes], Axes]
    size: tuple[float, float]

    @property
    def file(self) -> str:
        """Its name as that of a file, without an ending."""
        return re.sub(r"[^a-z0-9]+", "-", f"figure-{self.name}".lower()).strip("-")

    def svg(self) -> str:
        """Return an ``<svg>`` element for a page: names of its own, its caption as its label."""
        raw = _saved(self, "svg").decode()
        raw = raw[raw.index("<svg") :]
        raw = re.sub(r"<metadata>.*?</metadata>", "", raw, flags=re.DOTALL)
        raw = re.sub(r'\bid="', f'id="{self.file}-', raw)
        raw = re.sub(r'(href="#|url\(#)', rf"\g<1>{self.file}-", raw)
        label = _escape(self.caption)
        return raw.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip()

    def pdf(self) -> bytes:
        """Return a PDF page."""
        return _saved(self, "pdf")

    def png(self) -> bytes:
        """Return a PNG."""
        return _saved(self, "png")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _page(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(page)
    return page


def _saved(drawing: Drawing, form: str) -> bytes:
    import matplotlib as mpl

    nothing: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }
    with mpl.rc_context({"svg.hashsalt": drawing.name, "svg.fonttype": "path", "font.size": 8}):
        page = _page(*drawing.size)
        drawing.draw(page.subplots())
        buffer = io.BytesIO()
        page.savefig(buffer, format=form, dpi=150, metadata=nothing[form])
    return buffer.getvalue()


def _axes(ax: Axes | None, width: float = PAGE, height: float = 3.0) -> Axes:
    """Return an axis to draw on: the one given, or one of a new figure."""
    return _page(width, height).subplots() if ax is None else ax


def draw_accuracies(group: Group, ax: Axes | None = None) -> Axes:
    """Draw accuracies by loss: a small mark a seed, the mean with its 95 % t interval."""
    ax = _axes(ax)
    labels = list(group.losses)
    for metric, name, colour, marker in SERIES:
        for row, label in enumerate(labels):
            values = [100 * value for value in group.values(label, metric).values()]
            mean = summary(group, label, metric)
            if mean is None:
                continue
            legend = name if row == 0 else None
            ax.plot(values, [row] * len(values), marker, color=colour, ms=3, alpha=0.45, mew=0)
            ax.plot(100 * mean.mean, row, marker, color=colour, ms=6, label=legend)
            if metric == "unbiased" and mean.n > 1:
                ax.plot([100 * mean.low, 100 * mean.high], [row, row], color=colour, lw=1.5)
    ax.set_yticks(range(len(labels)), [_name(group, label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlim(right=101)
    ax.set_xlabel(f"test accuracy, % (n = {group.first['top1']['n']:,})")
    ax.grid(axis="x", alpha=0.3)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return ax


def _name(group: Group, label: str) -> str:
    first = group.losses[label][0]
    own = " (c)" if first.judge == "own classifier" else ""
    return label.replace("$", r"\$") + own + " †" * first.sees_bias


def _marks(group: Group) -> str:
    """Say what the marks on names mean, where there are any."""
    runs = [found[0] for found in group.losses.values()]
    own = " (c): by its own classifier." if any(r.judge == "own classifier" for r in runs) else ""
    return own + (" †: is given bias labels." if any(r.sees_bias for r in runs) else "")


def draw_cells(group: Group, label: str, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of each (label, bias) cell of the test images, mean over seeds, as a heat map."""
    ax = _axes(ax, COLUMN, COLUMN)
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
    values, names = group.first["bias"]["values"], group.first["labels"]
    ax.set_xticks(range(len(values)), values, rotation=60, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel(group.first["bias"]["name"])
    ax.set_ylabel("label")
    ax.set_title(_name(group, label), fontsize="medium")
    return ax


KINDS = {
    "same_bias": ("one label, one bias value", "-"),
    "other_bias": ("one label, other bias values", "--"),
    "negative": ("other labels", ":"),
}


def draw_similarities(group: Group, label: str, ax: Axes | None = None) -> Axes:
    """Draw how similar the features of which pairs of test images are: densities, mean over seeds."""
    ax = _axes(ax, COLUMN, 2.4)
    for k, (kind, (name, style)) in enumerate(KINDS.items()):
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
    ax.set_title(_name(group, label), fontsize="medium")
    ax.legend(frameon=False, fontsize="small")
    return ax


def draw_convergence(group: Group, ax: Axes | None = None) -> Axes:
    """Draw unbiased validation accuracy of a probe by epoch: a thin line a seed, their mean."""
    ax = _axes(ax, PAGE, 2.8)
    for k, (label, found) in enumerate(curves(group).items()):
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        for one in found:
            ax.plot(
                [p.epoch for p in one],
                [100 * p.unbiased for p in one],
                color=colour,
                lw=0.6,
                alpha=0.5,
            )
        epochs = sorted({p.epoch for one in found for p in one})
        means = [
            np.mean([p.unbiased for one in found for p in one if p.epoch == e]) for e in epochs
        ]
        ax.plot(
            epochs,
            [100 * m for m in means],
            color=colour,
            marker=marker,
            ms=4,
            label=_name(group, label),
        )
    ax.set_xlabel("epoch")
    ax.set_ylabel("unbiased validation accuracy, %")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def draw_against_rho(groups: Sequence[Group], ax: Axes | None = None) -> Axes:
    """Draw unbiased accuracy against the colour correlation rho, a line a loss, with 95 % t intervals."""
    ax = _axes(ax, PAGE, 3.2)
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
    ax.set_xticks(range(len(groups)), [_rho(group) for group in groups])
    ax.set_ylim(top=min(101.0, ax.get_ylim()[1]))
    ax.set_xlabel("rho")
    ax.set_ylabel(f"unbiased accuracy, % (n = {groups[0].first['top1']['n']:,})")
    ax.grid(axis="y", alpha=0.3)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _rho(group: Group) -> str:
    name: str = group.first["dataset"]
    return name.split("-")[1] if name.startswith("bmnist") else ""


def drawings(group: Group) -> list[Drawing]:
    """Return the figures of a group of runs."""
    seeds = sorted({len(runs) for runs in group.losses.values()})
    counted = f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}"
    n = f"n = {group.first['top1']['n']:,} test images, {counted}"
    name = f"{group.first['dataset']}-{group.first['recipe'][:8]}"
    height = 0.9 + 0.22 * len(group.losses)

    def runs(*labels: str) -> str:
        return " ".join(r.evaluation["digest"][:8] for x in labels for r in group.losses[x])

    found = [
        Drawing(
            f"accuracies-{name}",
            f"Accuracy on bias-aligned, all and bias-conflicting cells by loss, {n}. Small marks: seeds; "
            f"large marks: their mean; lines: 95 % t intervals of the unbiased accuracy.{_marks(group)}",
            runs(*group.losses),
            lambda ax: draw_accuracies(group, ax),
            (PAGE, height),
        )
    ]
    names = {label: found_[0].evaluation["loss"] for label, found_ in group.losses.items()}
    wanted = [label for label, loss in names.items() if loss in ("supcon", "contex")]
    for label in wanted or list(names)[:1]:
        found.append(
            Drawing(
                f"cells-{label}-{name}",
                f"{label}: accuracy of each cell of label and {group.first['bias']['name']} in percent, "
                f"mean over seeds, {n}.",
                runs(label),
                lambda ax, label=label: draw_cells(group, label, ax),  # type: ignore[misc]
                (COLUMN, COLUMN),
            )
        )
    for label in wanted or list(names)[:1]:
        found.append(
            Drawing(
                f"similarities-{label}-{name}",
                f"{label}: cosine similarities of the features of all pairs of test images, mean over seeds, "
                f"{n}. Leaning on the bias parts pairs of one label whose bias differs.",
                runs(label),
                lambda ax, label=label: draw_similarities(group, label, ax),  # type: ignore[misc]
                (COLUMN, 2.4),
            )
        )
    if curves(group):
        found.append(
            Drawing(
                f"convergence-{name}",
                f"Unbiased validation accuracy of a linear probe by epoch, {counted}: thin lines are seeds. "
                "Validation, not test.",
                runs(*curves(group)),
                lambda ax: draw_convergence(group, ax),
                (PAGE, 2.8),
            )
        )
    return found


def drawings_across(groups: Sequence[Group]) -> list[Drawing]:
    """Return the figures of several groups: accuracy against rho, for each recipe run at two rhos or more."""
    recipes: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        if _rho(group):
            key = (group.preset, group.first["recipe"])
            recipes.setdefault(key, []).append(group)
    found = []
    for (preset, recipe), same in recipes.items():
        if len({_rho(group) for group in same}) < 2:
            continue
        same = sorted(same, key=lambda group: float(_rho(group)))
        runs = " ".join(
            r.evaluation["digest"][:8] for group in same for rs in group.losses.values() for r in rs
        )
        found.append(
            Drawing(
                f"rho-{recipe[:8]}",
                f"Unbiased accuracy against rho, preset {preset}, mean over seeds with 95 % t intervals, "
                f"n = {same[0].first['top1']['n']:,} test images.",
                runs,
                lambda ax, same=same: draw_against_rho(same, ax),  # type: ignore[misc]
                (PAGE, 3.2),
            )
        )
    return found


def figure(groups: Sequence[Group]) -> bytes:
    """Return the accuracies of all groups as a PNG: one panel a group."""
    heights = [1.9 + 0.3 * len(group.losses) for group in groups]
    page = _page(8.5, sum(heights))
    axes = page.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for group, ax in zip(groups, axes, strict=True):
        draw_accuracies(group, ax)
        protocol = group.first["protocol"]
        ax.set_title(
            f"{group.first['dataset']}, preset {group.preset}\n".replace("$", r"\$"),
            fontsize="medium",
        )
        about = (
            f"{group.first['source']}; test: {protocol['test']}; selection: {protocol['selection']}\n"
            f"{protocol['evaluation']}; dataset {group.first['dataset_digest'][:8]}, "
            f"recipe {group.first['recipe'][:8]}; (c): by its own classifier; †: is given bias labels"
        )
        ax.text(
            0.0, -0.02, about.replace("$", r"\$"), transform=ax.transAxes, fontsize=6, color="0.35",
            va="top",
        )  # fmt: skip
        ax.xaxis.set_ticks_position("bottom")
        ax.xaxis.labelpad = 14
    buffer = io.BytesIO()
    page.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
