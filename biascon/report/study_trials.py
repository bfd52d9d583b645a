"""The sections of a study's report about all trials: disparity, importance, and the variance by source."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from biascon.metrics.names import METRIC_NAMES
from biascon.report import study_trial_figures
from biascon.report.document import Block, Cell, Picture, Table, Text
from biascon.report.study_comparison import percent_cell
from biascon.report.study_data import Study
from biascon.report.study_tables import trial_number
from biascon.report.study_trial_figures import DISPARITY
from biascon.studies.multiverse import (
    Response,
    VarianceSource,
    importances,
    pareto_front,
    responses,
    variance_sources,
)
from biascon.studies.records import VARIANCE_STAGES, Stage, StudyRun
from biascon.studies.selection import RULES, Rule

FEW_TRIALS = 24  # trials below which the draws of two parameters may be correlated by chance


def front_section(study: Study) -> list[Block]:
    """Return accuracy against disparity of all trials, with their Pareto front."""
    rows: list[tuple[float, float, StudyRun]] = []
    for method in study.methods:
        for run in study.trials(method):
            disparity, accuracy = run.test.get(DISPARITY), run.test.get(study.headline)
            if disparity is not None and accuracy is not None:
                rows.append((disparity, accuracy, run))
    if not rows:
        return [Text("The disparity is undefined in every trial.")]
    front = [rows[i] for i in pareto_front([row[1] for row in rows], [row[0] for row in rows])]
    points = {
        method: [(x, y) for x, y, run in rows if run.method == method] for method in study.methods
    }
    points = {method: part for method, part in points.items() if part}
    confirmed = _confirmed_points(study)
    figure = study_trial_figures.front_figure(study, points, [row[:2] for row in front], confirmed)
    table: list[list[Cell]] = [
        [
            study.label(run.method), trial_number(study, run),
            percent_cell(accuracy), percent_cell(disparity),
            percent_cell(run.test.get("gap")), percent_cell(run.test.get("worst_group")),
        ]
        for disparity, accuracy, run in front
    ]  # fmt: skip
    name = METRIC_NAMES[DISPARITY].name
    trial = "search/trial" if study.searches > 1 else "trial"
    header = ("method", trial, study.accuracy, name, "gap", "worst group")
    title = "The Pareto front of all trials on the test images, in percent"
    return [Table(title, header, table), Picture(figure)]


def _confirmed_points(study: Study) -> dict[str, tuple[float, float]]:
    """Return the mean disparity and accuracy of the confirmation of the first rule, by method.

    Only the confirmation at the color correlation of the trials is shown beside them.
    """
    points = {}
    for method in study.methods:
        for rule in study.rules[:1]:
            pairs = [
                (run.test[DISPARITY], run.test[study.headline])
                for _, choice in study.choices(method, rule)
                if choice is not None
                for run in study.confirmations(choice)
                if run.rho == study.trial_rho
                and run.test.get(DISPARITY) is not None
                and run.test.get(study.headline) is not None
            ]
            if pairs:
                x, y = zip(*pairs, strict=True)
                points[method] = (sum(x) / len(x), sum(y) / len(y))
    return points


def importance_section(study: Study) -> list[Block]:
    """Return how much of the variance of the score each parameter explains."""
    rule: Rule = (study.rules or [RULES["unbiased"]])[0]
    items = [item for method in study.methods for item in importances(study.table, method, rule)]
    scores = [item for method in study.methods for item in responses(study.table, method, rule)]
    figure = study_trial_figures.importance_figure(study, rule, items)
    response_figure = study_trial_figures.response_figure(study, rule, scores, items)
    if figure is None:
        return [Text("The importance needs six trials of a method that did not diverge.")]
    rows: list[list[Cell]] = [
        [study.label(i.method), i.parameter, percent_cell(i.share), str(i.best), str(i.n)]
        for i in items
    ]
    header = ("method", "parameter", "leave-one-out R^2, %", "value in the best trial", "trials")
    title = f"Leave-one-out R^2 of the {rule.description} by parameter"
    note = (
        "The leave-one-out R^2 is that of a quadratic in one parameter, or of the means of its values where "
        "they have no order. It is below 0 where the parameter predicts less than the mean does. "
        "Interactions of parameters are not part of it, and the values of a method need not add to 100 %."
    )
    pictures = [Picture(picture) for picture in (figure, response_figure) if picture is not None]
    return [Text(note), *pictures, Table(title, header, rows), *_correlation_blocks(study, scores)]


def _correlation_blocks(study: Study, scores: Sequence[Response]) -> list[Block]:
    """Return the largest correlation between two parameters of each method that has few trials."""
    rows: list[list[Cell]] = []
    for method in study.methods:
        own = [r for r in scores if r.method == method and not r.is_category and np.ptp(r.x) > 0]
        found = [
            (abs(float(np.corrcoef(a.regressor, b.regressor)[0, 1])), a, b)
            for a, b in itertools.combinations(own, 2)
            if len(a.x) < FEW_TRIALS
        ]
        if found:
            size, a, b = max(found, key=lambda item: item[0])
            names = f"{a.parameter} and {b.parameter}"
            rows.append([study.label(method), f"{size:.2f}", names, str(len(a.x))])
    if not rows:
        return []
    note = (
        f"Quasi-random draws of fewer than {FEW_TRIALS} trials can be correlated between parameters: a "
        "part of the R^2 of one parameter may be the effect of another one. Parameters whose values have no "
        "order are left out of the table."
    )
    header = ("method", "largest |correlation|", "of", "trials")
    return [Text(note), Table("Correlation between the draws of two parameters", header, rows)]


def variance_section(study: Study) -> list[Block]:
    """Return the standard deviation by source of randomness of each chosen setting that has such runs."""
    found: dict[str, list[VarianceSource]] = {}
    rhos: set[float | None] = set()
    for method in study.methods:
        for rule in study.rules[:1]:
            for search, choice in study.choices(method, rule):
                runs = [] if choice is None else _variance_runs(study, choice)
                if choice is None or not runs:
                    continue
                label = study.label(method)
                name = f"{label}, search {search}" if study.searches > 1 else label
                found[name] = variance_sources(study.table, [choice], study.headline)
                rhos |= {run.rho for run in runs}
    if not any(found.values()):
        return [Text("The study has no runs that vary one source of randomness.")]
    names = {
        Stage.CONFIRMATION: "all together", Stage.SEEDS: "training seed", Stage.DATASETS: "dataset seed",
        Stage.ROUNDING: "rounding (CPU threads)",
    }  # fmt: skip
    rows: list[list[Cell]] = [
        [
            name, names[s.stage], str(s.n), f"{100 * s.sd:.2f}",
            f"{100 * s.low:.2f} to {100 * s.high:.2f}",
        ]
        for name, sources in found.items()
        for s in sources
    ]  # fmt: skip
    header = ("method", "source", "n", "standard deviation", "95 %")
    known = sorted(rho for rho in rhos if rho is not None)
    at = f", runs at rho {', '.join(f'{rho:g}' for rho in known)}" if known else ""
    what = f"the setting that rule {study.rules[0].name} chooses{at}"
    title = f"Standard deviation of the test {study.accuracy} by source, in points; {what}"
    return [
        Table(title, header, rows),
        Picture(study_trial_figures.variance_figure(study, found, what)),
    ]


def _variance_runs(study: Study, choice: StudyRun) -> list[StudyRun]:
    """Return the runs that vary one source of randomness of a chosen trial."""
    return [
        run
        for stage in VARIANCE_STAGES
        for run in study.table.select(stage, choice.method)
        if (run.study, run.trial) == (choice.study, choice.trial)
    ]
