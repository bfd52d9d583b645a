"""Run a study: search, selection, confirmation, split of the variance; resume where it ended.

The runs are ordinary runs in ordinary folders. The table of the study is written after every run. A run that
the table has is not made again, even if its folder is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from biascon.errors import RunError, UsageError
from biascon.studies.records import RunKey, Stage, StudyRun
from biascon.studies.selection import RULES, choose
from biascon.studies.table import StudyTable, read_table, search_digest, write_table
from biascon.sweep.grid import Job
from biascon.sweep.runner import Pool, Result, run_sweep
from biascon.tuning.collect import collect_run
from biascon.tuning.plan import PlannedRun, Planner
from biascon.utils.progress import describe_left

TABLE = "study.parquet"


@dataclass
class StudySession:
    """A study while it runs.

    Attributes:
        planner: What plans the runs.
        pool: The pool that runs them.
        other_pool: The pool of the runs with another number of CPU threads.
        path: The file of the table.
        log: Called with each line of progress.
        records: The runs so far, by their keys.
        failures: The number of runs that failed for another reason than divergence.
    """

    planner: Planner
    pool: Pool
    other_pool: Pool
    path: Path
    log: Callable[[str], None]
    description: Mapping[str, Any] = field(default_factory=dict)
    records: dict[RunKey, StudyRun] = field(default_factory=dict)
    failures: int = 0

    def run(self) -> StudyTable:
        """Run everything that is missing, and return the table.

        Raises:
            UsageError: The study cannot be run, or its folder has the table of another study.
            RunError: Runs failed. The table has the other ones.
        """
        planner = self.planner
        dataset = planner.trial_dataset()
        self.description = planner.describe(dataset)
        self._restore()
        trials = planner.plan_trials(dataset)
        self._check_repeated(trials)
        if self.records:
            write_table(self.path, self.table())
        methods = len(planner.methods)
        self.log(
            f"study {planner.spec.name}: {methods} methods, {planner.spec.trials} trials each, "
            f"{len(trials)} runs of the search"
        )
        self._run_trials(trials, methods)
        self._check_failures()
        confirm = planner.spec.confirm
        if confirm.seeds:
            choices = self.choices(confirm.rules)
            confirmation = [
                run for group in planner.plan_confirmation(choices, dataset) for run in group
            ]
            self._run_all(confirmation, self.pool, "confirmation")
            self._check_failures()
        if confirm.variance:
            variance = planner.plan_variance(self.choices(confirm.rules[:1]), dataset)
            other = [run for run in variance if run.record.stage is Stage.ROUNDING]
            same = [run for run in variance if run.record.stage is not Stage.ROUNDING]
            self._run_all(same, self.pool, "variance")
            self._run_all(other, self.other_pool, "rounding")
            self._check_failures()
        # The description may have changed although no run was missing.
        write_table(self.path, self.table())
        return self.table()

    def table(self) -> StudyTable:
        """Return the table of the runs so far."""
        return StudyTable(self.description, sorted(self.records.values(), key=_order))

    def choices(self, rules: Sequence[str]) -> list[StudyRun]:
        """Return the trials that the rules choose, each once.

        A method for which a rule chooses no trial is left out, and named in a line of progress.

        Raises:
            RunError: Fewer than two methods have a chosen trial.
        """
        table = self.table()
        chosen: dict[RunKey, StudyRun] = {}
        for study in range(self.planner.spec.studies):
            for method in self.planner.methods:
                trials = table.trials(method.name, study)
                for name in rules:
                    trial = choose(trials, RULES[name])
                    if trial is None:
                        reason = (
                            "every trial diverged"
                            if all(run.diverged for run in trials)
                            else "its score is undefined on the validation split"
                        )
                        self.log(f"rule '{name}' chooses no trial of '{method.name}': {reason}")
                    else:
                        chosen[trial.key] = trial
        if len({trial.method for trial in chosen.values()}) < 2:
            raise RunError(
                "fewer than two methods have a chosen trial, so that there is nothing to confirm; "
                f"{self.path} has all trials"
            )
        return list(chosen.values())

    def _restore(self) -> None:
        """Read the table of an earlier start of the same study."""
        if not self.path.exists():
            return
        table = read_table(self.path)
        if table.search_digest != search_digest(self.description):
            raise UsageError(
                f"{self.path} has another study: other methods, search spaces, seed, dataset, preset or "
                "recipe version; choose another --out"
            )
        self.records = {run.key: run for run in table.runs}

    def _check_repeated(self, planned: Sequence[PlannedRun]) -> None:
        """Refuse trials that the table has from another kind of run, such as another number of threads."""
        known = {
            (run.method, run.study, run.trial): run
            for run in self.records.values()
            if run.stage is Stage.TRIAL
        }
        for run in planned:
            other = known.get((run.record.method, run.record.study, run.record.trial))
            if other is not None and other.run != run.record.run:
                raise UsageError(
                    f"{self.path} has another run for trial {other.trial} of '{other.method}' (made with "
                    f"{other.threads} threads on {other.device or 'an unknown device'}); pass the same "
                    "--threads and --device, or choose another --out"
                )

    def _run_trials(self, trials: Sequence[PlannedRun], methods: int) -> None:
        """Run the trials: with a budget in seconds round by round, else all together."""
        budget = self.planner.spec.budget_seconds
        if budget is None:
            self._run_all(trials, self.pool, "search")
            return
        for start in range(0, len(trials), methods):
            spent = self._spent(trials[:start])
            round_ = [
                run
                for run in trials[start : start + methods]
                if spent.get((run.record.method, run.record.study), 0.0) < budget
            ]
            self._run_all(round_, self.pool, "search")

    def _spent(self, planned: Iterable[PlannedRun]) -> dict[tuple[str, int], float]:
        """Return the seconds of training that each method used in each search."""
        spent: dict[tuple[str, int], float] = {}
        for run in planned:
            record = self.records.get(run.record.key)
            if record is not None:
                key = record.method, record.study
                spent[key] = spent.get(key, 0.0) + (record.total_seconds or 0.0)
        return spent

    def _run_all(self, planned: Sequence[PlannedRun], pool: Pool, what: str) -> None:
        """Run what the table does not have; write the table after each run."""
        missing: dict[Path, list[PlannedRun]] = {}
        for run in planned:
            if run.record.key not in self.records:
                missing.setdefault(run.job.folder, []).append(run)
        total, done = len(planned), len(planned) - sum(map(len, missing.values()))
        if done:
            self.log(f"{what}: {done} of {total} runs are in the table")

        started, trained, remaining = time.monotonic(), 0, len(missing)

        def on_result(result: Result) -> None:
            nonlocal done, trained, remaining
            trained, remaining = trained + (result.state != "skipped"), remaining - 1
            left = describe_left(time.monotonic() - started, trained, remaining)
            for run in missing[result.job.folder]:
                done += 1
                added = self._add(run, result)
                self.log(f"{what} [{done}/{total}] {_describe(run.record, added)}{left}")
            write_table(self.path, self.table())

        jobs: list[Job] = [runs[0].job for runs in missing.values()]
        run_sweep(jobs, pool, on_result)
        if not self.path.exists():
            write_table(self.path, self.table())

    def _add(self, run: PlannedRun, result: Result) -> Result:
        """Add the record of a finished run, or of one that diverged; count any other failure.

        Returns:
            The result; it is a failure if the folder of the run cannot be read.
        """
        if result.is_diverged:
            # Its folder has no evaluation: the time is that of its process.
            seconds = round(result.seconds, 3)
            self.records[run.record.key] = replace(
                run.record,
                diverged=True,
                message=result.message,
                seconds=seconds,
                first_stage_seconds=0.0,
            )
            return result
        if result.state != "failed":
            try:
                record = collect_run(run.record, run.job.folder, self.planner.root)
                if record is None:
                    raise RunError(f"{run.job.folder} is not finished")
                self.records[record.key] = record
                return result
            except RunError as error:
                result = replace(result, state="failed", message=str(error))
        self.failures += 1
        return result

    def _check_failures(self) -> None:
        if self.failures:
            raise RunError(
                f"{self.failures} runs failed; {self.path} has the others, and the same command tries again"
            )


def _describe(record: StudyRun, result: Result) -> str:
    """Return a line about a result: method, trial, dataset, seed, state, seconds, error message."""
    message = f": {result.message}" if result.message else ""
    state = "diverged" if result.is_diverged else result.state
    return (
        f"{record.method}, trial {record.trial}, {record.dataset} seed {record.seed}: {state}, "
        f"{result.seconds:.0f} s{message}"
    )


def _order(run: StudyRun) -> tuple[object, ...]:
    stages = list(Stage)
    return (
        stages.index(run.stage),
        run.rho or 0.0,
        run.study,
        run.pair,
        run.method,
        run.trial,
        run.run,
    )
