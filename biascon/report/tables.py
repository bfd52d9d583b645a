"""The contents of the tables of a report, as text and numbers without markup."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from biascon.metrics.records import Metric
from biascon.report.dataset_parameters import biased_mnist_parameters
from biascon.report.experiments import LOWER_IS_BETTER, METRICS, Experiment, report_names
from biascon.report.verdicts import significant_bests, summarize_seeds
from biascon.runs.environment import read_processor
from biascon.runs.evaluation import FEATURE_METRICS, Evaluation
from biascon.runs.finished import FinishedRun
from biascon.utils.files import read_json

N_ACCURACIES = len(METRICS) - len(LOWER_IS_BETTER)  # the accuracies come first in METRICS
NO_GROUPS = "The dataset has no bias attribute: group metrics do not apply."
NO_ALIGNMENT = (
    "No alignment is defined for the bias attribute: bias-aligned and -conflicting do not apply."
)
FEATURE_COLUMNS = report_names(FEATURE_METRICS)


@dataclass(frozen=True)
class TableCell:
    """A number of a table.

    Attributes:
        text: The number as it is printed.
        value: The number that the table is sorted by, as text; empty if it is undefined.
    """

    text: str
    value: str


UNDEFINED_CELL = TableCell("-", "")


@dataclass(frozen=True)
class ResultCell:
    """A metric of a loss over seeds.

    Attributes:
        mean: The mean in percent, None if the metric is undefined for every seed.
        sd: The sample standard deviation in percent, None below two seeds.
        n: The number of seeds for which the metric is defined.
        is_bold: Whether the loss is significantly the best of its kind.
    """

    mean: str | None
    sd: str | None
    n: int
    is_bold: bool


@dataclass(frozen=True)
class ResultRow:
    """The results of a loss.

    Attributes:
        label: The loss, with the parameters that differ from their defaults.
        uses_bias_labels: Whether the method uses bias labels.
        seeds: The number of seeds.
        classifier: The short name of the classifier of the metrics.
        metrics: The cells by metric.
        secondary: The headline accuracy with the other classifier, and its short name.
    """

    label: str
    uses_bias_labels: bool
    seeds: int
    classifier: str
    metrics: Mapping[str, ResultCell]
    secondary: TableCell


def table_columns(experiment: Experiment) -> list[str]:
    """Return the names of the columns of the table of results after the loss and the seeds."""
    names = experiment.metrics
    return [
        "evaluated by",
        *(f"{name} ↓" if key in LOWER_IS_BETTER else name for key, name in names.items()),
        f"{names[experiment.headline]}, other classifier",
    ]


def table_note(experiment: Experiment) -> str:
    """Return which metrics do not apply to the dataset; an empty text if all apply."""
    if not experiment.has_bias:
        return NO_GROUPS
    return "" if experiment.knows_aligned else NO_ALIGNMENT


def describe_comparisons(experiment: Experiment) -> str:
    """Return which classes the comparisons of groups are about, as the end of a sentence."""
    positive = experiment.metadata.summary.positive
    if positive is None:
        return "one class against the rest, mean over classes"
    return f"for the positive class {positive}"


def table_rows(experiment: Experiment) -> list[ResultRow]:
    """Return the rows of the table of results, one for each loss."""
    bests = {metric: significant_bests(experiment, metric) for metric in experiment.metrics}
    return [
        ResultRow(
            label=label,
            uses_bias_labels=runs[0].uses_bias_labels,
            seeds=len(runs),
            classifier=runs[0].evaluated_by.short,
            metrics={
                metric: _result_cell(experiment, label, metric, is_bold=label in best)
                for metric, best in bests.items()
            },
            secondary=secondary_accuracy(runs),
        )
        for label, runs in experiment.losses.items()
    ]


def _result_cell(experiment: Experiment, label: str, metric: str, *, is_bold: bool) -> ResultCell:
    mean = summarize_seeds(experiment, label, metric)
    if mean is None:
        return ResultCell(None, None, 0, is_bold)
    sd = None if mean.n < 2 else f"{100 * mean.sd:.1f}"
    return ResultCell(f"{100 * mean.mean:.1f}", sd, mean.n, is_bold)


def secondary_accuracy(runs: Sequence[FinishedRun]) -> TableCell:
    """Return the mean headline accuracy with the other classifier, and the short name of that classifier."""
    secondary = [run.secondary for run in runs if run.secondary is not None]
    values = [value for _, value in secondary if value is not None]
    if not values:
        return UNDEFINED_CELL
    classifier, _ = secondary[0]
    percent = f"{100 * sum(values) / len(values):.1f}"
    return TableCell(f"{percent} ({classifier.short})", percent)


def mean_cell(values: Sequence[float | None], *, in_percent: bool = True) -> TableCell:
    """Return the mean of the defined values; it states their number if some are undefined."""
    defined = [value for value in values if value is not None]
    if not defined:
        return UNDEFINED_CELL
    mean = sum(defined) / len(defined)
    text = f"{100 * mean:.1f}" if in_percent else f"{mean:.3f}"
    if len(defined) < len(values):
        text += f" (n={len(defined)})"
    return TableCell(text, f"{mean:.6f}")


def format_cell(cell: ResultCell, seeds: int, plus_minus: str, bold: str) -> str:
    """Return a cell as text; it states the number of its seeds if the metric is undefined for some.

    Args:
        cell: The cell.
        seeds: The number of seeds of the loss.
        plus_minus: The sign between mean and standard deviation.
        bold: The markup of a bold text, with ``{}`` in the place of the text.
    """
    if cell.mean is None:
        return "-"
    text = cell.mean if cell.sd is None else f"{cell.mean} {plus_minus} {cell.sd}"
    text = bold.format(text) if cell.is_bold else text
    return text if cell.n == seeds else f"{text} (n={cell.n})"


def format_metric(metric: Metric) -> str:
    """Return a metric in percent, with its 95 % interval where it is defined."""
    if metric.value is None:
        return "-"
    text = f"{100 * metric.value:.1f}"
    if metric.interval is None:
        return text
    low, high = metric.interval
    return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def mark_label(label: str, *, uses_bias_labels: bool, mark: str = " †") -> str:
    """Return the label of a loss, marked if the method uses bias labels."""
    return label + mark * uses_bias_labels


def count_seeds(experiment: Experiment) -> str:
    """Return the number of seeds of the losses: ``"1 seed"``, ``"2 or 3 seeds"``."""
    counts = sorted({len(runs) for runs in experiment.losses.values()})
    return f"{' or '.join(map(str, counts))} seed{'s' if counts != [1] else ''}"


def format_parameters(parameters: Mapping[str, Any]) -> str:
    """Return parameters in a line."""
    return ", ".join(f"{k} {v}" for k, v in parameters.items()) or "no parameters"


def describe_method(evaluations: Sequence[Evaluation]) -> str:
    """Return the parameters of a loss, its own settings, and what each first-stage network singles out.

    Args:
        evaluations: The evaluations of the loss, one for each seed.
    """
    identity = evaluations[0].identity
    parts = [format_parameters(identity.parameters)]
    if identity.method_settings:
        settings = ", ".join(f"{k} = {v}" for k, v in identity.method_settings.items())
        parts.append(f"its own settings: {settings}")
    parts += [
        f"seed {evaluation.identity.seed}: {evaluation.selected_images.describe()}"
        for evaluation in evaluations
        if evaluation.selected_images is not None
    ]
    return "; ".join(parts)


def describe_machines(experiment: Experiment) -> str:
    """Return the devices and versions that the runs were computed with, each once."""
    machines = set()
    for run in experiment.runs:
        environment = read_json(run.folder / "environment.json")
        device = environment.get("accelerator", environment["device"])
        torch, version = environment["packages"]["torch"], environment["biascon"]
        if device == "cpu":
            device = read_processor(environment).describe()
        earlier = "".join(f", begun on {other}" for other in environment.get("begun_on", []))
        machines.add(
            f"{device}{earlier}, {environment['system']}, torch {torch}, biascon {version}"
        )
    several = "several machines, whose runs differ in rounding as runs of other seeds do: "
    return (several if len(machines) > 1 else "") + "; ".join(sorted(machines))


def describe_classifiers(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the descriptions of the classifiers, each with the losses that are evaluated by it."""
    labels: dict[str, list[str]] = {}
    for label, runs in experiment.losses.items():
        labels.setdefault(runs[0].evaluation.protocol.evaluation, []).append(label)
    return [(description, ", ".join(each)) for description, each in labels.items()]


