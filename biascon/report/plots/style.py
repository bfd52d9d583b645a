"""Series, labels and notes that the plots of runs share; ``biascon.utils.figures`` has those of all plots."""

from __future__ import annotations

from biascon.report.experiments import Experiment
from biascon.runs.records import Classifier
from biascon.utils.figures import COLORS as COLORS
from biascon.utils.figures import COLUMN as COLUMN
from biascon.utils.figures import MARKERS as MARKERS
from biascon.utils.figures import PAGE as PAGE
from biascon.utils.figures import escape_math as escape_math
from biascon.utils.figures import make_axes as make_axes
from biascon.utils.figures import new_figure as new_figure
from biascon.utils.figures import plain_label as plain_label

# Metric, name in the legend, color and marker of the accuracies that are plotted.
ACCURACY_SERIES = (
    ("bias_aligned", "bias-aligned cells", "#E69F00", "^"),
    ("unbiased", "all cells (unbiased)", "#0072B2", "o"),
    ("bias_conflicting", "bias-conflicting cells", "#D55E00", "v"),
)
ACCURACY_SERIES_WITHOUT_BIAS = (
    ("top1", "top-1", "#0072B2", "o"),
    ("top5", "top-5", "#E69F00", "^"),
)


def loss_label(experiment: Experiment, label: str) -> str:
    """Return the name of a loss in a plot, with its marks."""
    run = experiment.losses[label][0]
    own = " (c)" if run.evaluated_by is Classifier.OWN else ""
    return escape_math(label) + own + " †" * run.uses_bias_labels


def legend_notes(experiment: Experiment) -> str:
    """Return what the marks on the names of losses mean; an empty text without marks."""
    runs = [runs[0] for runs in experiment.losses.values()]
    own = any(run.evaluated_by is Classifier.OWN for run in runs)
    marked = any(run.uses_bias_labels for run in runs)
    return " (c): evaluated by its own classifier." * own + " †: uses bias labels." * marked
