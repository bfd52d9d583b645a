"""The confirmation of a study: each method against the reference, on runs with fresh seeds and colorings.

The choice of a trial is random: another search would choose another setting. An interval over the
confirmation runs alone states the difference between two chosen *settings*. A statement about two tuned
*methods* must also hold for another search with the same budget. Its variance is the sum of two parts:

- v1 = s^2 / n, from the n paired differences of the confirmation;
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

from biascon.errors import RunError
from biascon.metrics.equivalence import MeanDifference
from biascon.metrics.intervals import t_interval, wilson
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.paired_tests import holm
from biascon.studies.records import Stage, StudyRun
from biascon.studies.selection import ORACLE, RULES, Rule, choose
from biascon.studies.table import StudyTable
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array

HALF_SAMPLES = 2000
ALPHA = 0.05


class Verdict(enum.Enum):
    """What a comparison shows about a tuned method and the reference."""

    BETTER = "better"
    WORSE = "worse"
    LEVEL = "level"
    UNDECIDED = "undecided"


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
    """Return a test metric of the confirmation runs of a chosen trial, by the number of the pair."""
    return {
        run.pair: value
        for run in table.select(Stage.CONFIRMATION, choice.method)
        if (run.study, run.trial, run.rho) == (choice.study, choice.trial, rho)
        and (value := run.test.get(metric)) is not None
    }


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
        The comparisons that have two pairs or more, in the order of the methods. Holm's adjustment is over
        them.
    """
    rule = get_rule(rule_name)
    confirm = table.description["confirm"]
    reference, margin = confirm["reference"], confirm["margin"]
    compared = [
        comparison
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
    if p_equivalence <= ALPHA:
        return Verdict.LEVEL
    if p <= ALPHA:
        is_better = (comparison.difference > 0) != lower_is_better(comparison.metric)
        return Verdict.BETTER if is_better else Verdict.WORSE
    return Verdict.UNDECIDED


def _compare(
    table: StudyTable,
    method: str,
    reference: str,
    rule: Rule,
    metric: str,
    rho: float | None,
    margin: float,
) -> Comparison | None:
    """Return the comparison before Holm's adjustment; None without two pairs in a search.

    With several searches the difference is the mean over searches, and each search adds its variance.
    """
    differences: list[Array] = []
    values: list[Array] = []
    choice_variances = []
    for study in range(table.description["studies"]):
        trials = [table.trials(name, study) for name in (method, reference)]
        choices = [choose(part, rule) for part in trials]
        if choices[0] is None or choices[1] is None:
            continue
        a, b = (confirmation_values(table, choice, metric, rho) for choice in choices if choice)
        pairs = sorted(a.keys() & b.keys())
        if len(pairs) < 2:
            continue
        values.append(np.array([[a[pair], b[pair]] for pair in pairs]))
        differences.append(values[-1][:, 0] - values[-1][:, 1])
        choice_variances.append(choice_variance(trials[0], trials[1], rule, metric, study))
    if not differences:
        return None
    n_trials = min(len(table.trials(name)) for name in (method, reference))
    searches = len(differences)
    parts = [(float(d.var(ddof=1)) / len(d) / searches**2, float(len(d) - 1)) for d in differences]
    choice = [(v / searches**2, float(max(1, n_trials - 1))) for v in choice_variances]
    all_differences = np.concatenate(differences)
    mean = float(np.mean([d.mean() for d in differences]))
    total = MeanDifference.combine(mean, *parts, *choice)
    settings = t_interval(all_differences)
    sign = -1.0 if lower_is_better(metric) else 1.0
    n = len(all_differences)
    wins = float((sign * all_differences > 0).sum() + 0.5 * (all_differences == 0).sum())
    better_low, better_high = (float(limit) for limit in wilson(wins, n))
    low, high = total.interval()
    both = np.concatenate(values)
    return Comparison(
        method, reference, rule.name, metric, rho, n,
        float(both[:, 0].mean()), float(both[:, 1].mean()),
        mean, low, high, settings.low, settings.high,
        math.sqrt(sum(v for v, _ in choice)),
        total.p, math.nan, total.equivalence_p(margin), math.nan,
        wins / n, better_low, better_high, Verdict.UNDECIDED,
    )  # fmt: skip


def choice_variance(
    trials_a: Sequence[StudyRun],
    trials_b: Sequence[StudyRun],
    rule: Rule,
    metric: str,
    seed: int = 0,
    replicates: int = HALF_SAMPLES,
) -> float:
    """Return the variance of the difference of the chosen trials' metrics over half samples of the trials.

    Both methods choose among the same half of the trial numbers, so that trials stay paired. Under a budget
    in seconds one method may have fewer trials: it chooses among those that it has. Halves in which a method
    has no trial, or only trials that diverged, are left out.

    Args:
        trials_a: The trials of one method.
        trials_b: The trials of the other method.
        rule: The selection rule.
        metric: A metric of the test split.
        seed: The seed of the half samples.
        replicates: The number of half samples.

    Raises:
        RunError: There are fewer than two trials.
    """
    numbers = sorted({run.trial for run in (*trials_a, *trials_b)})
    if len(numbers) < 2:
        raise RunError("expected two trials or more, but the search has fewer")
    rng = numpy_generator(seed, "tuning/half samples")
    half = len(numbers) // 2
    halves = rng.random((replicates, len(numbers))).argsort(axis=1)[:, :half]
    halves.sort(axis=1)  # of equal scores the first trial is chosen
    rows = np.arange(replicates)
    chosen_values = []
    for trials in (trials_a, trials_b):
        by_number = {run.trial: run for run in trials}
        runs = [by_number.get(number) for number in numbers]
        scores = np.array([-math.inf if run is None else rule.score(run) for run in runs])
        values = np.array([math.nan if run is None else _value(run, metric) for run in runs])
        chosen_values.append(values[halves[rows, scores[halves].argmax(axis=1)]])
    differences = chosen_values[0] - chosen_values[1]
    differences = differences[np.isfinite(differences)]
    return float(differences.var(ddof=1)) if len(differences) > 1 else math.nan


def _value(run: StudyRun, metric: str) -> float:
    value = run.test.get(metric)
    return math.nan if run.diverged or value is None else value
