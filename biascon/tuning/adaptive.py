"""Adaptive search: optuna's TPE proposes the trials of each method, for users who look for a recipe.

The trials of a method depend on each other, and those of two methods are not paired. The search therefore
has no confirmation, no bands and no verdict. Proposals are made in rounds of ``ROUND`` trials, whatever the
number of workers, so that the same command has the same trials wherever the runs have the same results. A
search that is started again makes the proposals again, and takes the results of finished trials from the
table.
"""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from biascon.errors import MissingPackageError, RunError
from biascon.studies.records import StudyRun
from biascon.studies.selection import RULES, Rule, choose
from biascon.studies.table import StudyTable
from biascon.tuning.checks import check_method, check_runs
from biascon.tuning.datasets import StudyDataset
from biascon.tuning.draws import MAX_TRIALS
from biascon.tuning.plan import PlannedRun, Planner
from biascon.tuning.run import StudySession
from biascon.tuning.space import Method, complete
from biascon.tuning.study import ADAPTIVE
from biascon.utils.distributions import Choice, Complement, Distribution, Drawn
from biascon.utils.seeds import derive_seed

ROUND = 4  # trials of a method that are proposed together


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a method in one search.

    Attributes:
        method: The name of the method.
        study: The number of the search.
        rule: The rule that decides.
        record: The record of the trial, None if every trial diverged.
        command: The command line that evaluates the setting.
    """

    method: str
    study: int
    rule: Rule
    record: StudyRun | None = None
    command: str = ""

    def describe(self) -> str:
        """Return a line with the trial and its score, and a line with the command."""
        if self.record is None:
            return f"{self.method}, search {self.study}: every trial diverged"
        score = 100 * self.rule.score(self.record)
        return (
            f"{self.method}, search {self.study}: best is trial {self.record.trial}, {score:.1f} % "
            f"{self.rule.description}\n{self.command}"
        )


class MethodSearch:
    """The search of one method: proposals of optuna, and the results that it is told.

    Args:
        optuna: The module.
        method: The method.
        study: The number of the search.
        seed: The seed of the study.
    """

    def __init__(self, optuna: Any, method: Method, study: int, seed: int) -> None:
        self.method, self.study = method, study
        self._complete, self._pruned = (
            optuna.trial.TrialState.COMPLETE,
            optuna.trial.TrialState.PRUNED,
        )
        self._drawn = drawn_parameters(method.space)
        self._distributions = {
            key: _to_optuna(optuna, distribution) for key, distribution in self._drawn.items()
        }
        purpose = f"tuning/adaptive/{method.name}"
        with warnings.catch_warnings():
            # Older versions of optuna call two of these options experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=derive_seed(seed * MAX_TRIALS + study, purpose) % 2**32,
                multivariate=True,
                constant_liar=True,
            )
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: list[Any] = []

    def ask(self) -> dict[str, Any]:
        """Return the values of all parameters of the next trial."""
        trial = self._study.ask(self._distributions)
        self._asked.append(trial)
        drawn = {
            key: _from_optuna(distribution, trial.params[key])
            for key, distribution in self._drawn.items()
        }
        return complete(self.method.space, drawn)

    def tell(self, trial: int, score: float) -> None:
        """State the score of a trial: minus infinity for one that diverged, which counts as the worst."""
        if score == -math.inf:
            self._study.tell(self._asked[trial], state=self._pruned)
        else:
            self._study.tell(self._asked[trial], score, state=self._complete)


class AdaptiveSession(StudySession):
    """An adaptive search while it runs. The first rule of the confirmation is the objective."""

    @property
    def rule(self) -> Rule:
        """The rule whose score is maximized."""
        return RULES[self.planner.spec.confirm.rules[0]]

    def run(self) -> StudyTable:
        """Run all trials that are missing, and return the table.

        Raises:
            MissingPackageError: optuna is not installed.
            UsageError: The search cannot be run, or its folder has the table of another study.
            RunError: Runs failed. The table has the other ones.
        """
        optuna = import_optuna()
        planner, spec = self.planner, self.planner.spec
        self._dataset = planner.trial_dataset()
        check_ends(planner, self._dataset)
        self.description = {
            **planner.describe(self._dataset),
            "search": ADAPTIVE,
            "sampler": {
                "name": "TPE",
                "optuna": optuna.__version__,
                "round": ROUND,
                "rule": self.rule.name,
            },
        }
        self._restore()
        self.log(
            f"adaptive search {spec.name}: {len(planner.methods)} methods, {spec.trials} trials each; no "
            "confirmation, and no comparison of methods"
        )
        self._planned: list[PlannedRun] = []
        for study in range(spec.studies):
            searches = [
                MethodSearch(optuna, method, study, spec.seed) for method in planner.methods
            ]
            for start in range(0, spec.trials, ROUND):
                self._run_round(searches, range(start, min(start + ROUND, spec.trials)))
        return self.table()

    def best_trials(self) -> list[BestTrial]:
        """Return the best trial of each method in each search; only after ``run``."""
        table, jobs = self.table(), {run.record.run: run.job for run in self._planned}
        device = self.planner.device
        best = []
        for study in range(self.planner.spec.studies):
            for method in self.planner.methods:
                record = choose(table.trials(method.name, study), self.rule)
                if record is None:
                    best.append(BestTrial(method.name, study, self.rule))
                    continue
                job = replace(jobs[record.run], keep_features=True)
                words = job.command(self.planner.root, device)[3:]  # after -m biascon
                command = shlex.join(["biascon", *(word for word in words if word != "--json")])
                best.append(BestTrial(method.name, study, self.rule, record, command))
        return best

    def _run_round(self, searches: Sequence[MethodSearch], trials: range) -> None:
        """Run the next trials of all methods that have budget left."""
        budget = self.planner.spec.budget_seconds
        spent = self._spent(self._planned)
        planned: list[tuple[MethodSearch, PlannedRun]] = []
        for search in searches:
            if spent.get((search.method.name, search.study), 0.0) >= (budget or math.inf):
                continue
            for trial in trials:
                planned.append(
                    (
                        search,
                        self.planner.plan_trial(
                            search.method, self._dataset, search.study, trial, search.ask()
                        ),
                    )
                )
        # Trial by trial, so that a search cut off at any moment has as many trials of each method.
        runs = sorted((run for _, run in planned), key=lambda run: run.record.trial)
        self._check_repeated(runs)
        self._planned += runs
        self._run_all(runs, self.pool, f"trials {trials.start} to {trials.stop - 1}")
        self._check_failures()
        for search, run in planned:
            record = self.records[run.record.key]
            score = self.rule.score(record)
            if math.isnan(score):
                raise RunError(
                    f"rule '{self.rule.name}' is undefined on the validation split for trial "
                    f"{record.trial} of '{record.method}'"
                )
            search.tell(record.trial, score)


def drawn_parameters(space: Mapping[str, Distribution]) -> dict[str, Drawn]:
    """Return the distributions of a space that are drawn: all but the complements."""
    return {
        key: distribution
        for key, distribution in space.items()
        if not isinstance(distribution, Complement)
    }


def check_ends(planner: Planner, dataset: StudyDataset) -> None:
    """Refuse a search space with an end or a choice that no run can have.

    Each one is tried with the other parameters at their medians.

    Raises:
        UsageError: A method cannot run on the dataset, or a value is not allowed.
    """
    runs = []
    for method in planner.methods:
        check_method(method, dataset.folder)
        drawn = drawn_parameters(method.space)
        medians = {key: distribution.quantile(0.5) for key, distribution in drawn.items()}
        for key, distribution in drawn.items():
            for value in _ends(distribution):
                settings = complete(method.space, {**medians, key: value})
                runs.append(planner.plan_trial(method, dataset, 0, 0, settings))
    trials = [(run.job.config, run.record) for run in runs]
    check_runs(trials, dataset.folder, planner.spec.bias)


def import_optuna() -> Any:
    """Return the module optuna, which prints only warnings.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError(
            "an adaptive search needs optuna, which is not installed; install it with: "
            "pip install 'biascon[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _ends(distribution: Drawn) -> tuple[Any, ...]:
    if isinstance(distribution, Choice):
        return distribution.values
    return distribution.quantile(0.0), distribution.quantile(1.0)


def _to_optuna(optuna: Any, distribution: Drawn) -> Any:
    """Return what optuna draws: the index of a choice, else the number in [0, 1] of ``quantile``."""
    if isinstance(distribution, Choice):
        return optuna.distributions.CategoricalDistribution(tuple(range(len(distribution.values))))
    return optuna.distributions.FloatDistribution(0.0, 1.0)


def _from_optuna(distribution: Drawn, number: Any) -> Any:
    if isinstance(distribution, Choice):
        return distribution.values[number]
    return distribution.quantile(number)
