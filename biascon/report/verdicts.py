"""Comparisons within a group: means over seeds, paired differences, and the verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from biascon.metrics.intervals import Mean, t_interval
from biascon.report.experiments import LOWER_IS_BETTER, NAMES, Experiment, FinishedRun
from biascon.report.paired_tests import compare_on_images


@dataclass(frozen=True)
class LossDifference:
    """Loss a minus loss b in a metric, with a 95 % interval and what the interval is over.

    ``gap`` is the same for the gap between bias-aligned and bias-conflicting accuracy, over seeds;
    ``note`` says in what else the two differ.
    """

    a: str
    b: str
    metric: str
    mean: float
    low: float
    high: float
    over: str
    gap: LossDifference | None = None
    note: str = ""

    @property
    def decides(self) -> bool:
        """Whether the interval excludes 0."""
        return bool(self.low > 0 or self.high < 0)


def summarize_seeds(group: Experiment, label: str, metric: str) -> Mean | None:
    """Return the mean over the seeds for which the metric is defined, None if there is none."""
    values = list(group.values(label, metric).values())
    return t_interval(values) if values else None


def difference_over_seeds(group: Experiment, a: str, b: str, metric: str) -> LossDifference | None:
    """Return the paired difference over common seeds with its t interval; None below two seeds."""
    first, second = group.values(a, metric), group.values(b, metric)
    common = sorted(first.keys() & second.keys())
    if len(common) < 2:
        return None
    paired = t_interval([first[seed] - second[seed] for seed in common])
    over = f"paired t over {len(common)} seeds"
    return LossDifference(a, b, metric, paired.mean, paired.low, paired.high, over)


def significant_best(group: Experiment, metric: str, labels: Sequence[str]) -> str | None:
    """Return which of some losses is better than every other of them beyond doubt, or None.

    It must have the best mean, and its paired interval over seeds must exclude 0 against each other
    loss. Among fewer than two losses nothing is best.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    means = {}
    for label in labels:
        mean = summarize_seeds(group, label, metric)
        if mean is None:
            return None
        means[label] = sign * mean.mean
    if len(means) < 2:
        return None
    first = max(means, key=lambda label: means[label])
    for other in means:
        if other == first:
            continue
        difference = difference_over_seeds(group, first, other, metric)
        if difference is None or not difference.decides or sign * difference.mean <= 0:
            return None
    return first


def significant_bests(group: Experiment, metric: str) -> set[str]:
    """Return the best loss of those that are given no bias labels, and of those that are."""
    found = set()
    for given in (False, True):
        labels = [label for label, found_ in group.losses.items() if found_[0].sees_bias == given]
        found.add(significant_best(group, metric, labels))
    return {label for label in found if label is not None}


def difference_over_images(a: FinishedRun, b: FinishedRun) -> LossDifference | None:
    """Return the difference in headline accuracy of two runs over their test images; see ``on_images``."""
    found = compare_on_images(a, b)
    if found is None:
        return None
    over = f"bootstrap over the {found.n:,} test images"
    return LossDifference(
        a.label, b.label, a.headline, found.difference, found.low, found.high, over
    )


def compare_pair(group: Experiment, a: str, b: str) -> LossDifference | None:
    """Return the difference in headline accuracy: over seeds if there are two, else over images."""
    note = _unlike(group.losses[a][0], group.losses[b][0])
    paired = difference_over_seeds(group, a, b, group.headline)
    if paired is not None:
        return replace(paired, gap=difference_over_seeds(group, a, b, "gap"), note=note)
    seeds = {run.seed: run for run in group.losses[a]}
    for run in group.losses[b]:
        if run.seed in seeds:
            found = difference_over_images(seeds[run.seed], run)
            return None if found is None else replace(found, note=note)
    return None


def _unlike(a: FinishedRun, b: FinishedRun) -> str:
    """Say in what two methods differ beyond their loss."""
    parts = []
    if a.sees_bias != b.sees_bias:
        one, other = (a, b) if a.sees_bias else (b, a)
        parts.append(
            f"{one.label} is given bias labels and {other.label} is not: as methods they are not comparable."
        )
    if a.judge != b.judge:
        parts.append(f"{a.label} is judged by {_the(a.judge)}, {b.label} by {_the(b.judge)}.")
    return " ".join(parts)


def _the(judge: str) -> str:
    return "its own classifier" if judge.startswith("own") else f"a {judge}"


def reference_loss(group: Experiment) -> str:
    """Return what the others are compared with: SupCon, or the first loss where it did not run."""
    labels = list(group.losses)
    losses = {label: str(group.losses[label][0].evaluation["loss"]) for label in labels}
    return next((label for label in labels if losses[label] == "supcon"), labels[0])


def compare_losses(group: Experiment) -> list[LossDifference]:
    """Return each loss against SupCon, or against the first loss where SupCon did not run."""
    labels, reference = list(group.losses), reference_loss(group)
    losses = {label: str(group.losses[label][0].evaluation["loss"]) for label in labels}
    others = [label for label in labels if label != reference]
    # ConTeX first: it is what the report is asked about.
    others.sort(key=lambda label: not losses[label].startswith("contex"))
    found = [compare_pair(group, label, reference) for label in others]
    return [difference for difference in found if difference is not None]


def split_for_prose(group: Experiment) -> tuple[list[LossDifference], list[LossDifference]]:
    """Return the comparisons to put in words, and, where there are many, the rest for a table.

    ConTeX is what a report is asked about.
    """
    found = compare_losses(group)
    if len(found) <= PROSE:
        return found, []
    first = [d for d in found if d.a.startswith("contex")] or found[:PROSE]
    return first, [d for d in found if d not in first]


PROSE = 4


def describe_difference(difference: LossDifference) -> str:
    """Say what a difference in accuracy shows, and in what else the two methods differ."""
    return " ".join(part for part in (_in_words(difference), difference.note) if part)


def _in_words(difference: LossDifference) -> str:
    """Say what a difference in accuracy shows, and no more.

    That a loss leans less on the bias is said only where its gap between aligned and conflicting
    accuracy is smaller beyond doubt as well; of one seed, nothing is said about the losses.
    """
    a, b = difference.a, difference.b
    accuracy = NAMES[difference.metric]
    how = f"({_interval(difference)}; {difference.over})"
    if difference.decides:
        side = "above" if difference.mean > 0 else "below"
        text = f"is {100 * abs(difference.mean):.1f} points {side} that of {b} {how}"
    else:
        text = f"differs from that of {b} by {100 * difference.mean:+.1f} points {how}, which includes 0"
    if difference.over.startswith("bootstrap"):
        return (
            f"One seed: the {accuracy} of this encoder of {a} {text}. "
            "That is about these two encoders; one seed says nothing about the losses."
        )
    gap = difference.gap
    if not difference.decides:
        return f"Undecided: the {accuracy} of {a} {text}."
    if gap is None or not gap.decides or (gap.mean < 0) != (difference.mean > 0):
        return f"The {accuracy} of {a} {text}."
    size, lean = ("smaller", "less") if gap.mean < 0 else ("larger", "more")
    return (
        f"The {accuracy} of {a} {text}, and its gap between bias-aligned and bias-conflicting "
        f"cells is {100 * abs(gap.mean):.1f} points {size} ({_interval(gap)}): on this dataset and "
        f"protocol {a} leans {lean} on the bias attribute than {b}."
    )


def _interval(difference: LossDifference) -> str:
    return f"95 % interval {100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
