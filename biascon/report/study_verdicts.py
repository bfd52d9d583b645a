"""What the confirmation of a study shows, in sentences that promise nothing beyond the study."""

from __future__ import annotations

import math

from biascon.report.study_data import ComparisonGroup, Study
from biascon.report.study_scope import loss_of
from biascon.runs.records import Classifier
from biascon.studies.confirmation import ALPHA, Comparison, Verdict

MAX_IN_WORDS = 12  # comparisons of a rule; of more, only those of ConTeX and the decided ones
GAP_NAME = "gap between bias-aligned and bias-conflicting accuracy"


def format_percent(value: float | None) -> str:
    """Return a rate in percent with one decimal, ``-`` where it is undefined."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def format_difference(value: float) -> str:
    """Return a difference of rates in points, with its sign."""
    return "-" if math.isnan(value) else f"{100 * value:+.1f}"


def format_range(low: float, high: float) -> str:
    """Return an interval in points."""
    if math.isnan(low) or math.isnan(high):
        return "undefined"
    return f"{format_difference(low)} to {format_difference(high)}"


def format_p_value(p: float) -> str:
    """Return a p-value with its relation: ``p = 0.012`` or ``p < 0.001``."""
    if math.isnan(p):
        return "p undefined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def in_words(study: Study, group: ComparisonGroup) -> list[Comparison]:
    """Return the comparisons to put in words: all, or of many those of ConTeX and the decided ones."""
    if len(group.comparisons) <= MAX_IN_WORDS:
        return list(group.comparisons)
    return [
        c
        for c in group.comparisons
        if c.verdict in (Verdict.BETTER, Verdict.WORSE, Verdict.LEVEL)
        or loss_of(study, c.method).startswith("contex")
    ]


def describe_comparison(study: Study, group: ComparisonGroup, comparison: Comparison) -> str:
    """Return what a comparison shows.

    That a method relies less on the bias attribute is said only if its gap between bias-aligned and
    bias-conflicting accuracy is shown to be smaller as well.
    """
    gap = group.gaps.get(comparison.method)
    if comparison.holds_for_search:
        sentences = [
            _describe_accuracy(study, group, comparison),
            _describe_settings(comparison),
            _describe_gap(study, comparison, gap),
        ]
    else:
        sentences = [_describe_other_rho(study, group, comparison, gap)]
    sentences += [_describe_diverged(comparison, gap), _describe_labels(study, comparison)]
    return " ".join(sentence for sentence in sentences if sentence)


def describe_group(group: ComparisonGroup) -> str:
    """Return the rule of a group, and the color correlations of its trials and of its confirmation."""
    if group.rho is None:
        return f"Rule {group.rule.name}"
    if group.rho == group.trial_rho:
        return f"Rule {group.rule.name}, trials and confirmation at rho {group.rho:g}"
    trials = "" if group.trial_rho is None else f", trials at rho {group.trial_rho:g}"
    return f"Rule {group.rule.name}{trials}, confirmation at rho {group.rho:g}"


def _pairs(study: Study, c: Comparison) -> str:
    fresh = "training seeds" + " and splits" * bool(study.resplits)
    fresh += " and colorings" * (c.rho is not None)
    return f"n = {c.n} pairs of fresh {fresh}"


def _p_better(c: Comparison) -> str:
    return (
        f"P({c.method} better) = {100 * c.better:.0f} %, 95 % interval "
        f"{100 * c.better_low:.0f} to {100 * c.better_high:.0f} %"
    )


def _describe_other_rho(
    study: Study, group: ComparisonGroup, c: Comparison, gap: Comparison | None
) -> str:
    """State the difference of two chosen settings on datasets of another color correlation."""
    rho = "another rho" if group.trial_rho is None else f"rho {group.trial_rho:g}"
    text = (
        f"No verdict about tuned methods: the settings were chosen at {rho}, and the variance of the choice "
        f"is known only there. The difference of the two chosen settings of {c.method} and {c.reference} in "
        f"{study.accuracy} is {format_difference(c.difference)} points (95 % interval "
        f"{format_range(c.settings_low, c.settings_high)}; {_pairs(study, c)}; "
        f"{format_p_value(c.p_holm)} by Holm; {_p_better(c)})."
    )
    if gap is None:
        return text
    return (
        f"{text} The difference of the two settings in the {GAP_NAME} is "
        f"{format_difference(gap.difference)} points (95 % interval "
        f"{format_range(gap.settings_low, gap.settings_high)}; {format_p_value(gap.p_holm)} by Holm)."
    )


def _describe_diverged(c: Comparison, gap: Comparison | None) -> str:
    """State how many confirmation runs of the two chosen settings diverged; empty if none did."""
    counts = {c.method: c.diverged, c.reference: c.reference_diverged}
    named = " and ".join(f"{n} of {method}" for method, n in counts.items() if n)
    if not named:
        return ""
    return (
        f"Confirmation runs that diverged: {named}. They are among the pairs, and their accuracy counts as "
        "chance: that of a classifier that always predicts one class."
        + " Their gap is undefined, so that the gaps are not compared."
        * (gap is None)
    )


def _describe_accuracy(study: Study, group: ComparisonGroup, c: Comparison) -> str:
    points = f"{100 * abs(c.difference):.1f} points"
    evidence = (
        f"95 % interval {format_range(c.low, c.high)}; {_pairs(study, c)}; "
        f"{format_p_value(c.p_holm)} by Holm; {_p_better(c)}"
    )
    equivalence = f"{format_p_value(c.p_equivalence_holm)} by Holm"
    margin = f"{100 * study.margin:.1f} points"
    name = study.accuracy
    if c.verdict in (Verdict.BETTER, Verdict.WORSE):
        side = "above" if c.difference > 0 else "below"
        return (
            f"{c.verdict.value.capitalize()}: the {name} of tuned {c.method} is {points} {side} that of "
            f"tuned {c.reference} ({evidence}). The equivalence test with a margin of {margin} has "
            f"{equivalence}."
        )
    differs = (
        f"the {name} of tuned {c.method} differs from that of tuned {c.reference} by "
        f"{format_difference(c.difference)} points ({evidence})"
    )
    if c.verdict is Verdict.LEVEL:
        test = f"equivalence test: {equivalence}"
        if c.p_holm <= ALPHA:
            side = "better" if c.difference > 0 else "worse"
            return (
                f"Level: {side} by less than the margin: {differs}. The difference is smaller than {margin} "
                f"({test}), and it is not 0."
            )
        return f"Level: {differs}, and the difference is smaller than {margin} ({test})."
    if math.isnan(c.p):
        reason = "The variance of the difference is undefined, so that nothing is shown."
    elif c.low <= 0 <= c.high:
        reason = "The interval includes 0."
    else:
        reason = (
            f"The interval excludes 0, but the p-value adjusted for {len(group.comparisons)} comparisons is "
            f"not at most {ALPHA}."
        )
    return (
        f"Undecided: {differs}. {reason} A difference smaller than {margin} is not shown either (equivalence "
        f"test: {equivalence})."
    )


def _describe_settings(c: Comparison) -> str:
    return (
        f"The interval of the two chosen settings alone is "
        f"{format_range(c.settings_low, c.settings_high)}; it does not hold for another search."
    )


def _describe_gap(study: Study, c: Comparison, gap: Comparison | None) -> str:
    """State the difference of the gaps, and what it says of the reliance on the bias attribute."""
    if gap is None:
        return ""
    evidence = (
        f"95 % interval {format_range(gap.low, gap.high)}; {format_p_value(gap.p_holm)} by Holm"
    )
    if c.verdict is gap.verdict and c.verdict in (Verdict.BETTER, Verdict.WORSE):
        size, reliance = ("smaller", "less") if c.verdict is Verdict.BETTER else ("larger", "more")
        return (
            f"Its {GAP_NAME} is {100 * abs(gap.difference):.1f} points {size} ({evidence}): on this dataset, "
            f"with this preset, budget and search space, {c.method} relies {reliance} on the bias attribute "
            f"than {c.reference}."
        )
    statement = f"Its {GAP_NAME} differs by {format_difference(gap.difference)} points ({evidence})"
    if c.verdict in (Verdict.BETTER, Verdict.WORSE):
        return (
            f"{statement}: this does not show which of the two relies less on the bias attribute."
        )
    return f"{statement}."


def _describe_labels(study: Study, c: Comparison) -> str:
    """State in what else the two methods differ: bias labels, and the classifier of the numbers."""
    runs = {
        name: next(run for run in study.full.runs if run.method == name and not run.diverged)
        for name in (c.method, c.reference)
    }
    a, b = runs[c.method], runs[c.reference]
    sentences = []
    if a.uses_bias_labels != b.uses_bias_labels:
        user, other = (c.method, c.reference) if a.uses_bias_labels else (c.reference, c.method)
        sentences.append(
            f"{user} uses bias labels and {other} does not: as methods they are not comparable."
        )
    if a.evaluated_by != b.evaluated_by:
        sentences.append(
            f"{c.method} is evaluated by: {_classifier(a.evaluated_by)}; {c.reference} by: "
            f"{_classifier(b.evaluated_by)}."
        )
    return " ".join(sentences)


def _classifier(value: str) -> str:
    try:
        return Classifier(value).label
    except ValueError:
        return value or "unknown"
