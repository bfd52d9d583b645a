"""Comparisons within an experiment: means over seeds, paired differences, and conclusions in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from biascon.metrics.intervals import Mean, t_interval
from biascon.report.experiments import HEADLINE_NAMES, LOWER_IS_BETTER, Experiment
from biascon.report.paired_tests import compare_on_images
from biascon.runs.finished import FinishedRun
from biascon.runs.records import Classifier

MAX_IN_WORDS = 4  # comparisons; of more, only those of ConTeX are put in words

CONTEX_LOSSES = ("contex", "contex-clip")


@dataclass(frozen=True)
class LossDifference:
    """Loss a minus loss b in a metric, with its 95 % interval.

    Attributes:
        a: The label of loss a.
        b: The label of loss b.
        metric: The metric.
        mean: The difference.
        low: The lower limit of the interval.
        high: The upper limit of the interval.
        unit: What the interval is over: a t interval over seeds, or an interval over test images.
        n: The number of seeds or of test images.
        gap: The same difference in the gap between bias-aligned and bias-conflicting accuracy, over seeds.
        note: In what else the two methods differ.
    """

    a: str
    b: str
    metric: str
    mean: float
    low: float
    high: float
    unit: Literal["seeds", "images"]
    n: int
    gap: LossDifference | None = None
    note: str = ""

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0."""
        return bool(self.low > 0 or self.high < 0)

    @property
    def interval_method(self) -> str:
        """The method of the interval, in words."""
        if self.unit == "seeds":
            return f"paired t over {self.n} seeds"
        return f"over the {self.n:,} test images"


def summarize_seeds(experiment: Experiment, label: str, metric: str) -> Mean | None:
    """Return the mean over the seeds for which the metric is defined, None if there is none."""
    values = list(experiment.values(label, metric).values())
    return t_interval(values) if values else None


def difference_over_seeds(
    experiment: Experiment, a: str, b: str, metric: str
) -> LossDifference | None:
    """Return the paired difference over common seeds with its t interval; None below two seeds."""
    values_a, values_b = experiment.values(a, metric), experiment.values(b, metric)
    common = sorted(values_a.keys() & values_b.keys())
    if len(common) < 2:
        return None
    mean = t_interval([values_a[seed] - values_b[seed] for seed in common])
    return LossDifference(a, b, metric, mean.mean, mean.low, mean.high, "seeds", len(common))


def significant_best(experiment: Experiment, metric: str, labels: Sequence[str]) -> str | None:
    """Return the loss that is significantly better than every other of these losses, or None.

    It has the best mean, and its paired interval over seeds excludes 0 against each of the others. With fewer
    than two losses there is no best loss.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    means = {}
    for label in labels:
        mean = summarize_seeds(experiment, label, metric)
        if mean is None:
            return None
        means[label] = sign * mean.mean
    if len(means) < 2:
        return None
    best = max(means, key=lambda label: means[label])
    for other in means:
        if other == best:
            continue
        difference = difference_over_seeds(experiment, best, other, metric)
        if difference is None or not difference.is_significant or sign * difference.mean <= 0:
            return None
    return best


def significant_bests(experiment: Experiment, metric: str) -> set[str]:
    """Return the best loss among those that use bias labels, and the best among those that do not."""
    bests = set()
    for uses_bias_labels in (False, True):
        labels = [
            label
            for label, runs in experiment.losses.items()
            if runs[0].uses_bias_labels == uses_bias_labels
        ]
        bests.add(significant_best(experiment, metric, labels))
    return {label for label in bests if label is not None}


def difference_over_images(a: FinishedRun, b: FinishedRun) -> LossDifference | None:
    """Return the difference in headline accuracy of two runs over their test images.

    None unless both have the same test images in the same order; see ``compare_on_images``.
    """
    test = compare_on_images(a, b)
    if test is None:
        return None
    return LossDifference(
        a.label, b.label, a.headline, test.difference, test.low, test.high, "images", test.n
    )


def compare_pair(experiment: Experiment, a: str, b: str) -> LossDifference | None:
    """Return the difference in headline accuracy: over seeds if there are two, otherwise over images."""
    note = " ".join(
        text
        for text in (
            _describe_other_differences(experiment.losses[a][0], experiment.losses[b][0]),
            _describe_missing_form(experiment, experiment.losses[a][0]),
        )
        if text
    )
    over_seeds = difference_over_seeds(experiment, a, b, experiment.headline)
    if over_seeds is not None:
        gap = difference_over_seeds(experiment, a, b, "gap")
        return replace(over_seeds, gap=gap, note=note)
    run_of_a = {run.seed: run for run in experiment.losses[a]}
    for run in experiment.losses[b]:
        if run.seed in run_of_a:
            over_images = difference_over_images(run_of_a[run.seed], run)
            return None if over_images is None else replace(over_images, note=note)
    return None


def _describe_other_differences(a: FinishedRun, b: FinishedRun) -> str:
    """State in what two methods differ besides their loss: bias labels, and the classifier."""
    sentences = []
    if a.uses_bias_labels != b.uses_bias_labels:
        user, other = (a, b) if a.uses_bias_labels else (b, a)
        sentences.append(
            f"{user.label} uses bias labels and {other.label} does not: "
            "as methods they are not comparable."
        )
    if a.evaluated_by is not b.evaluated_by:
        sentences.append(
            f"{a.label} is evaluated by {_WITH_ARTICLE[a.evaluated_by]}, "
            f"{b.label} by {_WITH_ARTICLE[b.evaluated_by]}."
        )
    return " ".join(sentences)


CONTEX_FORMS = {
    "plain": ("unbounded", "contex"),
    "clip": ("clamped", "contex-clip"),
}


def contex_form(run: FinishedRun) -> str | None:
    """Return the form of ConTeX that a run has, None for another loss."""
    if not _is_contex(run.loss):
        return None
    parameters = run.evaluation.identity.parameters
    earlier_form = "clip" if parameters.get("clip") else "plain"  # before the parameter ``form``
    return str(parameters.get("form", earlier_form))


def _describe_missing_form(experiment: Experiment, run: FinishedRun) -> str:
    """State which of the two forms of the authors' code is missing beside a run of ConTeX."""
    if contex_form(run) is None:
        return ""
    present = {contex_form(runs[0]) for runs in experiment.losses.values()}
    missing = [names for form, names in CONTEX_FORMS.items() if form not in present]
    if not missing:
        return ""
    forms = " and ".join(f"the {adjective} form ({name})" for adjective, name in missing)
    return (
        f"The authors' code has two forms of ConTeX; {forms} did not run here, and a conclusion about ConTeX "
        "needs both."
    )


