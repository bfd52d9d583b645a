"""The tables of the report of a tuning study."""

from __future__ import annotations

from collections.abc import Sequence

from biascon.report.document import Cell, Table
from biascon.report.study_comparison import percent_cell, points_cell
from biascon.report.study_data import Study
from biascon.report.tables import UNDEFINED_CELL, TableCell
from biascon.studies.curves import TuningCurve, crossing_budget, separated_up_to
from biascon.studies.multiverse import SpecificationCurve
from biascon.studies.records import Stage, StudyRun
from biascon.utils.distributions import read_distribution

MAX_MESSAGE = 160  # letters of an error message


def seconds_cell(seconds: float | None) -> TableCell:
    """Return seconds as a cell."""
    return UNDEFINED_CELL if seconds is None else TableCell(f"{seconds:,.0f}", f"{seconds:.6g}")


def selection_matrix(study: Study) -> Table:
    """Return the test accuracy of the chosen trial of each method by rule, mean over searches."""
    rows: list[list[Cell]] = []
    for method in study.methods:
        row: list[Cell] = [study.label(method)]
        for rule in study.shown_rules:
            values = [
                run.test.get(study.headline)
                for _, run in study.choices(method, rule)
                if run is not None
            ]
            known = [value for value in values if value is not None]
            row.append(percent_cell(sum(known) / len(known) if known else None))
        rows.append(row)
    over = " (mean over searches)" if study.searches > 1 else ""
    header = ["method", *(rule.name for rule in study.shown_rules)]
    title = f"Test {study.accuracy} of the chosen trial by selection rule, in percent{over}"
    return Table(title, header, rows)


def rule_table(study: Study) -> Table:
    """Return what each rule maximizes, and whether it needs bias labels."""
    confirmed = {rule.name for rule in study.rules}
    rows = [
        [
            rule.name,
            rule.description,
            "yes" if rule.needs_bias else "no",
            "no selection rule: shown for comparison only"
            if rule.split == "test"
            else "yes"
            if rule.name in confirmed
            else "no",
        ]
        for rule in study.shown_rules
    ]
    header = ("rule", "maximizes", "needs bias labels of validation images", "confirmed")
    return Table("Selection rules", header, rows, in_words=True)


def selection_table(study: Study) -> Table:
    """Return the chosen trial of each method and rule with its scores."""
    several = study.searches > 1
    header = [
        "method",
        "rule",
        *(["search"] if several else []),
        "trial",
        "validation score",
        "trials with this score",
    ]
    metrics = ("unbiased", "worst_group", "bias_conflicting", "gap", "top1")
    header += ["unbiased", "worst group", "conflicting", "gap", "top-1", "confirmation runs"]
    rows: list[list[Cell]] = []
    for method in study.methods:
        for rule in study.shown_rules:
            name = f"{rule.name} (test images)" if rule.split == "test" else rule.name
            for search, run in study.choices(method, rule):
                row: list[Cell] = [study.label(method), name, *([str(search)] if several else [])]
                if run is None:
                    row.append(f"none: {study.why_no_choice(method, rule, search)}")
                    rows.append([*row, *[UNDEFINED_CELL] * (len(header) - len(row))])
                    continue
                ties = sum(
                    rule.score(t) == rule.score(run) for t in study.table.trials(method, search)
                )
                row += [str(run.trial), percent_cell(rule.score(run)), str(ties)]
                row += [percent_cell(run.test.get(metric)) for metric in metrics]
                rows.append([*row, str(len(study.confirmations(run)))])
    return Table("The chosen trials; metrics on the test images, in percent", header, rows)


def budget_table(study: Study) -> Table:
    """Return trials, divergences and seconds by method."""
    header = (
        "method", "trials", "compared", "diverged", "seconds of the search", "of these in first stages",
        "mean seconds of a trial", "confirmation runs", "of these diverged", "other runs",
    )  # fmt: skip
    rows: list[list[Cell]] = []
    for method in study.table.methods:
        trials = study.full.select(Stage.TRIAL, method)
        confirmation = study.full.select(Stage.CONFIRMATION, method)
        every = [run for run in study.full.runs if run.method == method]
        seconds = [run.total_seconds for run in trials if run.total_seconds is not None]
        first = [run.first_stage_seconds for run in trials if run.first_stage_seconds is not None]
        rows.append(
            [
                study.label(method),
                str(len(trials)),
                str(len(study.trials(method))),
                str(sum(run.diverged for run in trials)),
                seconds_cell(sum(seconds) if seconds else None),
                seconds_cell(sum(first) if first else None),
                seconds_cell(sum(seconds) / len(seconds) if seconds else None),
                str(len(confirmation)),
                str(sum(run.diverged for run in confirmation)),
                str(len(every) - len(trials) - len(confirmation)),
            ]
        )
    return Table("Runs and seconds of training by method", header, rows)


