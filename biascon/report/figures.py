"""The figures that a report has, before they have a form; and their forms."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biascon.data.dataset import Split
from biascon.report.convergence import is_tuned, validation_curves
from biascon.report.experiments import Experiment
from biascon.report.plots import accuracy, convergence, features, gallery, groups
from biascon.report.plots.style import COLUMN, PAGE, get_rho, get_shapes, legend_notes, page_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes


BARS = 20  # values of the bias attribute that still fit beside each other


@dataclass(frozen=True)
class Figure:
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


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _saved(drawing: Figure, form: str) -> bytes:
    import matplotlib as mpl

    nothing: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    with mpl.rc_context({"svg.hashsalt": drawing.name, "svg.fonttype": "path", "font.size": 8}):
        page = page_size(*drawing.size)
        drawing.draw(page.subplots())
        buffer = io.BytesIO()
        page.savefig(buffer, format=form, dpi=150, metadata=nothing[form])
    return buffer.getvalue()


def experiment_figures(group: Experiment, tests: Mapping[str, Split] | None = None) -> list[Figure]:
    """Return the figures of a group of runs.

    Args:
        group: The runs.
        tests: The test splits that are at hand, by the digest of their dataset, for the gallery.
    """
    seeds = sorted({len(runs) for runs in group.losses.values()})
    counted = f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}"
    n = f"n = {group.first['top1']['n']:,} test images, {counted}"
    name = f"{group.first['dataset']}-{group.first['recipe'][:8]}"
    height = 0.9 + 0.22 * len(group.losses)

    what = "Top-1 and top-5 accuracy"
    if group.has_bias:
        what = "Accuracy on all cells"
    if group.knows_aligned:
        what = "Accuracy on bias-aligned, all and bias-conflicting cells"

    def runs(*labels: str) -> str:
        return " ".join(r.evaluation["digest"][:8] for x in labels for r in group.losses[x])

    found = [
        Figure(
            f"accuracies-{name}",
            f"{what} by loss, {n}. Small marks: seeds; "
            f"large marks: their mean; lines: 95 % t intervals of the {group.accuracy}.{legend_notes(group)}",
            runs(*group.losses),
            lambda ax: accuracy.draw_accuracies(group, ax),
            (PAGE, height),
        )
    ]
    names = {label: found_[0].evaluation["loss"] for label, found_ in group.losses.items()}
    wanted = [label for label, loss in names.items() if loss in ("supcon", "contex")]
    chosen = wanted or list(names)[:1]
    for label in chosen if group.has_bias else ():
        found.append(
            Figure(
                f"cells-{label}-{name}",
                f"{label}: accuracy of each cell of label and {group.bias['name']} in percent, "
                f"mean over seeds, {n}.",
                runs(label),
                lambda ax, label=label: accuracy.draw_cells(group, label, ax),  # type: ignore[misc]
                (COLUMN, COLUMN),
            )
        )
    if group.has_bias and len(group.bias["values"]) <= BARS:
        shown = list(names) if len(names) <= groups.MOST else chosen
        found.append(
            Figure(
                f"groups-{name}",
                f"Accuracy of the test images of each value of {group.bias['name']}, by loss, {n}; "
                "lines: 95 % intervals, over seeds by t, of one seed by Wilson over the test images."
                f"{legend_notes(group)}",
                runs(*shown),
                lambda ax: groups.draw_groups(group, shown, ax),
                (PAGE, 2.8),
            )
        )
    leaning = " Leaning on the bias parts pairs of one label whose bias differs."
    leaning = leaning if group.has_bias else ""
    for label in chosen:
        found.append(
            Figure(
                f"similarities-{label}-{name}",
                f"{label}: cosine similarities of the features of all pairs of test images, mean over seeds, "
                f"{n}.{leaning}",
                runs(label),
                lambda ax, label=label: features.draw_similarities(group, label, ax),  # type: ignore[misc]
                (COLUMN, 2.4),
            )
        )
    for label in chosen:
        if not features.has_features(group.losses[label][0]):
            continue
        for by, by_what in (("labels", "label"), ("bias", group.bias["name"])):
            if by == "bias" and not group.has_bias:
                continue
            found.append(
                Figure(
                    f"tsne-{by}-{label}-{name}",
                    f"{label}, seed {group.losses[label][0].seed}: t-SNE of the features of up to "
                    f"{features.SHOWN:,} test images, colored by {by_what}. How far apart groups are means "
                    "nothing.",
                    group.losses[label][0].evaluation["digest"][:8],
                    lambda ax, label=label, by=by: features.draw_tsne(group, label, by, ax),  # type: ignore[misc]
                    (COLUMN + 0.8, COLUMN),
                )
            )
    split = (tests or {}).get(group.first["dataset_digest"])
    for label in chosen:
        if split is None:
            break
        run = group.losses[label][0]
        wrong = len(gallery.misclassified(run))
        which = "bias-conflicting test images" if group.knows_aligned else "test images"
        found.append(
            Figure(
                f"gallery-{label}-{name}",
                f"{label}, seed {run.seed}: {which} that it gets wrong, the ones that "
                f"it is most sure of first, {min(wrong, math.prod(gallery.GALLERY))} of {wrong:,}.",
                run.evaluation["digest"][:8],
                lambda ax, label=label, test=split: gallery.draw_gallery(group, label, test, ax),  # type: ignore[misc]
                (PAGE, 3.4),
            )
        )
    headline = group.metrics[group.headline].capitalize()
    if validation_curves(group):
        tuned = is_tuned(next(iter(group.losses.values()))[0])
        followed = "of fine-tuning" if tuned else "of a linear probe"
        found.append(
            Figure(
                f"convergence-{name}",
                f"{headline} validation accuracy {followed} by epoch, {counted}: thin lines are "
                "seeds. Validation, not test.",
                runs(*validation_curves(group)),
                lambda ax: convergence.draw_convergence(group, ax),
                (PAGE, 2.8),
            )
        )
    return found


def cross_experiment_figures(groups: Sequence[Experiment]) -> list[Figure]:
    """Return the figures of several groups: accuracy against rho, for each recipe run at two rhos or more."""
    recipes: dict[tuple[str, str, str], list[Experiment]] = {}
    for group in groups:
        if get_rho(group):
            key = (group.preset, group.first["recipe"], get_shapes(group))
            recipes.setdefault(key, []).append(group)
    found = []
    for (preset, recipe, of), same in recipes.items():
        if len({get_rho(group) for group in same}) < 2:
            continue
        same = sorted(same, key=lambda group: float(get_rho(group)))
        runs = " ".join(
            r.evaluation["digest"][:8] for group in same for rs in group.losses.values() for r in rs
        )
        found.append(
            Figure(
                f"rho-{recipe[:8]}" if of == "bmnist" else f"rho-{of}-{recipe[:8]}",
                f"Unbiased accuracy against rho, preset {preset}, mean over seeds with 95 % t intervals, "
                f"n = {same[0].first['top1']['n']:,} test images.",
                runs,
                lambda ax, same=same: accuracy.draw_against_rho(same, ax),  # type: ignore[misc]
                (PAGE, 3.2),
            )
        )
    return found


def main_figure(groups: Sequence[Experiment]) -> bytes:
    """Return the accuracies of all groups as a PNG: one panel a group."""
    heights = [1.9 + 0.3 * len(group.losses) for group in groups]
    page = page_size(8.5, sum(heights))
    axes = page.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for group, ax in zip(groups, axes, strict=True):
        accuracy.draw_accuracies(group, ax)
        protocol = group.first["protocol"]
        title = f"{group.first['dataset']}, preset {group.preset}"
        ax.set_title(title.replace("$", r"\$"), fontsize="medium", pad=26)
        about = (
            f"{group.first['source']}; test: {protocol['test']}; selection: {protocol['selection']}\n"
            f"{protocol['evaluation']}; dataset {group.first['dataset_digest'][:8]}, "
            f"recipe {group.first['recipe'][:8]}.{legend_notes(group)}"
        )
        what = f"{ax.get_xlabel()}\n\n{about}"
        ax.set_xlabel(what.replace("$", r"\$"), fontsize="x-small", linespacing=1.4)
    buffer = io.BytesIO()
    page.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
