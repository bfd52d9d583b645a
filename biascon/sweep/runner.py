"""Run the jobs of a sweep: skip finished runs, retry failed runs, and report each result.

Each run is a process of its own, ``python -m biascon evaluate`` with one loss and one seed. A run that is
killed does not stop the others, and its next process resumes from its last epoch. A pool decides where the
processes run: on this machine (``biascon.sweep.local_pool``) or on a Ray cluster
(``biascon.sweep.ray_pool``).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from biascon.errors import (
    BiasconError,
    DivergedError,
    OutOfMemoryError,
    RunBusyError,
    UsageError,
)
from biascon.runs.environment import describe_other_processor
from biascon.runs.folder import ENVIRONMENT, read_finished
from biascon.runs.seals import Check
from biascon.sweep.grid import Job
from biascon.utils.files import read_json
from biascon.utils.interruption import CHILDREN
from biascon.utils.parent import VARIABLE as PARENT_VARIABLE

TRIES = 3
SHELL_SIGNAL = 128  # a process that a signal ended has this exit code plus the number of the signal
CTRL_C = SHELL_SIGNAL + signal.SIGINT
NOT_RETRIED = (
    UsageError.exit_code,
    OutOfMemoryError.exit_code,
    DivergedError.exit_code,
    CTRL_C,
)
INTERRUPTED = "interrupted"
SIGNAL_DELAY = 0.5  # seconds in which a signal to a group of processes reaches all of them
BUSY_INTERVAL = 2.0  # seconds between two attempts on a run that another process works on
BUSY_TIMEOUT = 86_400.0  # seconds after which such an attempt counts as a failure

State = Literal["skipped", "done", "failed"]


@dataclass(frozen=True)
class Result:
    """The result of a job.

    Attributes:
        job: The job.
        state: ``"skipped"`` if the run was already finished, else ``"done"`` or ``"failed"``.
        tries: The number of processes that the run took.
        seconds: The time from the start of the first process to the end of the last one.
        message: The error message of a failed run; the processor of a skipped run, if it is another one.
        exit_code: The exit code of the last process; None if no process ran.
    """

    job: Job
    state: State
    tries: int = 0
    seconds: float = 0.0
    message: str = ""
    exit_code: int | None = None

    @property
    def is_diverged(self) -> bool:
        """Whether the training of the run diverged."""
        return self.exit_code == DivergedError.exit_code


class Pool(Protocol):
    """The place where the processes of a sweep run."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Run all jobs, several at a time; yield each result when its run ends."""


def run_sweep(
    jobs: Sequence[Job], pool: Pool, on_result: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """Run the jobs that are not finished, and return all results in the order of the jobs.

    A damaged run folder is never overwritten: its job fails with the error of the folder.

    Args:
        jobs: The jobs.
        pool: The pool that runs them.
        on_result: Called with each result when it is known.
    """
    results: dict[Path, Result] = {}
    unfinished = []
    for job in jobs:
        try:
            is_finished = read_finished(job.folder, check=Check.REPORT) is not None
        except BiasconError as error:
            result = Result(job, "failed", message=str(error))
        else:
            if not is_finished:
                unfinished.append(job)
                continue
            other = describe_other_processor(read_json(job.folder / ENVIRONMENT))
            message = "" if other is None else f"computed on another processor ({other})"
            result = Result(job, "skipped", message=message)
        results[job.folder] = result
        on_result(result)
    for result in pool.run(unfinished):
        results[result.job.folder] = result
        on_result(result)
    return [results[job.folder] for job in jobs]


def run_with_retries(job: Job, root: Path, threads: int, device: str, tries: int = TRIES) -> Result:
    """Run a job in a process of its own. If the process fails, start it again, up to ``tries`` times.

    Wrong usage, a lack of memory and a training that diverged are not retried, because they would occur
    again. A run that was interrupted is not retried either: somebody wanted it to end. If another process
    works on the run folder, the function waits and starts the process again; such attempts do not count. This
    happens if two jobs train the same network for two views of a dataset.

    Args:
        job: The job.
        root: The folder of runs.
        threads: CPU threads of the process.
        device: The value of the option ``--device``.
        tries: The maximum number of processes.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        # A sweep that is killed would otherwise leave its runs behind.
        PARENT_VARIABLE: str(os.getpid()),
    }
    started, message, count = time.monotonic(), "", 0
    while count < tries:
        count += 1
        process = CHILDREN.run(job.command(root, device), environment)
        seconds = time.monotonic() - started
        if process is None:
            return Result(job, "failed", count - 1, seconds, INTERRUPTED)
        exit_code = process.returncode
        if exit_code == 0:
            return Result(job, "done", count, seconds, exit_code=exit_code)
        message = _error_message(exit_code, process.stderr)
        # A signal to a group of processes may reach the run before this process.
        was_signal = exit_code < 0 or exit_code > SHELL_SIGNAL
        if exit_code in NOT_RETRIED or CHILDREN.is_stopping(SIGNAL_DELAY if was_signal else 0.0):
            break
        if exit_code == RunBusyError.exit_code and seconds < BUSY_TIMEOUT:
            count -= 1
            if CHILDREN.is_stopping(BUSY_INTERVAL):
                break
    return Result(job, "failed", count, seconds, message, exit_code)


def _error_message(exit_code: int, stderr: str) -> str:
    """Return why a process failed: the signal that killed it, or its last line on standard error."""
    if exit_code < 0:
        return f"killed by signal {-exit_code}"
    lines = stderr.strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"exit code {exit_code}"
