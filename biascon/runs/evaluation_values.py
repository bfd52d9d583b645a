"""What the numbers of an evaluation have to be, whatever the run: rates, sums of counts, names that exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from biascon.metrics.records import Metric
from biascon.metrics.summary import AMPLIFICATIONS
from biascon.utils.kinds import check_kinds
from biascon.utils.text import show_value

if TYPE_CHECKING:
    from biascon.runs.evaluation import Evaluation

ROUNDING = 1e-9  # a mean of rates, or a limit of an interval, leaves [0, 1] by less


def check_values(evaluation: Evaluation) -> None:
    """Check the kinds of all values, and what follows from the definitions of the metrics.

    An accuracy, a comparison of groups, a calibration error and a p-value are in [0, 1], an amplification in
    [-1, 1]. Numbers of rows are 0 or more. The lower limit of an interval is not above the upper one. (An
    interval need not contain its value: the bootstrap interval of a minimum is an example.) The tables have a
    row for each label and a column for each bias value, and add up to the stated numbers of rows.

    Raises:
        TypeError: A value is of another kind than its field.
        ValueError: A number is not possible.
    """
    check_kinds(evaluation)
    _check_settings(evaluation)
    for name, metric in _list_metrics(evaluation):
        _check_metric(name, metric, -1 if name in AMPLIFICATIONS else 0)
    _check_names(evaluation)
    _check_tables(evaluation)
    for classifier in evaluation.other_classifiers:
        _check_rates(classifier.accuracies.values, classifier.accuracies.n)
    if evaluation.validation is not None:
        _check_rates(evaluation.validation.values, evaluation.validation.n)
    for test in (evaluation.summary.disparity or {}).values():
        _check_metric("p", Metric(test.p, test.replicates))
    for kind, histogram in evaluation.features.similarities.items():
        _require(min(histogram.n, 0, *histogram.counts) == 0, f"the pairs of {kind}")


def _check_settings(evaluation: Evaluation) -> None:
    """Check what a report reads of the settings and of the dataset, which have any keys.

    Raises:
        KeyError: A section is missing.
        TypeError: A value is of another kind.
        ValueError: A setting has no form in TOML.
    """
    identity = evaluation.identity
    for name in ("augment", "optimizer", "train"):
        _require(isinstance(identity.config[name], Mapping), f"the settings {name}")
    _require(isinstance(identity.preset_with_overrides, str), "the preset")
    _require(isinstance(identity.encoder_dataset, str), "the dataset of the encoder")
    aligned = None if identity.bias is None else identity.bias.aligned
    _require(aligned is None or isinstance(aligned, str | list | Mapping), "the aligned values")
    if identity.builder == "bmnist":
        rho = identity.dataset_parameters["rho"]
        _require(isinstance(rho, int | float) and 0 <= rho <= 1, f"rho = {show_value(rho)}")
        foreground = identity.dataset_parameters.get("foreground_rho")
        _require(foreground is None or isinstance(foreground, int | float), "foreground_rho")
        classes = identity.dataset_parameters.get("biased_classes")
        _require(classes is None or isinstance(classes, list), "biased_classes")


def _list_metrics(evaluation: Evaluation) -> Iterable[tuple[str, Metric]]:
    """Return the metrics whose values are rates or differences of rates."""
    summary = evaluation.summary
    for group in (summary.metrics, summary.macro, *summary.by_class.values()):
        yield from group.items()
    readouts = ("label_readout", "bias_readout")
    yield from ((name, evaluation.features.metrics[name]) for name in readouts)
    if evaluation.top5 is not None:
        yield "top5", evaluation.top5
    if evaluation.calibration is not None:
        yield "calibration", evaluation.calibration.error
    if evaluation.joint_bias is not None:
        joint = evaluation.joint_bias
        yield from (("in_distribution", joint.in_distribution), ("worst_group", joint.worst_group))
        yield from (item for attribute in joint.attributes for item in attribute.metrics.items())
        yield from ((" + ".join(p.conflicting), p.accuracy) for p in joint.patterns)


def _check_metric(name: str, metric: Metric, least: int = 0) -> None:
    """Check the value, the limits and the number of rows of a metric with values in [least, 1]."""
    for value in (metric.value, metric.low, metric.high):
        is_possible = value is None or least - ROUNDING <= value <= 1 + ROUNDING
        _require(is_possible, f"{name} = {show_value(value)}")
    _require(metric.n >= 0, f"{name} of {show_value(metric.n)} rows")
    if metric.interval is not None:
        low, high = metric.interval
        _require(low <= high + ROUNDING, f"the interval of {name}, {low} to {high}")


def _check_rates(rates: Mapping[str, float | None], n: int) -> None:
    for name, value in rates.items():
        _check_metric(name, Metric(value, n))


def _check_names(evaluation: Evaluation) -> None:
    """Check that classes, groups and cells are those of the dataset."""
    labels, bias = evaluation.identity.labels, evaluation.identity.bias
    summary = evaluation.summary
    _require(len(labels) > 0 and len(set(labels)) == len(labels), "the labels")
    _require(set(summary.by_class) <= set(labels), "a class that is no label")
    _require(summary.positive is None or summary.positive in labels, "the positive class")
    cell = summary["worst_group"].cell
    if cell is not None:
        values = [] if bias is None else bias.values
        _require(_is_member(cell.label, labels), "the label of the worst group")
        _require(_is_member(cell.bias, values), "the bias value of the worst group")


def _is_member(entry: int | str, names: Sequence[str]) -> bool:
    return entry in names if isinstance(entry, str) else 0 <= entry < len(names)


def _check_tables(evaluation: Evaluation) -> None:
    """Check the shapes and the sums of the tables of counts."""
    identity, summary = evaluation.identity, evaluation.summary
    n_labels = len(identity.labels)
    n_bias = 1 if identity.bias is None else len(identity.bias.values)
    training = np.asarray(identity.training_cells, dtype=np.int64)
    _require(training.shape == (n_labels, n_bias), "the shape of the training cells")
    _require((training >= 0).all() and training.sum() == identity.training_n, "the training cells")
    if summary.counts is not None:
        table = np.asarray(summary.counts, dtype=np.int64)
        _require(table.shape == (n_labels, n_bias, n_labels), "the shape of the counts")
        _require((table >= 0).all() and table.sum() == summary["top1"].n, "the counts")


def _require(is_possible: bool | np.bool_, what: str) -> None:
    if not is_possible:
        raise ValueError(f"{what}: not possible")
