"""Tables of a report beside the table of results: accuracies over images, several bias attributes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biascon.metrics.alignment_patterns import ALL, GAP, IN_DISTRIBUTION, JOINT, NONE
from biascon.metrics.joint_bias import JointBias
from biascon.metrics.names import metric_name
from biascon.metrics.weighted_averages import ADJUSTED_AVERAGE
from biascon.report.experiments import Experiment
from biascon.report.tables import UNDEFINED_CELL, TableCell
from biascon.report.verdicts import summarize_seeds

# The accuracies by one attribute that are shown.
_BY_ATTRIBUTE = ("unbiased", "bias_aligned", "bias_conflicting", "worst_group")


@dataclass(frozen=True)
class ExtraTable:
    """A table with a row for each loss.

    Attributes:
        title: What it shows, as a heading.
        note: What the columns mean, in sentences.
        columns: The names of the columns after the loss, in groups that fit on a page.
        rows: For each loss its label and the cells of all groups.
    """

    title: str
    note: str
    columns: Sequence[Sequence[str]]
    rows: Sequence[tuple[str, Sequence[TableCell]]]

    @property
    def header(self) -> list[str]:
        """The names of all columns after the loss."""
        return [name for group in self.columns for name in group]


def extra_tables(experiment: Experiment) -> list[ExtraTable]:
    """Return the tables that apply to an experiment."""
    tables = [_image_averages(experiment), _joint_bias(experiment)]
    return [table for table in tables if table is not None]


def _image_averages(experiment: Experiment) -> ExtraTable | None:
    """Return the table of accuracies over images; None without a bias attribute, or if none is defined."""
    if not experiment.has_bias:
        return None
    first = experiment.metadata
    metrics = {"top1": "all images"}
    if experiment.knows_aligned:
        metrics |= {
            "bias_aligned_samples": "bias-aligned images",
            "bias_conflicting_samples": "bias-conflicting images",
        }
    if first.adjusted_differs:
        metrics[ADJUSTED_AVERAGE] = "adjusted average"
    metrics = {
        metric: name
        for metric, name in metrics.items()
        if metric == "top1" or any(experiment.values(label, metric) for label in experiment.losses)
    }
    if len(metrics) == 1:
        return None
    header = []
    for metric, name in metrics.items():
        measured = first.metric(metric)
        is_share = metric == ADJUSTED_AVERAGE or measured is None
        header.append(name if is_share or measured is None else f"{name} (n = {measured.n:,})")
    note = (
        "In percent, mean over seeds. Share of correct images among all, the bias-aligned or the "
        "bias-conflicting test images; the columns of the same name in the table of results are means over "
        "cells."
    )
    if ADJUSTED_AVERAGE in metrics:
        note += (
            " Adjusted average accuracy (Sagawa et al., 2020): accuracies of the cells weighted by their "
            "shares of the training images. Where most of these are bias-aligned, reliance on the bias "
            "raises it."
        )
    rows = _rows(experiment, list(metrics))
    return ExtraTable("Accuracies over images", note, [header], rows)


def _joint_bias(experiment: Experiment) -> ExtraTable | None:
    """Return the table of several bias attributes, None if no run measures them."""
    records = [run.evaluation.joint_bias for run in experiment.runs]
    joint = next((each for each in records if each is not None), None)
    if joint is None:
        return None
    groups = _joint_columns(joint)
    metrics = [metric for group in groups for metric in group]
    note = (
        f"In percent, mean over seeds; attributes: {', '.join(joint.names)}. With an attribute: means over "
        "label x value cells of that attribute, whatever the others are."
    )
    if joint.patterns:
        note = (
            "In-distribution accuracy: groups of one label and one set of conflicting attributes, weighted "
            "by their shares of the training images. Conflicting: the accuracy on the images on which this "
            "attribute alone, all, or none of the attributes conflict with the label, as a mean over labels. "
            "Gap: that accuracy minus the in-distribution accuracy, in points; below 0: the model loses "
            f"accuracy where the attribute conflicts (Li et al., 2023). {note}"
        )
    header = [[_column_name(metric, joint) for metric in group] for group in groups]
    return ExtraTable("Several bias attributes", note, header, _rows(experiment, metrics))


def _joint_columns(joint: JointBias) -> list[list[str]]:
    """Return the metrics of the table, in groups that fit on a page."""
    by_attribute = [[f"{kind}:{name}" for kind in _BY_ATTRIBUTE] for name in joint.names]
    if not joint.patterns:
        return by_attribute
    of = [*joint.names, *([ALL] if ALL not in joint.names else [])]
    none = [NONE] if NONE not in joint.names else []
    return [
        [IN_DISTRIBUTION, *(f"{GAP}:{name}" for name in of)],
        [f"{JOINT}:{name}" for name in [*none, *of]],
        *by_attribute,
    ]


def _column_name(metric: str, joint: JointBias) -> str:
    """Return the name of a column, with the number of images of an alignment pattern."""
    name = metric_name(metric).short
    measured = joint.metric(metric)
    is_pattern = metric.startswith(f"{JOINT}:")
    return f"{name} (n = {measured.n:,})" if is_pattern and measured is not None else name


def _rows(experiment: Experiment, metrics: Sequence[str]) -> list[tuple[str, list[TableCell]]]:
    return [
        (label, [_cell(experiment, label, metric) for metric in metrics])
        for label in experiment.losses
    ]


def _cell(experiment: Experiment, label: str, metric: str) -> TableCell:
    """Return the mean over seeds in percent with its standard deviation."""
    mean = summarize_seeds(experiment, label, metric)
    if mean is None:
        return UNDEFINED_CELL
    text = f"{round(100 * mean.mean, 1) + 0.0:.1f}"  # never -0.0
    if mean.n > 1:
        text += f" ± {100 * mean.sd:.1f}"
    if mean.n < len(experiment.losses[label]):
        text += f" (n={mean.n})"
    return TableCell(text, f"{mean.mean:.6f}")
