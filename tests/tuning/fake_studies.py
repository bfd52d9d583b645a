"""Studies without training: a pool that starts no process, and made-up metrics of its runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from biascon.errors import DivergedError
from biascon.studies.records import TEST_METRICS, VAL_METRICS, CellCounts, StudyRun
from biascon.sweep.grid import Job
from biascon.sweep.runner import Result
from biascon.tuning.plan import Planner, resolve_methods
from biascon.tuning.run import TABLE, StudySession
from biascon.tuning.study import StudySpec, parse_study


def make_spec(data: Path | None, **changes: Any) -> StudySpec:
    """Return a study of two methods with two trials each and no confirmation, with some keys changed."""
    tree = {
        "name": "small", "losses": ["ce", "supcon"], "data": None if data is None else str(data),
        "preset": "smoke", "trials": 2, "confirm": {"seeds": 0}, **changes,
    }  # fmt: skip
    return parse_study({key: value for key, value in tree.items() if value is not None})


def make_planner(spec: StudySpec, folder: Path) -> Planner:
    methods = resolve_methods(spec)
    return Planner(spec, methods, folder / "runs", folder / "data", "cpu", 1, lambda line: None)


class FakePool:
    """A pool that ends every run at once, without a process.

    Attributes:
        seconds: The seconds of each run.
        diverged: Names of losses whose runs diverge.
        stop_after: The number of runs after which the machine stops; None for never.
        jobs: The runs that were started, in order.
    """

    def __init__(
        self, diverged: Sequence[str] = (), seconds: float = 10.0, stop_after: int | None = None
    ) -> None:
        self.diverged, self.seconds, self.stop_after = diverged, seconds, stop_after
        self.jobs: list[Job] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        for job in jobs:
            if self.stop_after is not None and len(self.jobs) >= self.stop_after:
                raise KeyboardInterrupt
            self.jobs.append(job)
            if job.config.loss in self.diverged:
                code = DivergedError.exit_code
                yield Result(job, "failed", 1, self.seconds, "the loss is not finite", code)
            else:
                yield Result(job, "done", 1, self.seconds, exit_code=0)


def collect_made_up(planned: StudyRun, folder: Path, root: Path) -> StudyRun:
    """Return the record of a run with metrics that depend on the method and the setting only."""
    text = f"{planned.method}/{sorted(planned.settings.items())}"
    score = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
    return replace(
        planned,
        seconds=10.0,
        first_stage_seconds=5.0 if planned.method == "jtt" else 0.0,
        device="cpu AVX2",
        val={**dict.fromkeys(VAL_METRICS, score), "bias_aligned": None},
        test={**dict.fromkeys(TEST_METRICS, score - 0.01), "ece": None},
        val_cells=CellCounts([[3, 0], [1, 2]], [[4, 1], [1, 4]]),
        test_cells=CellCounts([[5, 0], [1, 2]], [[5, 0], [2, 2]]),
        evaluated_by="linear_probe",
    )


def make_session(
    spec: StudySpec, folder: Path, pool: FakePool, lines: list[str] | None = None
) -> StudySession:
    """Return a session whose planner and pools are in a folder."""
    log = (lambda line: None) if lines is None else lines.append
    return StudySession(make_planner(spec, folder), pool, pool, folder / TABLE, log)