_WITH_ARTICLE = {
    Classifier.LINEAR_PROBE: "a linear probe",
    Classifier.KNN: "a kNN classifier",
    Classifier.FINE_TUNED: "fine-tuning",
    Classifier.OWN: "its own classifier",
}


def reference_loss(experiment: Experiment) -> str:
    """Return the loss that the others are compared with: SupCon, or the first loss without a SupCon run."""
    labels = list(experiment.losses)
    return next(
        (label for label in labels if experiment.losses[label][0].loss == "supcon"), labels[0]
    )


def compare_losses(experiment: Experiment) -> list[LossDifference]:
    """Return each loss against the reference; ConTeX comes first."""
    reference = reference_loss(experiment)
    others = [label for label in experiment.losses if label != reference]
    others.sort(key=lambda label: not _is_contex(experiment.losses[label][0].loss))
    differences = [compare_pair(experiment, label, reference) for label in others]
    return [difference for difference in differences if difference is not None]


def _is_contex(loss: str) -> bool:
    return loss in CONTEX_LOSSES


def split_for_prose(experiment: Experiment) -> tuple[list[LossDifference], list[LossDifference]]:
    """Return the comparisons to put in words, and the rest for a table.

    Up to ``MAX_IN_WORDS`` comparisons are all put in words. Of more, those of ConTeX are, or the first ones
    without ConTeX.
    """
    differences = compare_losses(experiment)
    if len(differences) <= MAX_IN_WORDS:
        return differences, []
    in_words = [d for d in differences if _is_contex(experiment.losses[d.a][0].loss)]
    in_words = in_words or differences[:MAX_IN_WORDS]
    return in_words, [d for d in differences if d not in in_words]


def describe_difference(difference: LossDifference) -> str:
    """Return what a difference in accuracy shows, and in what else the two methods differ."""
    return " ".join(text for text in (_describe_accuracy(difference), difference.note) if text)


def _describe_accuracy(difference: LossDifference) -> str:
    """Return what a difference in accuracy shows, and nothing beyond it.

    A loss is said to rely less on the bias attribute only if its gap between bias-aligned and
    bias-conflicting accuracy is significantly smaller as well. With one seed the sentence is about two
    encoders, not about the losses.
    """
    a, b = difference.a, difference.b
    accuracy = HEADLINE_NAMES[difference.metric]
    interval = f"({_format_interval(difference)}; {difference.interval_method})"
    if difference.is_significant:
        side = "above" if difference.mean > 0 else "below"
        text = f"is {100 * abs(difference.mean):.1f} points {side} that of {b} {interval}"
    else:
        text = (
            f"differs from that of {b} by {100 * difference.mean:+.1f} points {interval}, "
            "which includes 0"
        )
    if difference.unit == "images":
        return (
            f"One seed: the {accuracy} of this encoder of {a} {text}. "
            "This compares two encoders; one seed does not show a difference between the losses."
        )
    gap = difference.gap
    if not difference.is_significant:
        return f"Undecided: the {accuracy} of {a} {text}."
    if gap is None or not gap.is_significant or (gap.mean < 0) != (difference.mean > 0):
        return f"The {accuracy} of {a} {text}."
    size, reliance = ("smaller", "less") if gap.mean < 0 else ("larger", "more")
    return (
        f"The {accuracy} of {a} {text}, and its gap between bias-aligned and bias-conflicting "
        f"cells is {100 * abs(gap.mean):.1f} points {size} ({_format_interval(gap)}): on this dataset and "
        f"protocol {a} relies {reliance} on the bias attribute than {b}."
    )


def _format_interval(difference: LossDifference) -> str:
    return f"95 % interval {100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
