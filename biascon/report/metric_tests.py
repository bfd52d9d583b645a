"""Paired tests between the losses of an experiment in any metrics of counts, with Holm over all of them.

A maximum minus a minimum over groups is above 0 by chance alone, and it is larger for a loss that makes more
errors. Two losses without any disparity therefore differ in it if they differ in accuracy. The permutation
test of a run gives the value by chance of that run. ``ExcessTest`` compares what the metric has beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from biascon.metrics.alignment_patterns import GAP
from biascon.metrics.names import metric_name
from biascon.metrics.paired_tests import holm
from biascon.metrics.summary import COMPARISONS
from biascon.report.experiments import Experiment
from biascon.report.image_metric_tests import MetricImageTest, compare_metrics_on_images
from biascon.report.paired_tests import (
    compare_over_seeds,
    compare_values_over_seeds,
    list_pairs,
    map_pairs,
    pair_runs,
    without_nan,
)
from biascon.runs.finished import FinishedRun
from biascon.utils.progress import Say, say_nothing

ALPHA = 0.05
# The metrics in which losses may differ because of their accuracy alone. The worst group is an accuracy.
NEED_CHANCE = COMPARISONS
Basis = Literal["difference", "difference and excess", "gap", "none"]
NOT_JUDGED: tuple[Basis, ...] = ("gap", "none")


@dataclass(frozen=True)
class ExcessTest:
    """Loss a against loss b in the excess of a metric over its value by chance.

    The value by chance c of a run is the mean of the metric v over permutations of the bias values
    (``PermutationResult.expected``). The excess is v - c. A lower excess is better.

    Attributes:
        seeds: The number of seeds for which both losses have a value and a value by chance.
        difference: The mean of the excess of a minus that of b over these seeds.
        low: The lower limit of its 95 % t interval; NaN below two seeds.
        high: The upper limit.
        p_t: The p-value of the paired t test.
        p_t_holm: The same p-value, adjusted by Holm over all tests of an excess of the same call.
    """

    seeds: int
    difference: float
    low: float
    high: float
    p_t: float
    p_t_holm: float = math.nan


@dataclass(frozen=True)
class MetricTest:
    """Loss a against loss b in a metric.

    Attributes:
        metric: The metric.
        lower_is_better: Whether a lower value of the metric is better.
        a: The label of loss a.
        b: The label of loss b.
        seeds: The number of seeds for which both losses have a value.
        difference: The mean of a minus b over these seeds; NaN without a seed.
        low: The lower limit of its 95 % t interval; NaN below two seeds.
        high: The upper limit.
        p_t: The p-value of the paired t test.
        p_t_holm: The same p-value, adjusted by Holm over all metrics and pairs of the same call.
        p_wilcoxon: The p-value of Wilcoxon's signed-rank test.
        better: The loss that is better at the 5 % level, None if neither is shown to be.
        basis: What names the better loss. ``"difference"``: p_t_holm is at most 0.05. ``"difference and
            excess"``: that of ``excess`` is too, in the same direction. ``"none"``: no loss is named, as the
            metric depends on the accuracy and has no value by chance. ``"gap"``: no loss is named, as a
            gap is also nearer to 0 where the in-distribution accuracy is lower.
        excess: The test of the excess over the value by chance, None without such values.
        images: One test for each seed that both losses have and whose test images agree.
    """

    metric: str
    lower_is_better: bool
    a: str
    b: str
    seeds: int
    difference: float
    low: float
    high: float
    p_t: float
    p_t_holm: float
    p_wilcoxon: float
    better: str | None
    basis: Basis
    excess: ExcessTest | None
    images: tuple[MetricImageTest, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the test as plain data; NaN is None."""
        data = asdict(self)
        data["images"] = [without_nan(image_test) for image_test in data["images"]]
        if self.excess is not None:
            data["excess"] = without_nan(data["excess"])
        return without_nan(data)


