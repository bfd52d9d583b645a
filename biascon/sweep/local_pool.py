"""A sweep on this machine: several processes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from biascon.sweep.grid import Job
from biascon.sweep.runner import Result, run_with_retries
from biascon.utils.interruption import CHILDREN


@dataclass(frozen=True)
class LocalPool:
    """A pool of processes on this machine.

    Attributes:
        root: The folder of runs.
        slots: The value of the option ``--device`` of each run that runs at a time: a device is listed as
            often as runs share it. A run takes the first free slot.
        threads: CPU threads of each run.
    """

    root: Path
    slots: Sequence[str]
    threads: int

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Run all jobs, as many at a time as there are slots."""
        free: SimpleQueue[str] = SimpleQueue()
        for slot in self.slots:
            free.put(slot)

        def run_in_free_slot(job: Job) -> Result:
            device = free.get()
            try:
                return run_with_retries(job, self.root, self.threads, device)
            finally:
                free.put(device)

        # Jobs that share a first-stage network wait for its lock, so that it is trained once.
        try:
            with ThreadPoolExecutor(len(self.slots)) as executor:
                pending: set[Future[Result]] = set()
                try:
                    pending |= {executor.submit(run_in_free_slot, job) for job in jobs}
                    while pending:
                        done, pending = wait(pending, return_when=FIRST_COMPLETED)
                        for future in done:
                            yield future.result()
                except BaseException:  # also a signal, and a caller that takes no further results
                    for future in pending:
                        future.cancel()
                    CHILDREN.stop()
                    raise
        finally:
            CHILDREN.allow()
