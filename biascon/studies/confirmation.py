"""The confirmation of a study: each method against the reference, on runs with fresh seeds and colorings.

The choice of a trial is random: another search would choose another setting. An interval over the
confirmation runs alone states the difference between two chosen *settings*. A statement about two tuned
*methods* must also hold for another search with the same budget. Its variance is the sum of two parts:

- v1 = s^2 / n, from the n paired differences of the confirmation; s^2 (1 / n + n_test / n_train) where the
  pairs are random splits of the same images (``resplits``);
- v2, the variance of the choice: both methods choose again among random halves of the same trials (paired,
  without replacement), and v2 is the variance of the difference of the chosen trials' test metrics. Half
  samples are the delete-d jackknife with d = K / 2, whose variance needs no further factor (Shao and Wu,
  Annals of Statistics 17, 1989). It also holds for statistics that are not smooth, such as a maximum.

tests/studies/test_simulation.py has the rates at which the resulting verdicts are wrong on made studies.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from biascon.metrics.equivalence import MeanDifference
from biascon.metrics.intervals import wilson
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.paired_tests import holm
from biascon.studies.choice import choice_variance
from biascon.studies.records import StudyRun
from biascon.studies.resplits import confirmation_of_study, split_ratio
from biascon.studies.selection import ORACLE, RULES, Rule, choose
from biascon.studies.table import StudyTable
from biascon.utils.types import Array

MIN_USABLE = (
    4  # trials that did not diverge, of each method: below, the choice's variance is unknown
)
ALPHA = 0.05


class Verdict(enum.Enum):
    """What a comparison shows about a tuned method and the reference."""

    BETTER = "better"
    WORSE = "worse"
    LEVEL = "level"
    UNDECIDED = "undecided"
    NONE = "no verdict"


@dataclass(frozen=True)
class Comparison:
    """A tuned method against the tuned reference in one test metric, on datasets of one color correlation.

    Differences are method minus reference.

    Attributes:
        method: The method.
        reference: The reference.
        rule: The rule that chose the settings of both.
        metric: The metric of the test split.
        rho: The color correlation of the confirmation, None where the study does not build its dataset.
        n: The number of paired confirmation runs.
        mean: The mean of the metric of the method.
        reference_mean: The mean of the metric of the reference.
        difference: The mean difference.
        low: The lower limit of its 95 % interval, which holds for another search too.
        high: The upper limit.
        settings_low: The lower limit of the 95 % interval of the two chosen settings alone.
        settings_high: The upper limit.
        choice_sd: The standard deviation of the difference that comes from the choice of the trials.
        p: The p-value of a true difference of 0.
        p_holm: The same, adjusted by Holm over the methods.
        p_equivalence: The p-value of a true difference of the margin or more.
        p_equivalence_holm: The same, adjusted by Holm over the methods.
        better: The share of pairs in which the method is better, ties as half: P(method better).
        better_low: The lower limit of its 95 % Wilson interval.
        better_high: The upper limit.
        verdict: The verdict at the 5 % level of the whole family.
        holds_for_search: Whether the variance of the choice is known. It is known only at the color
            correlation of the trials. Elsewhere ``low``, ``high``, ``choice_sd`` and the equivalence test are
            NaN, ``p`` is that of the two chosen settings, and there is no verdict.
        diverged: How many confirmation runs of the method diverged; they score as chance.
        reference_diverged: How many confirmation runs of the reference did.
    """

    method: str
    reference: str
    rule: str
    metric: str
    rho: float | None
    n: int
    mean: float
    reference_mean: float
    difference: float
    low: float
    high: float
    settings_low: float
    settings_high: float
    choice_sd: float
    p: float
    p_holm: float
    p_equivalence: float
    p_equivalence_holm: float
    better: float
    better_low: float
    better_high: float
    verdict: Verdict
    holds_for_search: bool = True
    diverged: int = 0
    reference_diverged: int = 0


def get_rule(name: str) -> Rule:
    """Return a rule by name, the oracle included."""
    return ORACLE if name == ORACLE.name else RULES[name]


def lower_is_better(metric: str) -> bool:
    """Whether a lower value of a test metric is better."""
    return metric in ("gap", "ece", "brier") or (
        metric in METRIC_NAMES and METRIC_NAMES[metric].lower_is_better
    )


def chosen_trials(table: StudyTable, method: str, rule: Rule) -> list[StudyRun]:
    """Return the trial that a rule chooses in each search, without the searches that have no choice."""
    trials = [choose(table.trials(method, k), rule) for k in range(table.description["studies"])]
    return [trial for trial in trials if trial is not None]


def confirmation_values(
    table: StudyTable, choice: StudyRun, metric: str, rho: float | None
) -> dict[int, float]:
    """Return a test metric of the confirmation runs of a chosen trial, by the number of the pair.

    A run that diverged has the accuracy of chance, 1 / K for K classes. Other metrics have no such value: if
    a run diverged, the result is empty.
    """
    runs = confirmation_runs(table, choice, rho)
    chance = chance_accuracy(table) if metric in ("unbiased", "top1") else None
    if chance is None and any(run.diverged for run in runs):
        return {}
    values = {run.pair: chance if run.diverged else run.test.get(metric) for run in runs}
    return {pair: value for pair, value in values.items() if value is not None}


def confirmation_runs(table: StudyTable, choice: StudyRun, rho: float | None) -> list[StudyRun]:
    """Return the confirmation runs of a chosen trial that count: see ``confirmation_of_study``."""
    wanted = choice.method, choice.study, choice.trial, rho
    return [
        run
        for run in confirmation_of_study(table)
        if (run.method, run.study, run.trial, run.rho) == wanted
    ]


def chance_accuracy(table: StudyTable) -> float | None:
    """Return 1 / K for the K classes of the dataset; None if no run of the study has counts."""
    n_labels = next((len(r.test_cells.total) for r in table.runs if r.test_cells is not None), None)
    return None if n_labels is None else 1 / n_labels


def compare_methods(
    table: StudyTable, rule_name: str, metric: str = "unbiased", rho: float | None = None
) -> list[Comparison]:
    """Return the comparison of each method with the reference of the study.

    Args:
        table: The study.
        rule_name: The rule that chose the confirmed settings.
        metric: A metric of the test split.
        rho: The color correlation of the confirmation, as in ``StudyRun.rho``.

    Returns:
        The comparisons in the order of the methods, without those that ``why_not_compared`` explains. Holm's
        adjustment is over them.
    """
    return compare_in_metrics(table, rule_name, [metric], rho)


def compare_in_metrics(
    table: StudyTable, rule_name: str, metrics: Sequence[str], rho: float | None = None
) -> list[Comparison]:
    """Return the comparison of each method with the reference in several metrics of the test split.

    The arguments are those of ``compare_methods``.

    Returns:
        The comparisons by metric, and within a metric by method. Holm's adjustment is over all of them.
    """
    rule = get_rule(rule_name)
    confirm = table.description["confirm"]
    reference, margin = confirm["reference"], confirm["margin"]
    compared = [
        comparison
        for metric in metrics
        for method in table.methods
        if method != reference
        and (comparison := _compare(table, method, reference, rule, metric, rho, margin))
        is not None
    ]
    differences = holm([c.p for c in compared])
    equivalences = holm([c.p_equivalence for c in compared])
    return [
        replace(
            comparison,
            p_holm=float(p),
            p_equivalence_holm=float(p_equivalence),
            verdict=_decide(comparison, float(p), float(p_equivalence)),
        )
        for comparison, p, p_equivalence in zip(compared, differences, equivalences, strict=True)
    ]


def _decide(comparison: Comparison, p: float, p_equivalence: float) -> Verdict:
    if not comparison.holds_for_search:
        return Verdict.NONE
    if p_equivalence <= ALPHA:
        return Verdict.LEVEL
    if p <= ALPHA:
        is_better = (comparison.difference > 0) != lower_is_better(comparison.metric)
        return Verdict.BETTER if is_better else Verdict.WORSE
    return Verdict.UNDECIDED


def why_not_compared(
    table: StudyTable, method: str, rule_name: str, rho: float | None = None
) -> str:
    """Return why a method is not compared with the reference, in a few words; empty if it can be."""
    rule = get_rule(rule_name)
    searches = range(table.description["studies"])
    for name in (method, table.description["confirm"]["reference"]):
        usable = [count_usable(table.trials(name, study)) for study in searches]
        if max(usable, default=0) < MIN_USABLE:
            return f"{name} has fewer than {MIN_USABLE} trials that did not diverge"
        choices = chosen_trials(table, name, rule)
        if not choices:
            return f"rule {rule_name} chooses no trial of {name}"
        if max(len(confirmation_runs(table, choice, rho)) for choice in choices) < 2:
            return f"{name} has fewer than two confirmation runs"
    return ""


def count_usable(trials: Sequence[StudyRun]) -> int:
    """Return the number of trials that did not diverge."""
    return sum(not run.diverged for run in trials)


@dataclass(frozen=True)
class _Search:
    """The confirmation of one search: values ``(n, 2)`` of both methods, and the variance of the choice."""

    values: Array
    choice_variance: float
    choice_df: float
    diverged: tuple[int, int]


def _compare(
    table: StudyTable,
    method: str,
    reference: str,
    rule: Rule,
    metric: str,
    rho: float | None,
    margin: float,
) -> Comparison | None:
    """Return the comparison before Holm's adjustment; None if no search can be compared.

    With several searches the difference is the mean over searches, and each search adds its variance. Random
    splits of the same images are shared by the searches, so that what they add is not divided by the number
    of searches.
    """
    holds = rho == table.description.get("dataset", {}).get("rho", rho)
    searches = [
        search
        for study in range(table.description["studies"])
        if (search := _read_search(table, (method, reference), study, rule, metric, rho))
    ]
    if not searches:
        return None
    k = len(searches)
    pairs = [search.values[:, 0] - search.values[:, 1] for search in searches]
    mean = float(np.mean([d.mean() for d in pairs]))
    shared = (split_ratio(table.description) or 0.0) / k  # None: unknown, and the report says so
    variances = [float(d.var(ddof=1)) for d in pairs]
    parts = [
        (v / len(d) / k**2 + v * shared, float(len(d) - 1))
        for v, d in zip(variances, pairs, strict=True)
    ]
    settings = MeanDifference.combine(mean, *parts)
    choice = [(s.choice_variance / k**2, s.choice_df) for s in searches] if holds else []
    total = MeanDifference.combine(mean, *parts, *choice)
    both, differences = np.concatenate([s.values for s in searches]), np.concatenate(pairs)
    sign, n = (-1.0 if lower_is_better(metric) else 1.0), len(differences)
    wins = float((sign * differences > 0).sum() + 0.5 * (differences == 0).sum())
    better_low, better_high = (float(limit) for limit in wilson(wins, n))
    low, high = total.interval() if holds else (math.nan, math.nan)
    settings_low, settings_high = settings.interval()
    return Comparison(
        method, reference, rule.name, metric, rho, n,
        float(both[:, 0].mean()), float(both[:, 1].mean()),
        mean, low, high, settings_low, settings_high,
        math.sqrt(sum(v for v, _ in choice)) if holds else math.nan,
        total.p, math.nan, total.equivalence_p(margin) if holds else math.nan, math.nan,
        wins / n, better_low, better_high, Verdict.UNDECIDED, holds,
        sum(s.diverged[0] for s in searches), sum(s.diverged[1] for s in searches),
    )  # fmt: skip


def _read_search(
    table: StudyTable,
    methods: tuple[str, str],
    study: int,
    rule: Rule,
    metric: str,
    rho: float | None,
) -> _Search | None:
    """Return the confirmation of one search; None with too few usable trials or fewer than two pairs."""
    trials = [table.trials(name, study) for name in methods]
    usable = min(map(count_usable, trials))
    choices = [choose(part, rule) for part in trials]
    if usable < MIN_USABLE or choices[0] is None or choices[1] is None:
        return None
    chosen = [choice for choice in choices if choice is not None]
    a, b = (confirmation_values(table, choice, metric, rho) for choice in chosen)
    pairs = sorted(a.keys() & b.keys())
    if len(pairs) < 2:
        return None
    diverged = [
        sum(run.diverged for run in confirmation_runs(table, choice, rho)) for choice in chosen
    ]
    return _Search(
        np.array([[a[pair], b[pair]] for pair in pairs]),
        choice_variance(trials[0], trials[1], rule, metric, study),
        float(usable - 1),
        (diverged[0], diverged[1]),
    )
