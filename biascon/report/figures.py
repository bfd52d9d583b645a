"""The figures of a report: captions, runs and drawing functions, and their SVG and PDF files."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from biascon.data.dataset import Split
from biascon.report import tsne
from biascon.report.convergence import is_fine_tuned, validation_curves
from biascon.report.dataset_parameters import biased_mnist_parameters
from biascon.report.experiments import Experiment, list_digests
from biascon.report.plots import accuracy, convergence, features, gallery, groups
from biascon.report.plots.style import COLUMN, PAGE, escape_math, legend_notes, new_figure
from biascon.report.tables import count_seeds
from biascon.runs.finished import FinishedRun
from biascon.utils.markup import escape_html

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_GROUPS = 20  # bias values whose bars still fit beside each other
DETAILED_LOSSES = ("supcon", "contex")  # that have figures of their own


@dataclass(frozen=True)
class Figure:
    """A figure that is not drawn yet.

    Attributes:
        name: The name, unique in the report.
        caption: What the figure shows, with its n.
        runs: The digests of the runs in it.
        draw: Draws the figure on axes, and returns them.
        size: Width and height in inches.
    """

    name: str
    caption: str
    runs: str
    draw: Callable[[Axes], Axes]
    size: tuple[float, float]

    @property
    def file_stem(self) -> str:
        """The name of its file, without a suffix."""
        return re.sub(r"[^a-z0-9]+", "-", f"figure-{self.name}".lower()).strip("-")

    def to_svg(self) -> str:
        """Return an ``<svg>`` element: its ids are unique in the page, its caption is the label."""
        return self.svg_element(self.to_svg_file())

    def svg_element(self, file: bytes) -> str:
        """Return the ``<svg>`` element of ``to_svg`` for a file that ``to_svg_file`` returned."""
        raw = file.decode()
        raw = raw[raw.index("<svg") :]
        raw = re.sub(r"<metadata>.*?</metadata>", "", raw, flags=re.DOTALL)
        raw = re.sub(r'\bid="', f'id="{self.file_stem}-', raw)
        raw = re.sub(r'(href="#|url\(#)', rf"\g<1>{self.file_stem}-", raw)
        label = escape_html(self.caption)
        return raw.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip()

    def to_pdf(self) -> bytes:
        """Return the figure as a PDF page."""
        return self._save("pdf")

    def to_svg_file(self) -> bytes:
        """Return the figure as a file of its own, not as an element of a page."""
        return self._save("svg")

    def to_png(self) -> bytes:
        """Return the figure as a PNG image."""
        return self._save("png")

    def _save(self, file_format: Literal["svg", "pdf", "png"]) -> bytes:
        """Draw the figure and return its file, which is the same bytes every time."""
        import matplotlib as mpl

        without_dates: dict[str, dict[str, Any]] = {
            "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
            "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
            "png": {"Software": None},
        }
        with mpl.rc_context({"svg.hashsalt": self.name, "svg.fonttype": "path", "font.size": 8}):
            figure = new_figure(*self.size)
            self.draw(figure.subplots())
            buffer = io.BytesIO()
            metadata = without_dates[file_format]
            figure.savefig(buffer, format=file_format, dpi=150, metadata=metadata)
        return buffer.getvalue()


def experiment_figures(
    experiment: Experiment, test_splits: Mapping[str, Split] | None = None
) -> list[Figure]:
    """Return the figures of an experiment.

    Args:
        experiment: The runs.
        test_splits: The available test splits by dataset digest, for the galleries of images.
    """
    test = (test_splits or {}).get(experiment.identity.dataset_digest)
    return [
        accuracy_figure(experiment),
        *cell_figures(experiment),
        *group_figures(experiment),
        *similarity_figures(experiment),
        *tsne_figures(experiment),
        *gallery_figures(experiment, test),
        *convergence_figures(experiment),
    ]


def _name(experiment: Experiment) -> str:
    """Return the end of the names of the figures of an experiment."""
    return f"{experiment.identity.dataset}-{experiment.identity.recipe[:8]}"


def _sample(experiment: Experiment) -> str:
    """Return how many test images and seeds a figure is about."""
    return f"n = {experiment.test_n:,} test images, {count_seeds(experiment)}"


def _digests(experiment: Experiment, labels: Iterable[str]) -> str:
    return list_digests(run for label in labels for run in experiment.losses[label])


def _detailed_labels(experiment: Experiment) -> list[str]:
    """Return the losses with figures of their own: SupCon and ConTeX, or else the first loss."""
    labels = [label for label, runs in experiment.losses.items() if runs[0].loss in DETAILED_LOSSES]
    return labels or list(experiment.losses)[:1]


def accuracy_figure(experiment: Experiment) -> Figure:
    """Return the figure of the accuracies by loss."""
    shown = "Top-1 and top-5 accuracy"
    if experiment.has_bias:
        shown = "Accuracy on all cells"
    if experiment.knows_aligned:
        shown = "Accuracy on bias-aligned, all and bias-conflicting cells"
    return Figure(
        f"accuracies-{_name(experiment)}",
        f"{shown} by loss, {_sample(experiment)}. Small markers: seeds; large markers: their mean; "
        f"lines: 95 % t intervals of the {experiment.accuracy}.{legend_notes(experiment)}",
        list_digests(experiment.runs),
        partial(accuracy.draw_accuracies, experiment),
        (PAGE, 0.9 + 0.22 * len(experiment.losses)),
    )


def cell_figures(experiment: Experiment) -> list[Figure]:
    """Return the heat maps of the accuracies of the cells, one for each detailed loss."""
    if not experiment.has_bias:
        return []
    return [
        Figure(
            f"cells-{label}-{_name(experiment)}",
            f"{label}: accuracy of each cell of label and {experiment.bias.name} in percent, "
            f"mean over seeds, {_sample(experiment)}.",
            _digests(experiment, [label]),
            partial(accuracy.draw_cells, experiment, label),
            (COLUMN, COLUMN),
        )
        for label in _detailed_labels(experiment)
    ]


def group_figures(experiment: Experiment) -> list[Figure]:
    """Return the figure of the accuracy of each group; nothing without groups or with too many."""
    if not experiment.has_bias or len(experiment.bias.values) > MAX_GROUPS:
        return []
    labels = list(experiment.losses)
    labels = labels if len(labels) <= groups.MAX_BARS else _detailed_labels(experiment)
    return [
        Figure(
            f"groups-{_name(experiment)}",
            f"Accuracy on the test images of each value of {experiment.bias.name}, by loss, "
            f"{_sample(experiment)}; lines: 95 % intervals, with two seeds or more t intervals over seeds, "
            f"with one seed Wilson intervals over the test images.{legend_notes(experiment)}",
            _digests(experiment, labels),
            partial(groups.draw_groups, experiment, labels),
            (PAGE, 2.8),
        )
    ]


def similarity_figures(experiment: Experiment) -> list[Figure]:
    """Return the densities of the similarities of pairs of features, one figure for each detailed loss."""
    reading = (
        " If the encoder relies on the bias, pairs with the same label but different bias values are "
        "less similar."
    )
    return [
        Figure(
            f"similarities-{label}-{_name(experiment)}",
            f"{label}: cosine similarities of the features of all pairs of test images, mean over seeds, "
            f"{_sample(experiment)}.{reading * experiment.has_bias}",
            _digests(experiment, [label]),
            partial(features.draw_similarities, experiment, label),
            (COLUMN, 2.4),
        )
        for label in _detailed_labels(experiment)
    ]


def tsne_figures(experiment: Experiment) -> list[Figure]:
    """Return the t-SNE maps of the detailed losses whose features are kept, colored by label and by bias."""
    colorings: dict[Literal["labels", "bias"], str] = {"labels": "label"}
    if experiment.has_bias:
        colorings["bias"] = experiment.bias.name
    return [
        Figure(
            f"tsne-{by}-{label}-{_name(experiment)}",
            f"{label}, seed {run.seed}: t-SNE of the features of up to {tsne.MAX_POINTS:,} test images, "
            f"colored by {colored_by}. Distances between clusters have no meaning.",
            list_digests([run]),
            partial(features.draw_tsne, experiment, label, by),
            (COLUMN + 0.8, COLUMN),
        )
        for label in _detailed_labels(experiment)
        if tsne.has_features(run := experiment.losses[label][0])
        for by, colored_by in colorings.items()
    ]


def runs_with_maps(experiments: Iterable[Experiment]) -> list[FinishedRun]:
    """Return the runs whose t-SNE maps a report shows."""
    return [
        run
        for experiment in experiments
        for label in _detailed_labels(experiment)
        if tsne.has_features(run := experiment.losses[label][0])
    ]


def gallery_figures(experiment: Experiment, test: Split | None) -> list[Figure]:
    """Return the galleries of misclassified test images, one for each detailed loss.

    Args:
        experiment: The runs.
        test: The test split, None where it is not available: there are no galleries then.
    """
    if test is None:
        return []
    kind = "bias-conflicting test images" if experiment.knows_aligned else "test images"
    figures = []
    for label in _detailed_labels(experiment):
        run = experiment.losses[label][0]
        n_wrong = len(gallery.misclassified(run))
        n_shown = min(n_wrong, math.prod(gallery.GRID))
        figures.append(
            Figure(
                f"gallery-{label}-{_name(experiment)}",
                f"{label}, seed {run.seed}: misclassified {kind}, those with the highest scores first, "
                f"{n_shown} of {n_wrong:,}.",
                list_digests([run]),
                partial(gallery.draw_gallery, experiment, label, test),
                (PAGE, 3.4),
            )
        )
    return figures


def convergence_figures(experiment: Experiment) -> list[Figure]:
    """Return the figure of the validation accuracy by epoch; nothing if no run recorded it."""
    labels = list(validation_curves(experiment))
    if not labels:
        return []
    headline = experiment.metrics[experiment.headline].capitalize()
    classifier = "fine-tuning" if is_fine_tuned(experiment.runs[0]) else "a linear probe"
    return [
        Figure(
            f"convergence-{_name(experiment)}",
            f"{headline} validation accuracy of {classifier} by epoch, {count_seeds(experiment)}. Thin "
            "lines: seeds. The accuracy is that of the validation split, not of the test split.",
            _digests(experiment, labels),
            partial(convergence.draw_convergence, experiment),
            (PAGE, 2.8),
        )
    ]


def cross_experiment_figures(experiments: Sequence[Experiment]) -> list[Figure]:
    """Return the figures of accuracy against rho, one for each recipe that was run with two or more rhos."""
    by_recipe: dict[tuple[str, str, str, str], dict[float, list[Experiment]]] = {}
    for experiment in experiments:
        parameters = biased_mnist_parameters(experiment.identity)
        if parameters is not None:
            view = f"by-{'-'.join(experiment.bias.chosen)}" if experiment.bias.chosen else ""
            variation = "-".join(part for part in (parameters.variation, view) if part)
            key = (
                experiment.preset, experiment.identity.recipe, parameters.source_kind, variation,
            )  # fmt: skip
            by_rho = by_recipe.setdefault(key, {})
            by_rho.setdefault(float(parameters.rho), []).append(experiment)
    figures = []
    for (preset, recipe, source_kind, variation), by_rho in by_recipe.items():
        if len(by_rho) < 2:
            continue
        in_order = [experiment for rho in sorted(by_rho) for experiment in by_rho[rho]]
        prefix = "" if source_kind == "mnist" else f"{source_kind.replace('mnist', 'bmnist')}-"
        prefix += f"{variation}-" if variation else ""
        of = f" ({variation})" if variation else ""
        figures.append(
            Figure(
                f"rho-{prefix}{recipe[:8]}",
                f"Unbiased accuracy against rho{of}, preset {preset}, mean over seeds with 95 % t "
                f"intervals, n = {in_order[0].test_n:,} test images.",
                list_digests(run for experiment in in_order for run in experiment.runs),
                partial(accuracy.draw_against_rho, in_order),
                (PAGE, accuracy.rho_figure_height(in_order)),
            )
        )
    return figures


def main_figure(experiments: Sequence[Experiment]) -> bytes:
    """Return the accuracies of all experiments as a PNG, one panel for each experiment."""
    heights = [1.9 + 0.3 * len(experiment.losses) for experiment in experiments]
    figure = new_figure(8.5, sum(heights))
    axes = figure.subplots(len(experiments), 1, squeeze=False, height_ratios=heights)[:, 0]
    for experiment, ax in zip(experiments, axes, strict=True):
        accuracy.draw_accuracies(experiment, ax)
        identity, protocol = experiment.identity, experiment.metadata.protocol
        title = f"{identity.dataset}, preset {experiment.preset}"
        ax.set_title(escape_math(title), fontsize="medium", pad=26)
        description = (
            f"{identity.source}; test: {protocol.test}; selection: {protocol.selection}\n"
            f"{protocol.evaluation}; dataset {identity.dataset_digest[:8]}, "
            f"recipe {identity.recipe[:8]}.\n{legend_notes(experiment).strip()}"
        )
        text = escape_math(f"{ax.get_xlabel()}\n\n{description}")
        ax.set_xlabel(text, fontsize="x-small", linespacing=1.4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
