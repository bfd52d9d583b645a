"""The figures of the confirmation and of the curves of a tuning study, with their captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from biascon.report.figures import Figure
from biascon.report.plots import study_curves, study_results
from biascon.report.plots.style import PAGE
from biascon.report.study_data import ComparisonGroup, Study
from biascon.report.study_scope import describe_trials, trial_counts, unshared_parameters
from biascon.report.study_tables import describe_crossing, describe_separation
from biascon.report.study_verdicts import describe_group
from biascon.studies.curves import TuningCurve, crossing_budget
from biascon.studies.multiverse import SpecificationCurve
from biascon.studies.selection import Rule
from biascon.utils.distributions import Complement, read_distribution

MAX_IN_CAPTION = 6  # methods whose crossings a caption names
MAX_SPECIFICATIONS = 6  # methods with a specification curve of their own
MAX_PANELS = 3  # color correlations beside each other


def trial_note(study: Study) -> str:
    """Return how many trials a figure is about, and on which datasets they were trained and scored."""
    description = study.table.description["dataset"]
    counts = sorted({len(study.trials(method)) for method in study.methods})
    n = (
        describe_trials(trial_counts(study))
        if counts[:1] == counts[-1:]
        else f"{counts[0]} to {counts[-1]} trials of a method"
    )
    rho = "" if description["rho"] is None else f", rho {description['rho']:g}"
    return (
        f"n = {n}, {len(study.methods)} methods; dataset {description['name']}{rho}; "
        f"training images: {description['train']}"
    )


def validation_note(study: Study) -> str:
    """Return what the validation images of a study are."""
    return f"validation images: {study.table.description['dataset']['val_protocol']}"


def test_note(study: Study) -> str:
    """Return what the test images of a study are."""
    return f"test images: {study.table.description['dataset']['test']}"


def confirmation_figures(study: Study) -> list[Figure]:
    """Return a figure of the comparisons of each rule, with a panel for each color correlation."""
    figures = []
    for rule in study.rules:
        groups = [g for g in study.shown_groups if g.rule is rule and g.comparisons]
        for start in range(0, len(groups), MAX_PANELS):
            part = groups[start : start + MAX_PANELS]
            panels = {
                "" if group.rho is None else f"confirmed at rho {group.rho:g}": group.comparisons
                for group in part
            }
            methods = list(dict.fromkeys(c.method for group in part for c in group.comparisons))
            pairs = ", ".join(sorted({str(c.n) for group in part for c in group.comparisons}))
            caption = (
                f"{describe_group(part[0])}: difference in {study.accuracy} from {study.reference} on the "
                "test images, both tuned with the same budget and trained anew with fresh seeds "
                f"(confirmation, n = {pairs} pairs). Thin lines: 95 % intervals that hold for another search "
                "too. Thick pale lines: 95 % intervals of the two chosen settings alone. Shaded: the margin "
                f"of equivalence, {100 * study.margin:.1f} points. Verdicts after Holm's adjustment. "
                f"{_other_rho_note(study, part)}{_capital(test_note(study))}."
            )
            if len(part) > 1:
                at = "" if study.trial_rho is None else f", trials at rho {study.trial_rho:g}"
                caption = caption.replace(describe_group(part[0]), f"Rule {rule.name}{at}", 1)
            figures.append(
                Figure(
                    f"study-confirmation-{rule.name}" + (f"-{start}" if start else ""),
                    caption,
                    study.source,
                    partial(study_results.draw_confirmation, panels, methods, study.margin),
                    (PAGE, 1.25 + 0.24 * len(methods)),
                )
            )
    return figures


def _other_rho_note(study: Study, groups: Sequence[ComparisonGroup]) -> str:
    """Return why some of the groups have only the interval of the chosen settings; empty if none has."""
    rhos = [f"{g.rho:g}" for g in groups if not g.has_verdict and g.rho is not None]
    if not rhos:
        return ""
    return (
        f"Confirmation at rho {', '.join(rhos)}: no verdict and only the interval of the two chosen "
        "settings, because the variance of the choice is known only at the rho of the trials. "
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def tuning_figures(study: Study, rule: Rule, curves: Sequence[TuningCurve]) -> list[Figure]:
    """Return the tuning curves of a rule in trials and in seconds."""
    reference = next((curve for curve in curves if curve.method == study.reference), None)
    others = [curve for curve in curves if curve is not reference]
    if not others:
        others, reference = list(curves), None
    caption = (
        f"Tuning curves, rule {rule.name}: {rule.description} that the best of n trials reaches. Solid: "
        f"median, with its exact simultaneous {100 * curves[0].level:.0f} % band for independent draws "
        "(quasi-random draws are spread more evenly, so that the band is wider than it has to be). The band "
        "is cut off at the edges of the plot. Dashed: expected best. "
    )
    compared = ""
    if reference is not None and len(others) <= MAX_IN_CAPTION:
        compared = " Against the reference: " + "; ".join(
            f"{curve.method}: crossing budget {describe_crossing(curve, reference)}, bands separated "
            f"{describe_separation(curve, reference)}"
            for curve in others
        )
    elif reference is not None:
        compared = " Crossing budgets and separated bands: in the table"
    notes = f"{trial_note(study)}; {validation_note(study)}."
    figures = [
        Figure(
            f"study-curves-{rule.name}-trials",
            f"{caption}Dotted line: the last budget at which the expected curves cross.{compared}. {notes}",
            study.source,
            partial(study_curves.draw_tuning_curves, others, reference, in_seconds=False),
            study_curves.grid_size(len(others)),
        )
    ]
    if all(curve.seconds is not None for curve in curves):
        figures.append(
            Figure(
                f"study-curves-{rule.name}-seconds",
                f"The tuning curves of rule {rule.name} against seconds: the budget is n times the mean "
                f"seconds of training of a trial of the method, first stages included. Lines and bands as "
                f"above. {_crossing_seconds(others, reference)}{notes}",
                study.source,
                partial(study_curves.draw_tuning_curves, others, reference, in_seconds=True),
                study_curves.grid_size(len(others)),
            )
        )
    return figures


def _crossing_seconds(others: Sequence[TuningCurve], reference: TuningCurve | None) -> str:
    """Return the seconds at the crossing budgets, which are not marked on an axis of seconds."""
    if reference is None:
        return ""
    crossings = [
        f"{curve.method} at n = {n}, {n * curve.seconds:,.0f} seconds of {curve.method} and "
        f"{n * reference.seconds:,.0f} of {reference.method}"
        for curve in others
        if (n := crossing_budget(curve, reference)) is not None
        and curve.seconds is not None
        and reference.seconds is not None
    ]
    note = (
        "Crossing budgets are not marked: they are numbers of trials, and the same number of trials takes "
        "different seconds for each method"
    )
    if not crossings or len(others) > MAX_IN_CAPTION:
        return f"{note}. "
    return f"{note} ({'; '.join(crossings)}). "


def best_so_far_figure(study: Study, rule: Rule) -> Figure | None:
    """Return the best score so far of an adaptive search; None without a defined score."""
    scores = {
        method: [math.nan if run.diverged else rule.score(run) for run in study.trials(method)]
        for method in study.methods
    }
    scores = {m: part for m, part in scores.items() if not all(map(math.isnan, part))}
    if not scores:
        return None
    return Figure(
        f"study-best-so-far-{rule.name}",
        f"{rule.description[:1].upper()}{rule.description[1:]} of each trial (dots) and of the best so far "
        f"(line), in the order of the adaptive search. {trial_note(study)}; {validation_note(study)}.",
        study.source,
        partial(study_curves.draw_best_so_far, scores),
        study_curves.grid_size(len(scores)),
    )


def specification_figures(study: Study, curves: Sequence[SpecificationCurve]) -> list[Figure]:
    """Return the specification curves: a figure each, or for many methods small ones beside each other."""
    if not curves:
        return []
    note = (
        f"{trial_note(study)}; {test_note(study)}. The trials describe the search space; nothing is chosen "
        "by them."
    )
    if len(curves) > MAX_SPECIFICATIONS:
        return [
            Figure(
                "study-specifications",
                f"Differences in test {study.accuracy} from {study.reference} over all paired recipes, "
                f"sorted, by method. {_pair_note(study, curves)} {note}",
                study.source,
                partial(study_curves.draw_sorted_differences, curves),
                study_curves.grid_size(len(curves)),
            )
        ]
    figures = []
    for k, curve in enumerate(curves):
        space = {
            key: distribution
            for key, data in study.table.description["methods"][curve.method]["space"].items()
            if not isinstance(distribution := read_distribution(key, data), Complement)
            and any(key in settings for settings in curve.settings)
        }
        figures.append(
            Figure(
                f"study-specification-{k}-{curve.method}",
                f"{curve.method} minus {curve.reference}: difference in test {study.accuracy} over "
                f"{len(curve.differences)} paired recipes, sorted; {curve.method} is higher in "
                f"{curve.higher}, the median (dashed) is {100 * curve.median:+.1f} points. Below: the "
                f"settings of each recipe that both methods have. {_pair_note(study, [curve])} {note}",
                study.source,
                partial(study_curves.draw_specification, curve, space),
                (PAGE, 2.0 + 0.42 * len(space)),
            )
        )
    return figures


def _pair_note(study: Study, curves: Sequence[SpecificationCurve]) -> str:
    """Return which settings are equal in every pair, and which shared parameters are not."""
    settings = [pair for curve in curves for pair in curve.settings]
    equal = [key for key in settings[0] if all(key in pair for pair in settings)]
    methods = {name for curve in curves for name in (curve.method, curve.reference)}
    spaces = study.table.description["methods"]
    differ = [
        key
        for key in unshared_parameters(study)
        if sum(key in spaces[name]["space"] for name in methods) > 1 and key not in equal
    ]
    shown = ", ".join(equal) or "none"
    return f"Equal in each pair: {shown}." + (
        f" Not shared, because the distributions differ: {', '.join(differ)}." if differ else ""
    )
