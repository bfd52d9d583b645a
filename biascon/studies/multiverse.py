"""All trials at once: the difference of two methods over every recipe, the importance of each parameter, the
Pareto front of accuracy and disparity, and the variance by source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.metrics.intervals import wilson
from biascon.studies.records import VARIANCE_STAGES, Stage, StudyRun
from biascon.studies.selection import Rule
from biascon.studies.table import StudyTable
from biascon.utils.distributions import Choice, Complement, LogUniform, read_distribution
from biascon.utils.types import Array


@dataclass(frozen=True)
class SpecificationCurve:
    """The difference of two methods over all paired trials: method minus reference, smallest first.

    Attributes:
        method: The method.
        reference: The other method.
        metric: The metric of the test split.
        trials: The numbers of the trials, in the order of the differences.
        differences: The differences.
        settings: The shared settings of each trial, in the same order.
        higher: The number of trials in which the method has the higher value.
        share_low: The lower limit of the 95 % Wilson interval of the share of such recipes.
        share_high: The upper limit.
        median: The median difference.
        left_out: The number of trials in which one of the two diverged.
    """

    method: str
    reference: str
    metric: str
    trials: Sequence[int]
    differences: Sequence[float]
    settings: Sequence[Mapping[str, Any]]
    higher: int
    share_low: float
    share_high: float
    median: float
    left_out: int


def specification_curve(
    table: StudyTable, method: str, reference: str, metric: str = "unbiased"
) -> SpecificationCurve | None:
    """Return the specification curve of two methods; None without a paired trial."""
    runs = {name: _trials(table, name) for name in (method, reference)}
    by_key = {name: {(r.study, r.trial): r for r in part} for name, part in runs.items()}
    keys = sorted(by_key[method].keys() & by_key[reference].keys())
    rows, left_out = [], 0
    for key in keys:
        a, b = by_key[method][key], by_key[reference][key]
        value_a, value_b = a.test.get(metric), b.test.get(metric)
        if value_a is None or value_b is None:
            left_out += 1
            continue
        shared = {k: v for k, v in a.settings.items() if b.settings.get(k) == v}
        rows.append((value_a - value_b, key[1], shared))
    if not rows:
        return None
    rows.sort(key=lambda row: (row[0], row[1]))
    differences = [row[0] for row in rows]
    higher = sum(d > 0 for d in differences)
    low, high = (float(limit) for limit in wilson(higher, len(rows)))
    return SpecificationCurve(
        method, reference, metric,
        [row[1] for row in rows], differences, [row[2] for row in rows],
        higher, low, high, float(np.median(differences)), left_out,
    )  # fmt: skip


def _trials(table: StudyTable, method: str) -> list[StudyRun]:
    """Return the trials of a method in all searches, up to the number of trials that the study states."""
    searches = range(table.description["studies"])
    return [run for study in searches for run in table.trials(method, study)]


@dataclass(frozen=True)
class Importance:
    """How much of the variance of the scores of a method a parameter explains.

    Attributes:
        method: The method.
        parameter: The parameter, as ``section.key``.
        n: The number of trials.
        share: The leave-one-out R^2 of a quadratic in the parameter, or of the means of its categories; 0 or
            less: no more than the mean explains. NaN with fewer than six trials.
        best: The value of the parameter in the trial with the highest score.
    """

    method: str
    parameter: str
    n: int
    share: float
    best: Any


@dataclass(frozen=True)
class Response:
    """The scores of the trials of a method against one parameter.

    Attributes:
        method: The method.
        parameter: The parameter, as ``section.key``.
        is_log: Whether the parameter was drawn log-uniformly.
        x: The values of the parameter, float ``(N,)``; for a choice of texts, the number of the choice.
        is_category: Whether the numbers of ``x`` have no order.
        scores: The scores of the trials, float ``(N,)``.
        settings: The values as they are.
    """

    method: str
    parameter: str
    is_log: bool
    is_category: bool
    x: Array
    scores: Array
    settings: Sequence[Any]

    @property
    def regressor(self) -> Array:
        """What enters a regression: the logarithm of a parameter that was drawn log-uniformly."""
        return np.log(self.x) if self.is_log else self.x

    def fitted(self, x: Array) -> Array:
        """Return the least-squares quadratic at values of the parameter."""
        degree = min(2, len(np.unique(self.x)) - 1)
        polynomial = np.polynomial.Polynomial.fit(self.regressor, self.scores, degree)
        result: Array = polynomial(np.log(x) if self.is_log else x)
        return result


def responses(table: StudyTable, method: str, rule: Rule) -> list[Response]:
    """Return the scores of a method against each searched parameter, in the order of its search space.

    Trials that diverged are left out. Nothing is returned if a score is undefined.

    Args:
        table: The study.
        method: The method.
        rule: The rule whose score is shown.
    """
    trials = [run for run in _trials(table, method) if not run.diverged]
    scores = np.array([rule.score(run) for run in trials])
    if not len(scores) or np.isnan(scores).any():
        return []
    results = []
    for key, data in table.description["methods"][method]["space"].items():
        distribution = read_distribution(key, data)
        if isinstance(distribution, Complement):
            continue
        values = [run.settings.get(key) for run in trials]
        are_numbers = all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in values
        )
        is_category = isinstance(distribution, Choice) and not are_numbers
        if isinstance(distribution, Choice) and is_category:
            x = np.array([distribution.values.index(value) for value in values], dtype=float)
        else:
            x = np.array(values, dtype=float)
        is_log = isinstance(distribution, LogUniform)
        results.append(Response(method, key, is_log, is_category, x, scores, values))
    return results


def importances(table: StudyTable, method: str, rule: Rule) -> list[Importance]:
    """Return the importance of each searched parameter of a method, in the order of its search space.

    Args:
        table: The study.
        method: The method.
        rule: The rule whose score is explained.
    """
    return [
        Importance(
            method,
            response.parameter,
            len(response.scores),
            explained_share(response.regressor, response.scores, is_category=response.is_category),
            response.settings[int(response.scores.argmax())],
        )
        for response in responses(table, method, rule)
    ]


def explained_share(x: Array, y: Array, *, is_category: bool = False) -> float:
    """Return the leave-one-out R^2 of the regression of y on 1, x, x^2, or on the categories x.

    The leave-one-out residual of row i is e_i / (1 - h_i), with h the diagonal of the hat matrix. The total
    is the sum of squares of y around the leave-one-out mean.

    Args:
        x: float ``(N,)``.
        y: float ``(N,)``.
        is_category: Whether x has categories. A row that is alone in its category is predicted by the mean
            of the other rows.

    Returns:
        The share, at most 1; NaN with fewer than six rows, or where y does not vary.
    """
    n = len(x)
    if n < 6 or np.ptp(y) == 0:
        return math.nan
    if np.ptp(x) == 0:
        return 0.0
    total = ((y - y.mean()) * n / (n - 1)) ** 2
    if is_category:
        alone = np.array([(x == value).sum() == 1 for value in x])
        means = [y[x == value].mean() for value in x]
        sizes = np.array([(x == value).sum() for value in x])
        errors = ((y - means) * sizes / np.maximum(sizes - 1, 1)) ** 2
        return float(1 - np.where(alone, total, errors).sum() / total.sum())
    scaled = (x - x.mean()) / x.std()
    columns = np.stack([np.ones(n), scaled, scaled**2], axis=1)
    q, r = np.linalg.qr(columns)
    q = q[:, np.abs(np.diag(r)) > 1e-9]  # two values of x: x^2 adds nothing
    leverage = (q**2).sum(axis=1)
    residuals = (y - q @ (q.T @ y)) / np.maximum(1 - leverage, 1e-12)
    return float(1 - (residuals**2).sum() / total.sum())


def pareto_front(accuracy: Sequence[float], disparity: Sequence[float]) -> list[int]:
    """Return the rows that no other row beats: none has a higher accuracy and no larger disparity, or vice
    versa.

    Args:
        accuracy: ``(N,)``, higher is better.
        disparity: ``(N,)``, lower is better.

    Returns:
        The indices, in the order of the disparity.
    """
    order = sorted(range(len(accuracy)), key=lambda i: (disparity[i], -accuracy[i], i))
    front: list[int] = []
    for i in order:
        if not front or accuracy[i] > accuracy[front[-1]]:
            front.append(i)
    return front


@dataclass(frozen=True)
class VarianceSource:
    """The standard deviation of a test metric when one source of randomness varies.

    Attributes:
        method: The method.
        stage: The source; ``CONFIRMATION`` for all of them together.
        n: The number of runs; for rounding, the number of pairs.
        sd: The standard deviation.
        low: The lower limit of its 95 % interval (chi-squared, for normal values).
        high: The upper limit.
    """

    method: str
    stage: Stage
    n: int
    sd: float
    low: float
    high: float


def variance_sources(
    table: StudyTable, choices: Sequence[StudyRun], metric: str = "unbiased"
) -> list[VarianceSource]:
    """Return the standard deviation by source for each chosen trial that has such runs.

    ``SEEDS`` fixes the dataset and varies the training seed. ``DATASETS`` fixes the training seed and varies
    the dataset. ``ROUNDING`` repeats confirmation runs with another number of CPU threads, so that only the
    rounding differs: sd^2 = mean d^2 / 2 of the pairs. Each of the first two includes the effect of rounding.

    Args:
        table: The study.
        choices: The chosen trials.
        metric: A metric of the test split.
    """
    sources = []
    for choice in choices:
        runs = {
            stage: [
                run
                for run in table.select(stage, choice.method)
                if (run.study, run.trial) == (choice.study, choice.trial)
                and run.test.get(metric) is not None
            ]
            for stage in (Stage.CONFIRMATION, *VARIANCE_STAGES)
        }
        by_data = {(run.dataset_digest, run.seed): run for run in runs[Stage.CONFIRMATION]}
        rho = {run.rho for stage in VARIANCE_STAGES for run in runs[stage]}
        for stage, part in runs.items():
            if stage is Stage.ROUNDING:
                twins = [(run, by_data.get((run.dataset_digest, run.seed))) for run in part]
                squares = [
                    (_value(run, metric) - _value(twin, metric)) ** 2 / 2
                    for run, twin in twins
                    if twin is not None
                ]
                sources += _source(choice.method, stage, squares, len(squares))
                continue
            values = np.array([_value(r, metric) for r in part if not rho or r.rho in rho])
            squares = ((values - values.mean()) ** 2).tolist() if len(values) else []
            sources += _source(choice.method, stage, squares, len(values) - 1)
    return sources


def _value(run: StudyRun, metric: str) -> float:
    value = run.test.get(metric)
    return math.nan if value is None else value


def _source(method: str, stage: Stage, squares: Sequence[float], df: int) -> list[VarianceSource]:
    from scipy import stats

    if df < 1:
        return []
    total = float(np.sum(squares))
    low, high = (math.sqrt(total / stats.chi2.ppf(q, df)) for q in (0.975, 0.025))
    return [VarianceSource(method, stage, len(squares), math.sqrt(total / df), low, high)]
