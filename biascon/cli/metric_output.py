"""The comparison of losses in chosen metrics, as ``compare --metric`` prints it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from biascon.cli.output import format_p, format_table, print_json, print_note, print_text
from biascon.utils.text import message_line, shorten

if TYPE_CHECKING:
    from biascon.report.experiments import Experiment
    from biascon.report.image_metric_tests import MetricImageTest
    from biascon.report.metric_tests import ExcessTest, MetricTest
    from biascon.runs.finished import FinishedRun

SEED_COLUMNS = (
    "metric", "loss", "against", "seeds", "difference", "95 %", "p (t)", "p (Holm)", "p (Wilcoxon)",
    "better",
)  # fmt: skip
EXCESS_COLUMNS = (
    "metric", "loss", "against", "seeds", "difference", "95 %", "p (t)", "p (Holm)",
)  # fmt: skip
IMAGE_COLUMNS = (
    "metric", "loss", "against", "seed", "n", "difference", "95 %", "p (exchange)", "p (Holm)",
)  # fmt: skip

# Why a loss is named as better or not, by ``MetricTest.basis``.
TRAINING_WEIGHTED = ("adjusted_average", "in_distribution")
NOTES: dict[str, str] = {
    "difference": "better is named where p (Holm) is at most 0.05",
    "difference and excess": "better is named where p (Holm) is at most 0.05 for the difference and for that "
    "of the excess over the value by chance, in the same direction, because a loss with more errors "
    "has a larger disparity by chance alone",
    "gap": "no better loss is named: a gap is also nearer to 0 where the in-distribution accuracy is lower; "
    "compare in in_distribution and in joint:ATTRIBUTE too",
    "none": "no better loss is named: a larger disparity may come from lower accuracy alone, and there is "
    "no value by chance to subtract",
}


def compare_in_metrics(
    experiments: Sequence[Experiment],
    metrics: Sequence[str],
    against: str | None,
    *,
    as_json: bool,
) -> None:
    """Print the paired tests of experiments in metrics of counts.

    Args:
        experiments: The experiments.
        metrics: Names as ``paired_metrics.check_metrics`` takes them.
        against: The loss that the others are compared with; None for every pair.
        as_json: Whether a JSON object is printed for each metric and pair, instead of tables.

    Raises:
        UsageError: No run has a value of a metric.
    """
    from biascon.report.metric_tests import run_metric_tests

    for metric in metrics:
        _check_measured(experiments, metric)
    for experiment in experiments:
        tests = run_metric_tests(experiment, metrics, against, say=print_note)
        if not as_json:
            print_text(format_metric_tests(experiment, tests))
            continue
        for test in tests:
            data = {
                "dataset": experiment.identity.dataset,
                "recipe": experiment.identity.recipe,
                "positive": experiment.metadata.summary.positive,
                **test.to_json(),
                "note": NOTES[test.basis],
            }
            print_json(json.dumps(data))


def _check_measured(experiments: Sequence[Experiment], metric: str) -> None:
    from biascon.errors import UsageError

    runs = [run for experiment in experiments for run in experiment.runs]
    if any(run.value(metric) is not None for run in runs):
        return
    reason = "it is undefined in each of them"
    if not any(run.has_bias for run in runs):
        reason = "their dataset has no bias attribute"
    elif ":" in metric or metric == "in_distribution":
        reason = _explain_joint(runs, metric.partition(":")[2])
    raise UsageError(f"no run has a value of '{metric}': {reason}")


def _explain_joint(runs: Sequence[FinishedRun], attribute: str) -> str:
    """Return why no run has a value of a metric of several bias attributes."""
    from biascon.errors import did_you_mean

    records = [run.evaluation.joint_bias for run in runs]
    names = list(dict.fromkeys(name for each in records if each is not None for name in each.names))
    if not names:
        return (
            "none was measured with two or more attributes that have alignment pairs "
            "(runs of earlier versions were not)"
        )
    if attribute in ("", "all", "none", *names):
        return "it is undefined in each of them"
    return (
        f"there is no attribute '{attribute}'{did_you_mean(attribute, names)} "
        f"(attributes with alignment pairs: {', '.join(names)})"
    )


def format_metric_tests(experiment: Experiment, tests: Sequence[MetricTest]) -> str:
    """Return the comparisons of an experiment as two tables: over seeds, and over test images."""
    if not tests:
        labels = ", ".join(experiment.losses)
        return f"{message_line(experiment.title)}\nonly {labels}: nothing to compare with"
    lines = [
        message_line(experiment.title),
        "",
        "over seeds: loss minus against, paired; rates in points, ratios in 0..1",
        format_table(SEED_COLUMNS, [_seed_row(test) for test in tests], left=3),
    ]
    excess_rows = [_excess_row(test, test.excess) for test in tests if test.excess is not None]
    if excess_rows:
        lines += [
            "",
            "over seeds: the same for the excess over the value by chance; lower is better in every row",
            format_table(EXCESS_COLUMNS, excess_rows, left=3),
        ]
    image_rows = [_image_row(test, each) for test in tests for each in test.images]
    if image_rows:
        lines += [
            "",
            "over the test images of one seed: this compares two encoders, not the losses",
            format_table(IMAGE_COLUMNS, image_rows, left=3),
        ]
    return "\n".join([*lines, "", *_explain_classes(experiment, tests), *_explain(tests)])


def _explain_classes(experiment: Experiment, tests: Sequence[MetricTest]) -> list[str]:
    """Return a line about the classes that a comparison of groups is of, nothing without such a metric."""
    from biascon.metrics.summary import COMPARISONS

    if not {test.metric for test in tests} & set(COMPARISONS):
        return []
    positive = experiment.metadata.summary.positive
    of = (
        "the mean over classes"
        if positive is None
        else f"those of the positive class {shorten(positive)}"
    )
    return [f"comparisons of groups: {of}"]


def _explain(tests: Sequence[MetricTest]) -> list[str]:
    """Return what the columns of the tables mean, a line each."""
    metrics = dict.fromkeys(test.metric for test in tests)
    lower = dict.fromkeys(test.metric for test in tests if test.lower_is_better)
    higher = [metric for metric in metrics if metric not in lower]
    lines = [f"lower is better: {', '.join(map(_name, lower))}"] if lower else []
    lines += [f"higher is better: {', '.join(map(_name, higher))}"] if higher else []
    lines += [
        *_explain_family(tests, len(metrics)),
        *_explain_better(tests),
        "95 %: t interval over seeds, for one comparison alone",
    ]
    if any(test.images for test in tests):
        lines.append(
            "p (exchange): the two predictions of each image are exchanged at random. 95 % over images: "
            "paired, for accuracies and gaps; none for the worst group and for comparisons of groups"
        )
    return lines


def _explain_family(tests: Sequence[MetricTest], metrics: int) -> list[str]:
    """Return a line about the number of tests that Holm adjusts over: those that have a p-value."""
    pairs = len({(test.a, test.b) for test in tests})
    counts = [
        (_count_defined([test.p_t for test in tests]), "of the first table"),
        (
            _count_defined([test.excess.p_t for test in tests if test.excess is not None]),
            "of the excess",
        ),
        (_count_defined([each.p for test in tests for each in test.images]), "on the images"),
    ]
    families = [f"the {n} {of}" for n, of in counts if n]
    if not families:
        return []
    of_all = f"{metrics} metric{'s' * (metrics != 1)} x {pairs} pair{'s' * (pairs != 1)} of losses"
    return [f"Holm: adjusted over the tests that have a p-value ({of_all}): {'; '.join(families)}"]


def _count_defined(values: Sequence[float]) -> int:
    return sum(not math.isnan(value) for value in values)


def _explain_better(tests: Sequence[MetricTest]) -> list[str]:
    """Return when a loss is named as better, a line for each rule that the tests use."""
    lines = ["undecided: neither loss is shown to be better"]
    for basis, note in NOTES.items():
        names = dict.fromkeys(_name(test.metric) for test in tests if test.basis == basis)
        if names:
            lines.append(f"{', '.join(names)}: {note}")
    weighted = dict.fromkeys(test.metric for test in tests if test.metric in TRAINING_WEIGHTED)
    if weighted:
        lines.append(
            f"{', '.join(map(_name, weighted))}: weighted as the training images; where most of these are "
            "bias-aligned, reliance on the bias raises it"
        )
    excesses = dict.fromkeys(test.metric for test in tests if test.excess is not None)
    if excesses:
        lines.append("excess: the value minus the mean over permutations of the bias values")
    return lines


def _name(metric: str) -> str:
    from biascon.metrics.names import metric_name

    return metric_name(metric).name


def _seed_row(test: MetricTest) -> list[str]:
    return [
        _name(test.metric),
        test.a,
        test.b,
        str(test.seeds),
        _format_value(test.metric, test.difference),
        _format_interval(test.metric, test.low, test.high),
        format_p(test.p_t),
        format_p(test.p_t_holm),
        format_p(test.p_wilcoxon),
        test.better or _unnamed(test),
    ]


def _unnamed(test: MetricTest) -> str:
    if math.isnan(test.p_t):
        return "-"
    from biascon.report.metric_tests import NOT_JUDGED

    return "not judged" if test.basis in NOT_JUDGED else "undecided"


def _excess_row(test: MetricTest, excess: ExcessTest) -> list[str]:
    return [
        _name(test.metric),
        test.a,
        test.b,
        str(excess.seeds),
        _format_value(test.metric, excess.difference),
        _format_interval(test.metric, excess.low, excess.high),
        format_p(excess.p_t),
        format_p(excess.p_t_holm),
    ]


def _image_row(test: MetricTest, image_test: MetricImageTest) -> list[str]:
    return [
        _name(test.metric),
        test.a,
        test.b,
        str(image_test.seed),
        f"{image_test.n:,}",
        _format_value(test.metric, image_test.difference),
        _format_interval(test.metric, image_test.low, image_test.high),
        format_p(image_test.p),
        format_p(image_test.p_holm),
    ]


def _format_value(metric: str, value: float) -> str:
    from biascon.metrics.names import metric_name

    if math.isnan(value):
        return "-"
    return f"{value:+.3f}" if metric_name(metric).is_ratio else f"{100 * value:+.1f}"


def _format_interval(metric: str, low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return "-"
    return f"[{_format_value(metric, low)}, {_format_value(metric, high)}]"
