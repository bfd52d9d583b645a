"""What ``evaluate`` prints below its table: accuracies over images, and several bias attributes at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from biascon.cli.output import format_interval, format_percent, format_table
from biascon.utils.text import shorten

if TYPE_CHECKING:
    from biascon.metrics.joint_bias import JointBias
    from biascon.metrics.records import Metric
    from biascon.runs.evaluation import Evaluation

RUN = ("loss", "seed")


def format_image_averages(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the lines of the accuracies over images; nothing if they would repeat top-1 accuracy."""
    first = evaluations[0]
    metrics = []
    if first.identity.bias is not None and first.identity.bias.knows_aligned:
        metrics += [
            ("aligned images", "bias_aligned_samples"),
            ("conflicting images", "bias_conflicting_samples"),
        ]
    if not metrics and not first.adjusted_differs:
        return []
    metrics.insert(0, ("all images", "top1"))
    header = [*RUN, *(_with_n(name, first.metric(metric)) for name, metric in metrics)]
    if first.adjusted_differs:
        metrics.append(("adjusted average", "adjusted_average"))
        header.append("adjusted average")
    rows = [
        [*_run(evaluation), *(format_interval(evaluation.metric(metric)) for _, metric in metrics)]
        for evaluation in evaluations
    ]
    lines = ["", "over test images instead of cells [95 %]", format_table(header, rows)]
    if first.adjusted_differs:
        lines.append(
            "adjusted average: cells weighted by their shares of the training images; where most of these "
            "are bias-aligned, reliance on the bias raises it"
        )
    return lines


def format_joint_bias(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the lines about several bias attributes; nothing for a dataset with fewer than two."""
    measured = [(each, each.joint_bias) for each in evaluations if each.joint_bias is not None]
    if not measured:
        return []
    names = measured[0][1].names
    lines = ["", f"bias attributes with alignment pairs: {', '.join(map(shorten, names))} [95 %]"]
    if measured[0][1].patterns:
        gap_names = _gap_names(measured[0][1])
        header = [
            *RUN,
            "in-distribution",
            *(f"gap {shorten(name)}" for name in gap_names),
            "worst group",
        ]
        rows = [[*_run(each), *_gap_cells(joint, gap_names)] for each, joint in measured]
        lines += [format_table(header, rows), ""]
        header = [*RUN, "conflicting", "test images", "training images", "accuracy"]
        rows = [row for each, joint in measured for row in _pattern_rows(each, joint)]
        lines += [format_table(header, rows, left=3), ""]
    header = [*RUN, "attribute", "unbiased", "aligned", "conflicting", "worst group"]
    rows = [row for each, joint in measured for row in _attribute_rows(each, joint)]
    lines += [format_table(header, rows, left=3), ""]
    if measured[0][1].patterns:
        if any(joint.in_distribution.value is None for _, joint in measured):
            lines.append(
                "in-distribution and gaps are undefined: a group with training images has no test image"
            )
        lines += [
            "in-distribution: groups of one label and one set of conflicting attributes, weighted by their "
            "shares of the training images",
            "gap NAME: accuracy where this attribute alone conflicts with the label (all: where all do) "
            "minus in-distribution accuracy, in points; below 0: the model loses accuracy there",
        ]
    return lines


def _gap_names(joint: JointBias) -> list[str]:
    return [*joint.names, *(["all"] if "all" not in joint.names else [])]


def _gap_cells(joint: JointBias, names: Sequence[str]) -> list[str]:
    gaps = [joint.metric(f"gap:{name}") for name in names]
    return [
        format_interval(joint.in_distribution),
        *(format_interval(gap) for gap in gaps),
        _worst(joint.worst_group),
    ]


def _pattern_rows(evaluation: Evaluation, joint: JointBias) -> list[list[str]]:
    return [
        [
            *_run(evaluation),
            " and ".join(pattern.conflicting) or "none",
            f"{pattern.accuracy.n:,}",
            "-" if pattern.training_n is None else f"{pattern.training_n:,}",
            format_interval(pattern.accuracy),
        ]
        for pattern in joint.patterns
    ]


def _attribute_rows(evaluation: Evaluation, joint: JointBias) -> list[list[str]]:
    return [
        [
            *_run(evaluation),
            shorten(attribute.name),
            format_interval(attribute.metrics["unbiased"]),
            format_percent(attribute.metrics["bias_aligned"]),
            format_percent(attribute.metrics["bias_conflicting"]),
            _worst(attribute.metrics["worst_group"]),
        ]
        for attribute in joint.attributes
    ]


def _run(evaluation: Evaluation) -> list[str]:
    return [evaluation.identity.label, str(evaluation.identity.seed)]


def _worst(metric: Metric) -> str:
    return f"{format_percent(metric)} (n={metric.n})"


def _with_n(name: str, metric: Metric | None) -> str:
    return name if metric is None else f"{name} (n={metric.n:,})"
