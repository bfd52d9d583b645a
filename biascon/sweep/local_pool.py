"""A sweep on this machine: several processes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from biascon.sweep.grid import Job
from biascon.sweep.runner import Result, run_with_retries


@dataclass(frozen=True)
class LocalPool:
    """A pool of processes on this machine.

    Attributes:
        root: The folder of runs.
        workers: The number of runs at a time.
        threads: CPU threads of each run.
        device: The value of the option ``--device``.
    """

    root: Path
    workers: int
    threads: int
    device: str

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Run all jobs, ``workers`` at a time."""
        # Jobs that share a first-stage network wait for its lock, so that it is trained once.
        with ThreadPoolExecutor(self.workers) as executor:
            pending: set[Future[Result]] = {
                executor.submit(run_with_retries, job, self.root, self.threads, self.device)
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
