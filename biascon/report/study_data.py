"""What the report of a tuning study is made of: comparable trials, choices, comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from biascon.errors import DataError, RunError, UsageError, did_you_mean
from biascon.metrics.names import METRIC_NAMES
from biascon.report.study_limits import compared_trials, other_confirmation_runs, stated_runs
from biascon.studies.confirmation import Comparison, compare_methods, why_not_compared
from biascon.studies.records import Stage, StudyRun
from biascon.studies.resplits import ConfirmDataset, confirm_datasets, reused_images
from biascon.studies.selection import ORACLE, RULES, Rule, choose
from biascon.studies.table import StudyTable, read_table

_KEYS = (
    "name", "methods", "trials", "studies", "seed", "dataset", "preset", "settings", "recipe", "confirm",
)  # fmt: skip
_CONFIRM_KEYS = ("reference", "margin", "seeds", "rules", "rho")
_DATASET_KEYS = ("name", "digest", "rho", "train", "val_protocol", "test", "source")
GAP = "gap"
NO_PAIRS = "no search has two pairs of confirmation runs"


@dataclass(frozen=True)
class ComparisonGroup:
    """The comparisons of a rule on datasets of one color correlation.

    Attributes:
        rule: The rule that chose the settings.
        rho: The color correlation, None where the study does not build its dataset.
        trial_rho: The color correlation of the trials, None likewise.
        comparisons: The comparisons in the headline metric.
        gaps: The comparisons in the gap between bias-aligned and bias-conflicting accuracy, by method.
        missing: Why a method is not compared, by method.
    """

    rule: Rule
    rho: float | None
    trial_rho: float | None
    comparisons: Sequence[Comparison]
    gaps: Mapping[str, Comparison]
    missing: Mapping[str, str]

    @property
    def has_verdict(self) -> bool:
        """Whether the statements hold for tuned methods, not only for the two chosen settings."""
        return all(c.holds_for_search for c in self.comparisons)

    def has_same_numbers(self, other: ComparisonGroup) -> bool:
        """Whether another group has the same comparisons, but for the name of the rule."""
        parts = [
            [replace(c, rule="") for c in (*group.comparisons, *group.gaps.values())]
            for group in (self, other)
        ]
        return repr(parts[0]) == repr(parts[1]) and self.missing == other.missing


@dataclass(frozen=True)
class Study:
    """A study as a report sees it.

    Attributes:
        table: The runs, of the trials only those that may be compared: see ``compared_trials``.
        full: All runs of the stated study: see ``stated_runs``.
        with_oracle: Whether the choice on the test split is shown too.
        left_out: The number of runs beyond the stated trials and confirmation pairs; no number uses them.
        other_data: The number of confirmation runs that are not on the stated dataset of their pair, or of
            which a pair has two; no number uses them either.
    """

    table: StudyTable
    full: StudyTable
    with_oracle: bool = False
    left_out: int = 0
    other_data: int = 0

    @property
    def reference(self) -> str:
        """The method that the others are compared with."""
        return str(self.table.description["confirm"]["reference"])

    @property
    def margin(self) -> float:
        """The margin of the equivalence test."""
        return float(self.table.description["confirm"]["margin"])

    @property
    def is_adaptive(self) -> bool:
        """Whether the trials depend on earlier ones, so that they are neither independent nor paired."""
        return bool(self.table.description.get("search") == "adaptive")

    @property
    def source(self) -> str:
        """What identifies the study, for the origin of its numbers."""
        return f"study {self.table.name}, search {self.table.search_digest[:8]}"

    @cached_property
    def methods(self) -> list[str]:
        """The methods that have a comparable trial."""
        return [method for method in self.table.methods if self.trials(method)]

    @cached_property
    def others(self) -> list[str]:
        """The methods other than the reference."""
        return [method for method in self.methods if method != self.reference]

    @cached_property
    def headline(self) -> str:
        """The metric of the comparison: unbiased accuracy, or top-1 where the dataset has no bias."""
        has_bias = any(run.test.get("unbiased") is not None for run in self.full.runs)
        return "unbiased" if has_bias or not self.full.runs else "top1"

    @property
    def accuracy(self) -> str:
        """The name of the metric of the comparison in a sentence."""
        return METRIC_NAMES[self.headline].name

    @cached_property
    def rules(self) -> list[Rule]:
        """The rules whose choices are confirmed."""
        return [RULES[name] for name in self.table.description["confirm"]["rules"] if name in RULES]

    @property
    def shown_rules(self) -> list[Rule]:
        """All rules, and the oracle if it is asked for."""
        return [*RULES.values(), *([ORACLE] if self.with_oracle else [])]

    @cached_property
    def rhos(self) -> list[float | None]:
        """The color correlations of the confirmation: that of the trials, the stated ones, any other."""
        stated = self.table.description["confirm"]["rho"]
        found = [run.rho for run in self.table.select(Stage.CONFIRMATION)]
        rhos: list[float | None] = [*map(float, stated), *sorted(r for r in found if r is not None)]
        rhos = list(dict.fromkeys([*rhos, *(r for r in found if r is None)])) or [None]
        return sorted(rhos, key=lambda rho: rho != self.trial_rho)

    @property
    def trial_rho(self) -> float | None:
        """The color correlation of the trials, None where the study does not build its dataset."""
        rho = self.table.description["dataset"]["rho"]
        return None if rho is None else float(rho)

    @property
    def searches(self) -> int:
        """The number of independent searches."""
        return int(self.table.description["studies"])

    @property
    def has_seconds_budget(self) -> bool:
        """Whether the budget is in seconds, so that the methods have different numbers of trials."""
        return self.table.description.get("budget_seconds") is not None

    @cached_property
    def n_labels(self) -> int:
        """The number of classes, from the counts of the test split."""
        counts = [run.test_cells for run in self.full.runs if run.test_cells is not None]
        return len(counts[0].total) if counts else 10

    @cached_property
    def resplits(self) -> list[ConfirmDataset]:
        """The datasets of ``confirm.data``, one for each pair; empty for a study without them."""
        return confirm_datasets(self.table.description)

    @property
    def no_verdict(self) -> str:
        """Why the study has no verdict, in a sentence; empty if it has one."""
        confirm = self.table.description["confirm"]
        if self.is_adaptive:
            return (
                "This study searches adaptively: a trial depends on the earlier ones of its method. The "
                "trials are then neither independent draws nor paired between methods, and the variance of "
                "the choice cannot be estimated from them. So there is no verdict and there are no bands. A "
                "search with quasi-random draws has both."
            )
        if self.reference not in self.methods:
            return f"The reference {self.reference} has no finished trial: there is nothing to compare with."
        if not confirm["seeds"]:
            return (
                "The study has no confirmation, so that there is no verdict. The metrics of the trials were "
                "used for the choice, and the best of several trials is better than its setting."
            )
        if not self.table.select(Stage.CONFIRMATION):
            return (
                "No confirmation run is finished yet, so that there is no verdict. A verdict needs runs with "
                "fresh seeds of the chosen settings."
            )
        return ""

    def trials(self, method: str) -> list[StudyRun]:
        """Return the comparable trials of a method in all searches."""
        return [run for study in range(self.searches) for run in self.table.trials(method, study)]

    def label(self, method: str) -> str:
        """Return the name of a method, marked if it uses bias labels."""
        marked = any(run.uses_bias_labels for run in self.full.runs if run.method == method)
        return f"{method} †" if marked else method

    def choices(self, method: str, rule: Rule) -> list[tuple[int, StudyRun | None]]:
        """Return the number of each search with the trial that a rule chooses in it."""
        return [
            (study, choose(self.table.trials(method, study), rule))
            for study in range(self.searches)
        ]

    def why_no_choice(self, method: str, rule: Rule, study: int) -> str:
        """Return why a rule chooses no trial of a method."""
        trials = self.table.trials(method, study)
        if not trials:
            return "no finished trial"
        undefined = [run.trial for run in trials if math.isnan(rule.score(run))]
        if undefined:
            numbers = ", ".join(map(str, undefined[:3])) + ", ..." * (len(undefined) > 3)
            return f"{rule.description} is undefined in trial {numbers}"
        return "every trial diverged"

    def confirmations(self, choice: StudyRun) -> list[StudyRun]:
        """Return the confirmation runs of a chosen trial."""
        return [
            run
            for run in self.table.select(Stage.CONFIRMATION, choice.method)
            if (run.study, run.trial) == (choice.study, choice.trial)
        ]

    @cached_property
    def groups(self) -> list[ComparisonGroup]:
        """The comparisons by rule and color correlation; nothing if the study has no verdict."""
        if self.no_verdict:
            return []
        return [self._group(rule, rho) for rule in self.rules for rho in self.rhos]

    @cached_property
    def twins(self) -> Mapping[str, Rule]:
        """The first earlier rule that chooses the same trials, by the name of the confirmed rule."""
        trials = {
            rule.name: [
                None if run is None else run.trial
                for method in self.methods
                for _, run in self.choices(method, rule)
            ]
            for rule in self.rules
        }
        twins = {}
        for k, rule in enumerate(self.rules):
            same = [other for other in self.rules[:k] if trials[other.name] == trials[rule.name]]
            if same:
                twins[rule.name] = same[0]
        return twins

    @cached_property
    def shown_groups(self) -> list[ComparisonGroup]:
        """The groups without those that repeat the numbers of an earlier rule."""
        return [
            group
            for group in self.groups
            if group.rule.name not in self.twins
            or not any(
                other.rule is self.twins[group.rule.name]
                and other.rho == group.rho
                and group.has_same_numbers(other)
                for other in self.groups
            )
        ]

    def _group(self, rule: Rule, rho: float | None) -> ComparisonGroup:
        comparisons = self._compare(rule, rho, self.headline)
        gaps = {c.method: c for c in self._compare(rule, rho, GAP)}
        compared = {c.method for c in comparisons}
        missing = {
            method: why_not_compared(self.table, method, rule.name, rho) or NO_PAIRS
            for method in self.others
            if method not in compared
        }
        return ComparisonGroup(rule, rho, self.trial_rho, comparisons, gaps, missing)

    def _compare(self, rule: Rule, rho: float | None, metric: str) -> list[Comparison]:
        try:
            return compare_methods(self.table, rule.name, metric, rho)
        except RunError:  # one trial each: the variance of the choice is unknown
            return []


def load_study(path: Path) -> StudyTable:
    """Read the table of a study and check that its description is complete.

    Raises:
        BiasconError: The file cannot be read.
        DataError: The file is not the table of a study, is damaged, or lacks a part of its description.
    """
    table = read_table(path)
    description = table.description
    parts: list[tuple[Mapping[str, Any], Sequence[str], str]] = [(description, _KEYS, "")]
    parts.append((description.get("confirm") or {}, _CONFIRM_KEYS, "confirm."))
    parts.append((description.get("dataset") or {}, _DATASET_KEYS, "dataset."))
    missing = [prefix + key for part, keys, prefix in parts for key in keys if key not in part]
    if missing:
        raise DataError(f"{path} is damaged: its description has no {', '.join(missing)}")
    try:
        confirm_datasets(description)
        reused_images(description)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged: the description of confirm.data is not valid ({error})"
        ) from error
    return table


def make_study(
    table: StudyTable, *, with_oracle: bool = False, reference: str | None = None
) -> Study:
    """Return a study with the trials that may be compared.

    Args:
        table: All runs.
        with_oracle: Whether the choice on the test split is shown too.
        reference: Another method that the others are compared with; None for that of the study.

    Raises:
        UsageError: The study has no such method.
    """
    if reference is not None:
        if reference not in table.methods:
            raise UsageError(
                f"the study has no method '{reference}'{did_you_mean(reference, table.methods)} (there are: "
                f"{', '.join(table.methods)})"
            )
        confirm = {**table.description["confirm"], "reference": reference}
        table = replace(table, description={**table.description, "confirm": confirm})
    stated, other_data = stated_runs(table), len(other_confirmation_runs(table))
    left_out = len(table.runs) - len(stated.runs) - other_data
    return Study(compared_trials(stated), stated, with_oracle, left_out, other_data)