def run_metric_tests(
    experiment: Experiment,
    metrics: Sequence[str],
    against: str | None = None,
    *,
    say: Say = say_nothing,
) -> list[MetricTest]:
    """Return the tests of each pair of losses in each metric; Holm adjusts over all of them.

    The tests over seeds are one family, those of the excess over the value by chance are a second one. The
    tests on test images are a third one: they compare encoders. A test without a p-value does not count.

    Args:
        experiment: Runs of one dataset and recipe.
        metrics: Names as ``paired_metrics.check_metrics`` takes them, each once.
        against: The label of the loss that the others are tested against; None tests every pair.
        say: Called with a line of progress every few seconds.

    Returns:
        The tests by metric, and within a metric by pair.
    """
    pairs = list_pairs(experiment, against)
    on_images = _compare_on_images(experiment, metrics, pairs, say)
    tests = [
        _compare_over_seeds(experiment, metric, *pair, on_images[metric, pair])
        for metric in metrics
        for pair in pairs
    ]
    adjusted = holm(np.array([test.p_t for test in tests], dtype=float)).tolist()
    p_excess = [math.nan if test.excess is None else test.excess.p_t for test in tests]
    adjusted_excess = holm(np.array(p_excess, dtype=float)).tolist()
    return [
        _with_better(test, p, p_of_excess)
        for test, p, p_of_excess in zip(tests, adjusted, adjusted_excess, strict=True)
    ]


def _with_better(test: MetricTest, p: float, p_of_excess: float) -> MetricTest:
    """Return the test with its adjusted p-values and the better loss."""
    excess = None if test.excess is None else replace(test.excess, p_t_holm=p_of_excess)
    better = None
    if test.basis not in NOT_JUDGED and p <= ALPHA:  # NaN is not
        better = test.a if (test.difference > 0) != test.lower_is_better else test.b
    if better is not None and excess is not None:
        agrees = (test.a if excess.difference < 0 else test.b) == better
        better = better if agrees and p_of_excess <= ALPHA else None
    return replace(test, p_t_holm=p, excess=excess, better=better)


def _compare_over_seeds(
    experiment: Experiment, metric: str, a: str, b: str, images: tuple[MetricImageTest, ...]
) -> MetricTest:
    """Return the test before Holm's adjustment."""
    found = compare_over_seeds(experiment, a, b, metric)
    mean = found.mean
    excess = _compare_excess(experiment, metric, a, b) if metric in NEED_CHANCE else None
    basis: Basis = "difference" if metric not in NEED_CHANCE else "none"
    basis = "gap" if metric.startswith(f"{GAP}:") else basis
    return MetricTest(
        metric=metric,
        lower_is_better=metric_name(metric).lower_is_better,
        a=a,
        b=b,
        seeds=found.seeds,
        difference=math.nan if mean is None else mean.mean,
        low=math.nan if mean is None else mean.low,
        high=math.nan if mean is None else mean.high,
        p_t=found.p_t,
        p_t_holm=math.nan,
        p_wilcoxon=found.p_wilcoxon,
        better=None,
        basis=basis if excess is None else "difference and excess",
        excess=excess,
        images=images,
    )


def _compare_excess(experiment: Experiment, metric: str, a: str, b: str) -> ExcessTest | None:
    """Return the test of the excess before Holm's adjustment, None without a seed that has it."""
    found = compare_values_over_seeds(
        a, b, *(_excesses(experiment.losses[label], metric) for label in (a, b))
    )
    if found.mean is None:
        return None
    return ExcessTest(found.seeds, found.mean.mean, found.mean.low, found.mean.high, found.p_t)


def _excesses(runs: Sequence[FinishedRun], metric: str) -> dict[int, float]:
    """Return the excess of a metric over its value by chance by seed, where both are defined."""
    excesses = {}
    for run in runs:
        value = run.value(metric)
        test = (run.evaluation.summary.disparity or {}).get(metric)
        if value is not None and test is not None and test.expected is not None:
            excesses[run.seed] = value - test.expected
    return excesses


def _compare_on_images(
    experiment: Experiment, metrics: Sequence[str], pairs: Sequence[tuple[str, str]], say: Say
) -> dict[tuple[str, tuple[str, str]], tuple[MetricImageTest, ...]]:
    """Return the tests on test images by metric and pair of losses, adjusted by Holm over all of them."""
    runs = [(pair, runs) for pair in pairs for runs in pair_runs(experiment, *pair)]
    results = map_pairs(
        partial(compare_metrics_on_images, metrics=metrics), [each for _, each in runs], say
    )
    tests = [
        (metric, pair, result[metric])
        for metric in metrics
        for (pair, _), result in zip(runs, results, strict=True)
        if metric in result
    ]
    adjusted = holm(np.array([test.p for _, _, test in tests], dtype=float)).tolist()
    found: dict[tuple[str, tuple[str, str]], tuple[MetricImageTest, ...]] = {
        (metric, pair): () for metric in metrics for pair in pairs
    }
    for (metric, pair, test), p in zip(tests, adjusted, strict=True):
        found[metric, pair] += (replace(test, p_holm=p),)
    return found
