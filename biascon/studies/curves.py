"""Tuning curves: the best score that a budget of n trials finds, with simultaneous bands.

The median tuning curve at n is the score that the best of n independent trials reaches in half of all
searches. Its band is exact and simultaneous over all n: it comes from the Learned-Miller-DeStefano band of
the distribution function (Lourie, Cho and He, "Show Your Work with Confidence", NAACL 2024; the package
``opda``). The band assumes independent draws from the search space. Quasi-random draws are spread more evenly
than independent ones, so that the band is then wider than it has to be. A search that adapts breaks the
assumption.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biascon.studies.records import StudyRun
from biascon.studies.selection import Rule
from biascon.utils.types import Array

BAND_LEVEL = 0.80


@dataclass(frozen=True)
class TuningCurve:
    """The tuning curve of a method.

    Attributes:
        method: The method.
        rule: The rule whose score is maximized.
        trials: The number of trials that the curve is estimated from.
        diverged: How many of them diverged; they score as ``chance_score``.
        budgets: The budgets n = 1..trials.
        seconds: The mean seconds of training of a trial, first stage included; None where unknown.
        expected: The expected best score of n trials.
        median: The median best score of n trials.
        low: The lower limit of the simultaneous band of the median curve.
        high: The upper limit; 1 where the trials set no limit.
        level: The level of the band.
    """

    method: str
    rule: str
    trials: int
    diverged: int
    budgets: Sequence[int]
    seconds: float | None
    expected: Sequence[float]
    median: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    level: float


def chance_score(rule: Rule, n_labels: int) -> float:
    """Return the score of chance, which a trial that diverged counts as.

    It is 1 / K for an accuracy over all classes, and 0 for the worst class or the worst group: the scores of
    a classifier that always predicts one of K equally frequent classes.

    Args:
        rule: The rule.
        n_labels: K, the number of classes.
    """
    return (
        0.0 if rule.metric in ("worst_group", "worst_class", "biased_worst_class") else 1 / n_labels
    )


def tuning_curve(
    trials: Sequence[StudyRun], rule: Rule, n_labels: int, level: float = BAND_LEVEL
) -> TuningCurve | None:
    """Return the tuning curve of the trials of one method; None without trials or with undefined scores.

    Args:
        trials: The trials.
        rule: The rule whose score is maximized.
        n_labels: K, the number of classes.
        level: The level of the band.
    """
    from opda.nonparametric import EmpiricalDistribution

    floor = chance_score(rule, n_labels)
    scores = [floor if run.diverged else rule.score(run) for run in trials]
    if not scores or any(map(math.isnan, scores)):
        return None
    budgets = np.arange(1, len(scores) + 1)
    point = EmpiricalDistribution(scores, a=0.0, b=1.0)
    extended = np.array([0.0, *sorted(scores), 1.0])
    lower, upper = (
        EmpiricalDistribution(extended, ws=weights, a=0.0, b=1.0)
        for weights in _band_weights(len(scores), level)
    )
    seconds = [run.total_seconds for run in trials if run.total_seconds is not None]
    return TuningCurve(
        method=trials[0].method,
        rule=rule.name,
        trials=len(scores),
        diverged=sum(run.diverged for run in trials),
        budgets=budgets.tolist(),
        seconds=float(np.mean(seconds)) if seconds else None,
        expected=np.asarray(point.average_tuning_curve(budgets)).tolist(),
        median=np.asarray(point.quantile_tuning_curve(budgets)).tolist(),
        low=np.asarray(upper.quantile_tuning_curve(budgets)).tolist(),
        high=np.asarray(lower.quantile_tuning_curve(budgets)).tolist(),
        level=level,
    )


@functools.cache
def _band_weights(n: int, level: float) -> tuple[Array, Array]:
    """Return the weights of the two bands of the distribution function of n scores.

    They depend only on n and the level. ``opda`` finds them by simulation, here with a fixed seed.

    Returns:
        Two arrays ``(n + 2,)``: the weights of 0, of the scores in ascending order, and of 1, for the lower
        and for the upper band of the distribution function.
    """
    from opda.nonparametric import EmpiricalDistribution

    places = np.arange(1, n + 1) / (n + 1)
    lower, _, upper = EmpiricalDistribution.confidence_bands(
        places, level, a=0.0, b=1.0, method="ld_equal_tailed",
        generator=np.random.default_rng(0), n_jobs=1,
    )  # fmt: skip
    extended = np.array([0.0, *places, 1.0])
    weights = [np.asarray(band.pmf(extended), dtype=np.float64) for band in (lower, upper)]
    return weights[0], weights[1]


def separated_up_to(better: TuningCurve, worse: TuningCurve) -> int:
    """Return the largest budget up to which the band of one curve lies above the other band; 0 for none."""
    n = 0
    for low, high in zip(better.low, worse.high, strict=False):
        if low <= high:
            break
        n += 1
    return n


def crossing_budget(a: TuningCurve, b: TuningCurve) -> int | None:
    """Return the last budget at which the expected curves change places; None if they never do."""
    length = min(len(a.expected), len(b.expected))
    differences = np.array(a.expected[:length]) - np.array(b.expected[:length])
    places = np.flatnonzero(differences)  # equal curves have no order
    signs = np.sign(differences[places])
    changes = [
        int(place) + 1 for k, place in enumerate(places) if k and signs[k] * signs[k - 1] < 0
    ]
    return changes[-1] if changes else None