def published_rows(experiment: Experiment) -> list[tuple[str, str, str]]:
    """Return method, unbiased accuracy and source of the published results on this dataset."""
    parameters = biased_mnist_parameters(experiment.identity)
    if parameters is None or parameters.source_kind != "mnist" or parameters.variation:
        return []
    rho = parameters.rho
    text = (resources.files("biascon.report") / "published.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["result"]
    return [(row["method"], f"{row[rho]:.1f}", row["source"]) for row in rows if rho in row]


def feature_rows(experiment: Experiment) -> list[tuple[str, list[TableCell]]]:
    """Return the cells of ``FEATURE_COLUMNS`` for each loss, means over seeds."""
    return [
        (
            label,
            [
                mean_cell(
                    [run.evaluation.features.metrics[metric].value for run in runs],
                    in_percent=metric.endswith("_readout"),
                )
                for metric in FEATURE_COLUMNS
            ],
        )
        for label, runs in experiment.losses.items()
    ]


def describe_probe_split(experiment: Experiment) -> str:
    """Return which split the probes of the feature metrics are fitted on."""
    n = experiment.metadata.features.fitted_on
    return (
        "nothing: there is no validation split" if n is None else f"the validation split, n = {n:,}"
    )


def preset_epochs(experiment: Experiment) -> int:
    """Return the epochs of the methods that have no number of epochs of their own."""
    identities = [run.evaluation.identity for run in experiment.runs]
    epochs = [i.epochs for i in identities if "train.epochs" not in i.method_settings]
    return epochs[0] if epochs else identities[0].epochs


def describe_experiment(experiment: Experiment) -> list[tuple[str, str]]:
    """Return dataset, protocol and settings of an experiment, as names and texts."""
    identity, protocol = experiment.identity, experiment.metadata.protocol
    note = table_note(experiment)
    n = preset_epochs(experiment)
    epochs = f"{n} epoch{'s' if n != 1 else ''}"
    return [
        *([("bias attribute", note)] if note else []),
        ("source of the images", identity.source),
        ("training set", protocol.train),
        ("validation set", protocol.val),
        ("test set", f"{protocol.test}, n = {experiment.test_n:,}"),
        *(
            ("evaluated by", f"{text}: {labels}")
            for text, labels in describe_classifiers(experiment)
        ),
        ("selection", protocol.selection),
        ("encoder", f"{identity.encoder}, {epochs}, batch {identity.batch_size}"),
        *(
            (f"parameters of {label}", describe_method([run.evaluation for run in runs]))
            for label, runs in experiment.losses.items()
        ),
        ("computed on", describe_machines(experiment)),
        *(
            (name, format_parameters(identity.config[name]))
            for name in ("augment", "optimizer", "train")
        ),
        ("preset, recipe digest", f"{experiment.preset}, {identity.recipe[:8]}"),
        ("dataset digest", identity.dataset_digest[:8]),
    ]


def worst_group_rows(experiment: Experiment) -> str:
    """Return how many test images the worst groups of the runs have."""
    counts = sorted({run.evaluation.summary["worst_group"].n for run in experiment.runs})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
