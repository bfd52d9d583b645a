"""Which runs of the table of a study enter a report: the stated ones, of the trials those of all methods."""

from __future__ import annotations

from dataclasses import replace

from biascon.studies.records import VARIANCE_STAGES, Stage, StudyRun
from biascon.studies.resplits import confirmation_of_study
from biascon.studies.table import StudyTable


def stated_runs(table: StudyTable) -> StudyTable:
    """Return the table without the runs beyond the trials, searches and pairs that the study states.

    A table may have such runs if the study was made with a larger budget before. Confirmation runs on other
    datasets than the study states are left out too: see ``other_confirmation_runs``.
    """
    others = set(map(id, other_confirmation_runs(table)))
    runs = [run for run in _within_limits(table) if id(run) not in others]
    return replace(table, runs=runs) if len(runs) < len(table.runs) else table


def other_confirmation_runs(table: StudyTable) -> list[StudyRun]:
    """Return the confirmation runs of stated pairs that do not count.

    They are on other datasets than the study states, or they contradict another run of their pair. A table
    has such runs if ``confirm.data`` was changed after the confirmation.
    """
    counted = set(map(id, confirmation_of_study(table)))
    return [
        run
        for run in _within_limits(table)
        if run.stage is Stage.CONFIRMATION and id(run) not in counted
    ]


def _within_limits(table: StudyTable) -> list[StudyRun]:
    """Return the runs of the trials, searches and pairs that the study states."""
    description = table.description
    confirm = description["confirm"]
    limits = {
        Stage.TRIAL: description["trials"],
        Stage.CONFIRMATION: confirm["seeds"],
        **dict.fromkeys(VARIANCE_STAGES, confirm.get("variance", 0)),
    }
    return [
        run
        for run in table.runs
        if run.study < description["studies"]
        and (run.trial if run.stage is Stage.TRIAL else run.pair) < limits[run.stage]
    ]


def compared_trials(table: StudyTable) -> StudyTable:
    """Return the table with only those trials whose number all methods have: a search cut off is comparable.

    A method without any trial does not count. With a budget in seconds every trial stays: the methods then
    have as many trials as the budget pays for.
    """
    if table.description.get("budget_seconds") is not None:
        return table
    numbers = [
        {(run.study, run.trial) for run in trials}
        for method in table.methods
        if (trials := table.select(Stage.TRIAL, method))
    ]
    common = set.intersection(*numbers) if numbers else set()
    runs = [
        run
        for run in table.runs
        if run.stage is not Stage.TRIAL or (run.study, run.trial) in common
    ]
    return replace(table, runs=runs)