def diverged_table(study: Study) -> Table | None:
    """Return the runs that diverged, by name; None if there is none."""
    rows = [
        [
            study.label(run.method),
            run.stage.value,
            trial_number(study, run),
            str(run.seed),
            _short(run),
        ]
        for run in study.full.runs
        if run.diverged
    ]
    if not rows:
        return None
    trial = "search/trial" if study.searches > 1 else "trial"
    header = ("method", "stage", trial, "seed", "message")
    return Table("Runs that diverged", header, rows, in_words=True)


def trial_number(study: Study, run: StudyRun) -> str:
    """Return the number of a trial, after that of its search if there are several: ``1/7``."""
    return f"{run.study}/{run.trial}" if study.searches > 1 else str(run.trial)


def _short(run: StudyRun) -> str:
    text = " ".join(run.message.split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def space_table(study: Study) -> Table:
    """Return the distribution of each parameter, with the methods that have it."""
    methods = study.table.description["methods"]
    order = list(study.table.methods)
    users: dict[tuple[str, str], list[str]] = {}
    for method in order:
        for key, data in methods[method]["space"].items():
            users.setdefault((key, read_distribution(key, data).describe()), []).append(method)
    shared_first = sorted(users.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [
        [key, text, "all" if len(names) == len(order) else ", ".join(names)]
        for (key, text), names in shared_first
    ]
    return Table("Search spaces", ("parameter", "distribution", "methods"), rows, in_words=True)


def fixed_table(study: Study) -> Table | None:
    """Return the settings that all trials of a method have; None without any."""
    rows = [
        [method, str(data.get("loss", method)), " ".join(data.get("settings", ())) or "-"]
        for method, data in study.table.description["methods"].items()
    ]
    if all(settings == "-" and method == loss for method, loss, settings in rows):
        return None
    header = ("method", "loss", "settings of every trial")
    return Table("Losses and fixed settings", header, rows, in_words=True)


def curve_table(study: Study, curves: Sequence[TuningCurve]) -> Table:
    """Return the median best score with its band at a few budgets, and the comparison with the reference."""
    longest = max(len(curve.budgets) for curve in curves)
    budgets = sorted({n for n in (1, 3, 6, 12, 24, 48, longest) if n <= longest})
    reference = next((c for c in curves if c.method == study.reference), None)
    header = ["method", "trials", "diverged", "mean seconds"]
    header += [f"n = {n}" for n in budgets]
    header += ["expected best of all", "crossing budget", "bands separated"]
    rows: list[list[Cell]] = []
    for curve in curves:
        row: list[Cell] = [
            study.label(curve.method), str(curve.trials), str(curve.diverged), seconds_cell(curve.seconds)
        ]  # fmt: skip
        row += [_median_cell(curve, n) for n in budgets]
        row.append(percent_cell(curve.expected[-1]))
        if reference is None or curve is reference:
            rows.append([*row, UNDEFINED_CELL, UNDEFINED_CELL])
            continue
        row.append(describe_crossing(curve, reference))
        rows.append([*row, describe_separation(curve, reference)])
    title = (
        f"Best validation score of n trials, in percent: median, with its {100 * curves[0].level:.0f} % "
        "simultaneous band (a dash: no upper limit)"
    )
    return Table(title, header, rows)


def _median_cell(curve: TuningCurve, n: int) -> Cell:
    if n > len(curve.budgets):
        return UNDEFINED_CELL
    low, median, high = (100 * part[n - 1] for part in (curve.low, curve.median, curve.high))
    upper = f"{high:.1f}" if curve.high[n - 1] < 1 else "-"
    return TableCell(f"{median:.1f} [{low:.1f}, {upper}]", f"{median:.6g}")


def describe_crossing(curve: TuningCurve, reference: TuningCurve) -> str:
    """Return the last budget at which two expected curves change places."""
    n = crossing_budget(curve, reference)
    return "none" if n is None else f"n = {n}"


def describe_separation(curve: TuningCurve, reference: TuningCurve) -> str:
    """Return the largest budget up to which two bands are separated, and whose band is above."""
    above, below = separated_up_to(curve, reference), separated_up_to(reference, curve)
    if not above and not below:
        return "nowhere"
    upper = curve.method if above else reference.method
    return f"up to n = {max(above, below)} ({upper} above)"


def specification_table(study: Study, curves: Sequence[SpecificationCurve]) -> Table:
    """Return how many recipes each method has the higher test accuracy in."""
    header = ("method", "paired recipes", "left out", "higher in", "share, %", "95 %", "median difference",
              "smallest", "largest")  # fmt: skip
    rows: list[list[Cell]] = [
        [
            study.label(c.method),
            str(len(c.differences)),
            str(c.left_out),
            str(c.higher),
            percent_cell(c.higher / len(c.differences)),
            f"{100 * c.share_low:.0f} to {100 * c.share_high:.0f}",
            points_cell(c.median),
            points_cell(c.differences[0]),
            points_cell(c.differences[-1]),
        ]
        for c in curves
    ]
    title = f"Difference in test {study.accuracy} from {study.reference} over the paired recipes, in points"
    return Table(title, header, rows)
