"""Tables of a sweep: the planned runs, and the results with their headline accuracies."""

from __future__ import annotations

from collections.abc import Sequence

from biascon.errors import RunError
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import read_finished
from biascon.runs.seals import Check
from biascon.sweep.grid import Job
from biascon.sweep.runner import Result

PLAN_HEADER = ("run", "state", "folder")
RESULT_HEADER = ("run", "state", "accuracy, %", "folder")


def plan_rows(jobs: Sequence[Job]) -> list[list[str]]:
    """Return a row of ``PLAN_HEADER`` for each job; the state of an unfinished run is ``-``.

    Raises:
        RunError: A run folder is damaged.
    """
    return [
        [
            job.name,
            "done" if read_finished(job.folder, check=Check.REPORT) else "-",
            str(job.folder),
        ]
        for job in jobs
    ]


def result_rows(results: Sequence[Result]) -> list[list[str]]:
    """Return a row of ``RESULT_HEADER`` for each result.

    The accuracy is unbiased accuracy, or top-1 accuracy for a dataset without a bias attribute. It is ``-``
    for a failed run.

    Raises:
        RunError: The run folder of a finished run is damaged.
    """
    return [
        [result.job.name, result.state, _headline(result), str(result.job.folder)]
        for result in results
    ]


def check_results(results: Sequence[Result]) -> None:
    """Raise an error if a run failed.

    Raises:
        RunError: At least one run failed.
    """
    failed = sum(result.state == "failed" for result in results)
    if failed:
        raise RunError(f"{failed} of {len(results)} runs failed; the same command tries them again")


def describe_result(result: Result) -> str:
    """Return a line about a result: name, state, seconds, number of tries, error message."""
    seconds = f", {result.seconds:.0f} s" if result.tries else ""
    tries = f", {result.tries} tries" if result.tries > 1 else ""
    message = f": {result.message}" if result.message else ""
    return f"{result.job.name}: {result.state}{seconds}{tries}{message}"


def _headline(result: Result) -> str:
    run = FinishedRun.read(result.job.folder) if result.state != "failed" else None
    metric = None if run is None else run.evaluation.metric(run.evaluation.headline)
    return "-" if metric is None or metric.value is None else f"{100 * metric.value:.1f}"
