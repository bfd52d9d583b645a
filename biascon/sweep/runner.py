"""A grid of runs: planned whole, what is done skipped, what died tried again, several at a time.

Each run is a process of its own, ``python -m biascon evaluate`` with one loss and one seed: a run that dies
takes nothing with it and goes on from its last epoch when it is tried again. Where they run is a pool's
business: processes of this machine here, a Ray cluster in ``biascon.sweep.ray_pool``.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from biascon.errors import BiasconError
from biascon.runs.folder import LOCKED_MESSAGE, read_finished
from biascon.sweep.grid import Job

TRIES = 3
PAUSE, PATIENCE = 2.0, 86_400.0  # seconds: between looks at a folder that is held, and in all


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        job: The run.
        state: ``"there"`` before, ``"done"`` now, or ``"failed"``.
        tries: How many processes it took.
        seconds: Of them all.
        told: The last line of a failed run.
    """

    job: Job
    state: str
    tries: int = 0
    seconds: float = 0.0
    message: str = ""


class Pool(Protocol):
    """Where the processes of a sweep run."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Run all jobs, some at a time; yield each as it ends."""


def sweep(
    jobs: Sequence[Job], pool: Pool, say: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """Run what is not done yet, and return how each run ended, in the order of the jobs.

    A run that is damaged is not computed over: it counts as failed, with what is wrong.
    """
    results: dict[Path, Result] = {}
    waiting = []
    for job in jobs:
        try:
            there = read_finished(job.folder) is not None
        except BiasconError as error:
            results[job.folder] = Result(job, "failed", message=str(error))
        else:
            if not there:
                waiting.append(job)
                continue
            results[job.folder] = Result(job, "there")
        say(results[job.folder])
    for result in pool.run(waiting):
        results[result.job.folder] = result
        say(result)
    return [results[job.folder] for job in jobs]


@dataclass(frozen=True)
class LocalPool:
    """Processes of this machine.

    Attributes:
        root: The folder of runs.
        workers: How many at a time.
        threads: CPU threads of each.
        device: As ``--device``.
    """

    root: Path
    workers: int
    threads: int
    device: str

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Run all jobs, ``workers`` at a time."""
        # What stages share is waited for by a lock: the same first network is not trained twice.
        with ThreadPoolExecutor(self.workers) as threads:
            pending: set[Future[Result]] = {
                threads.submit(run_with_retries, job, self.root, self.threads, self.device)
                for job in jobs
            }
            try:
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            finally:
                for future in pending:
                    future.cancel()


def run_with_retries(job: Job, root: Path, threads: int, device: str, tries: int = TRIES) -> Result:
    """Run a job in a process of its own; one that dies is started again and goes on from its last epoch.

    Wrong usage (exit code 2) is not tried again: it would end the same. A run whose folder another process
    holds, such as one that trains this network for another view of the dataset, is waited for.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started, told, count = time.monotonic(), "", 0
    while count < tries:
        count += 1
        done = subprocess.run(
            job.command(root, device), check=False, env=environment, capture_output=True, text=True
        )
        seconds = time.monotonic() - started
        if done.returncode == 0:
            return Result(job, "done", count, seconds)
        lines = done.stderr.strip().splitlines()
        told = lines[-1].removeprefix("error: ") if lines else f"exit code {done.returncode}"
        if done.returncode < 0:
            told = f"killed by signal {-done.returncode}"
        if done.returncode == 2:
            break
        if done.returncode == 1 and told.startswith(LOCKED_MESSAGE) and seconds < PATIENCE:
            time.sleep(PAUSE)
            count -= 1
    return Result(job, "failed", count, seconds, told)
