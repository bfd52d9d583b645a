"""The figures of all trials of a tuning study, and of the variance by source, with their captions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from biascon.metrics.names import METRIC_NAMES
from biascon.report.figures import Figure
from biascon.report.plots import study_curves, study_responses, study_results
from biascon.report.plots.style import PAGE
from biascon.report.study_data import Study
from biascon.report.study_figures import test_note, trial_note, validation_note
from biascon.studies.multiverse import Importance, Response, VarianceSource
from biascon.studies.selection import Rule

MAX_RESPONSES = 6  # parameters whose scores are drawn
MAX_RESPONSE_METHODS = 7
DISPARITY = "equalized_odds_difference"


def front_figure(
    study: Study,
    points: Mapping[str, Sequence[tuple[float, float]]],
    front: Sequence[tuple[float, float]],
    confirmed: Mapping[str, tuple[float, float]],
) -> Figure:
    """Return accuracy against disparity; the points are those of ``study_sections``."""
    names = (METRIC_NAMES[DISPARITY].name, study.accuracy)
    at = "" if study.trial_rho is None else f" at rho {study.trial_rho:g}"
    large = (
        f"Large markers: mean of the confirmation runs{at} of the setting that rule {study.rules[0].name} "
        "chooses."
        if confirmed
        else f"No large markers: the study has no confirmation{at}."
    )
    return Figure(
        "study-front",
        f"{names[1].capitalize()} against {names[0]} on the test images, a small marker for each trial; the "
        f"line is the Pareto front of the trials. {large} Trials describe what "
        "the search spaces reach; nothing is chosen by this figure. "
        f"{trial_note(study)}; {test_note(study)}.",
        study.source,
        partial(study_results.draw_front, points, front, confirmed, names),
        (PAGE, 3.4),
    )


def importance_figure(study: Study, rule: Rule, importances: Sequence[Importance]) -> Figure | None:
    """Return the importance of each parameter for each method; None below six trials of each method."""
    defined = [item for item in importances if not math.isnan(item.share)]
    if not defined:
        return None
    columns, cells = study_results.importance_columns(importances)
    rows = [method for method in study.methods if any(key[0] == method for key in cells)]
    return Figure(
        "study-importance",
        f"Leave-one-out R^2 of the {rule.description}, in percent: that of a quadratic in one parameter, or "
        "of the means of its values where they have no order. A value below 0 is shown as 0. "
        f"A dash: fewer than six trials. Trials that diverged are left out. {trial_note(study)}.",
        study.source,
        partial(study_results.draw_importance, rows, columns, cells),
        (PAGE, 1.2 + 0.24 * len(rows)),
    )


def response_figure(
    study: Study, rule: Rule, shown: Sequence[Response], importances: Sequence[Importance]
) -> Figure | None:
    """Return the scores against the parameters that explain most; None below six trials of each method.

    Args:
        study: The study.
        rule: The rule whose score is shown.
        shown: The scores of all methods against all parameters.
        importances: The importance of the same parameters.
    """
    shares: dict[str, float] = {}
    for item in importances:
        if not math.isnan(item.share):
            shares[item.parameter] = max(item.share, shares.get(item.parameter, -math.inf))
    parameters = sorted(shares, key=lambda key: -shares[key])[:MAX_RESPONSES]
    if not parameters:
        return None
    methods = list(dict.fromkeys([study.reference, *study.methods]))[:MAX_RESPONSE_METHODS]
    panels = {
        key: [r for method in methods for r in shown if (r.method, r.parameter) == (method, key)]
        for key in parameters
    }
    left_out = len(study.methods) - len(set(methods) & set(study.methods))
    note = f" {left_out} more methods are not shown." if left_out > 0 else ""
    return Figure(
        "study-responses",
        f"{rule.description.capitalize()} of each trial against one parameter; lines: least-squares "
        "quadratics, where the values have an order. The other searched parameters vary too. "
        f"The {len(parameters)} parameters that explain most for any "
        f"method are shown, the first one most.{note} {trial_note(study)}; {validation_note(study)}.",
        study.source,
        partial(study_responses.draw_responses, panels, methods),
        study_curves.grid_size(len(parameters)),
    )


def variance_figure(
    study: Study, sources: Mapping[str, Sequence[VarianceSource]], what: str
) -> Figure:
    """Return the standard deviation by source of randomness.

    Args:
        study: The study.
        sources: The sources by the name of their row.
        what: Which settings the runs are of, and the color correlation of their datasets.
    """
    counts = sorted({source.n for part in sources.values() for source in part})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return Figure(
        "study-variance",
        f"Standard deviation of the test {study.accuracy} when one source of randomness varies, with 95 % "
        f"intervals (chi-squared); {what}; n = {n} runs for each source. The first three include the effect "
        f"of rounding, which is measured with another number of CPU threads; {test_note(study)}.",
        study.source,
        partial(study_results.draw_variance, sources),
        (PAGE, 0.9 + (0.42 if len(sources) <= 10 else 0.34) * len(sources)),
    )
