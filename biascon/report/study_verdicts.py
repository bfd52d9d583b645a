"""What the confirmation of a study shows, in sentences that promise nothing beyond the study."""

from __future__ import annotations

import math

from biascon.report.study_data import ComparisonGroup, Study
from biascon.report.verdicts import CONTEX_FORMS
from biascon.runs.records import Classifier
from biascon.studies.confirmation import ALPHA, Comparison, Verdict
from biascon.studies.records import Stage, StudyRun
from biascon.studies.selection import RULES

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


def describe_scope(study: Study) -> str:
    """Return what every statement of the study is about."""
    description = study.table.description
    budget = (
        f"at most {description['budget_seconds']:,.0f} seconds of training each"
        if study.has_seconds_budget
        else f"{len(study.trials(study.methods[0]))} trials each"
        + f" in {study.searches} searches" * (study.searches > 1)
        if study.methods
        else "no trial yet"
    )
    return (
        f"Each statement is about the dataset {description['dataset']['name']}, the preset "
        f"{description['preset']}, a budget of {budget}, the search spaces below and the named selection "
        "rule. It does not extend to other datasets, presets, budgets, search spaces or rules."
    )


def describe_intervals(study: Study) -> str:
    """Return what the two intervals of a comparison cover, and why one is narrower."""
    return (
        "The interval of a difference covers two kinds of randomness: that of training, from the pairs of "
        "the confirmation, and that of the choice, because another search with the same budget would choose "
        "other settings. The variance of the choice is measured by choosing again among random halves of the "
        "trials. The interval of the two chosen settings alone leaves the choice out. It is usually "
        "narrower, and it does not hold for another search. P(better) is the share of pairs in which the "
        "method is better, with a Wilson interval; it is about the chosen settings too. The p-values are "
        f"adjusted by Holm over the methods of a table. Better, worse and level are stated at "
        f"{100 * ALPHA:.0f} % of that family; level means that the difference is shown to be smaller than "
        f"{100 * study.margin:.1f} points."
    )


def in_words(study: Study, group: ComparisonGroup) -> list[Comparison]:
    """Return the comparisons to put in words: all, or of many those of ConTeX and the decided ones."""
    if len(group.comparisons) <= MAX_IN_WORDS:
        return list(group.comparisons)
    return [
        c
        for c in group.comparisons
        if c.verdict is not Verdict.UNDECIDED or _loss(study, c.method).startswith("contex")
    ]


def describe_comparison(study: Study, group: ComparisonGroup, comparison: Comparison) -> str:
    """Return what a comparison shows.

    That a method relies less on the bias attribute is said only if its gap between bias-aligned and
    bias-conflicting accuracy is shown to be smaller as well.
    """
    sentences = [
        _describe_accuracy(study, group, comparison),
        _describe_settings(comparison),
        _describe_gap(study, comparison, group.gaps.get(comparison.method)),
        _describe_labels(study, comparison),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def describe_group(group: ComparisonGroup) -> str:
    """Return the rule and the color correlation of a group."""
    rho = "" if group.rho is None else f", rho {group.rho:g}"
    return f"Rule {group.rule.name}{rho}"


def _describe_accuracy(study: Study, group: ComparisonGroup, c: Comparison) -> str:
    points = f"{100 * abs(c.difference):.1f} points"
    fresh = "training seeds" if c.rho is None else "training seeds and colorings"
    evidence = (
        f"95 % interval {format_range(c.low, c.high)}; n = {c.n} pairs of fresh {fresh}; "
        f"{format_p_value(c.p_holm)} by Holm; P({c.method} better) = {100 * c.better:.0f} %, 95 % interval "
        f"{100 * c.better_low:.0f} to {100 * c.better_high:.0f} %"
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


def _loss(study: Study, method: str) -> str:
    return str(study.table.description["methods"][method].get("loss", method))


def describe_missing_forms(study: Study) -> str:
    """State which of the two forms of the authors' code is missing in a study of ConTeX."""
    present = set()
    for method, data in study.table.description["methods"].items():
        loss = _loss(study, method)
        if loss in ("contex", "contex-clip"):
            stated = [
                setting.partition("=")[2].strip(" \"'")
                for setting in (*study.table.description["settings"], *data.get("settings", ()))
                if setting.partition("=")[0].strip() == "loss.form"
            ]
            present |= set(stated[-1:] or ["clip" if loss == "contex-clip" else "plain"])
    missing = [names for form, names in CONTEX_FORMS.items() if form not in present]
    if not present or not missing:
        return ""
    forms = " and ".join(f"the {adjective} form ({name})" for adjective, name in missing)
    return (
        f"The authors' code has two forms of ConTeX; {forms} is not part of this study, and a conclusion "
        "about ConTeX needs both."
    )


def describe_incomplete_search(study: Study) -> list[str]:
    """State which part of the search is compared if it is not complete."""
    stated = study.table.description["trials"] * study.searches
    absent = [method for method in study.table.methods if method not in study.methods]
    notes = []
    if absent:
        notes.append(f"Without a finished trial that can be compared: {', '.join(absent)}.")
    if not study.methods or study.has_seconds_budget:
        return notes
    n = len(study.trials(study.methods[0]))
    finished = len(study.full.select(Stage.TRIAL))
    left_out = finished - sum(len(study.trials(method)) for method in study.methods)
    if n < stated:
        notes.append(
            f"The search is not complete: {n} of {stated} trials are finished for every method that has any. "
            f"Only these {n} are compared and choose."
            + f" {left_out} more finished trials are left out."
            * bool(left_out)
        )
    choices = {
        run.key
        for rule in RULES.values()
        for method in study.methods
        for _, run in study.choices(method, rule)
        if run is not None
    }
    chosen = {_trial_of(run) for run in study.full.select(Stage.TRIAL) if run.key in choices}
    others = sum(_trial_of(run) not in chosen for run in study.full.select(Stage.CONFIRMATION))
    if others:
        notes.append(
            f"{others} confirmation runs are of settings that no rule chooses among the compared trials; "
            "they are not used."
        )
    return notes


def _trial_of(run: StudyRun) -> tuple[str, int, int]:
    """Return what identifies the trial whose setting a run has."""
    return run.method, run.study, run.trial


def describe_diverged(study: Study, group: ComparisonGroup) -> str:
    """State how many confirmation runs of the chosen settings diverged, by method; empty if none did."""
    counts = {
        method: sum(
            run.diverged and run.rho == group.rho
            for _, choice in study.choices(method, group.rule)
            if choice is not None
            for run in study.confirmations(choice)
        )
        for method in study.methods
    }
    named = ", ".join(f"{method}: {n}" for method, n in counts.items() if n)
    if not named:
        return ""
    return (
        f"Confirmation runs that diverged: {named}. They have no metrics, so that their pairs are left out: "
        "the difference is about the runs that did not diverge."
    )
