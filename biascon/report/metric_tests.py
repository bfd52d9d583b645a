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

from biascon.metrics.joint_counts import count_jointly
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.paired_metrics import (
    MAX_ENTRIES,
    MEAN_METRICS,
    accuracy_difference,
    compute_metrics,
    exchange_test,
)
from biascon.metrics.paired_tests import holm
from biascon.metrics.summary import COMPARISONS
from biascon.report.experiments import Experiment
from biascon.report.paired_tests import (
    compare_over_seeds,
    compare_values_over_seeds,
    list_pairs,
    map_pairs,
    pair_runs,
    same_rows,
    without_nan,
)
from biascon.report.predictions import read_aligned_cells, read_predictions
from biascon.runs.finished import FinishedRun
from biascon.utils.progress import Say, say_nothing
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array

ALPHA = 0.05
# The metrics in which losses may differ because of their accuracy alone. The worst group is an accuracy.
NEED_CHANCE = COMPARISONS
Basis = Literal["difference", "difference and excess", "none"]
_SAME = 1e-9  # two computations of one metric differ by less


@dataclass(frozen=True)
class MetricImageTest:
    """Two runs of one seed, a and b, compared in a metric on the same test images.

    Attributes:
        seed: The seed of both runs.
        n: The number of test images.
        difference: The metric of a minus that of b.
        low: The lower limit of its 95 % interval over the images, as in ``paired_difference``; NaN for the
            worst group and for comparisons of groups.
        high: The upper limit, likewise.
        p: The two-sided p-value of the test by exchange.
        p_holm: The same p-value, adjusted by Holm over all image tests of the same call.
    """

    seed: int
    n: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float = math.nan


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
            metric depends on the accuracy and has no value by chance.
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
        metrics: Names of ``PAIRED_METRICS``, each once.
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
    if test.basis != "none" and p <= ALPHA:  # NaN is not
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
    return MetricTest(
        metric=metric,
        lower_is_better=METRIC_NAMES[metric].lower_is_better,
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


def compare_metrics_on_images(
    a: FinishedRun, b: FinishedRun, metrics: Sequence[str]
) -> dict[str, MetricImageTest]:
    """Return the comparison of two runs on their test images, by metric.

    A metric is left out where a run has no value of it, where the predictions do not give the value that the
    run records, and where the table of counts has more than ``MAX_ENTRIES`` entries. The result is empty
    unless both runs have the same images in the same order.
    """
    read_a, read_b = read_predictions(a), read_predictions(b)
    if read_a is None or read_b is None or not same_rows(read_a, read_b):
        return {}
    identity = a.evaluation.identity
    bias = identity.bias
    n_labels, n_bias = len(identity.labels), 1 if bias is None else len(bias.values)
    if n_labels**2 * n_bias > MAX_ENTRIES:
        return {}
    knows_aligned = bias is not None and bias.knows_aligned
    aligned = read_aligned_cells(a, n_labels, n_bias) if knows_aligned else None
    _, labels, bias_values = read_a.rows
    counts = count_jointly(
        labels, bias_values, read_a.predicted, read_b.predicted, n_labels=n_labels, n_bias=n_bias
    )
    positive_name = a.evaluation.summary.positive
    positive = None if positive_name is None else list(identity.labels).index(positive_name)
    of_a, of_b = (
        compute_metrics(table, metrics, aligned, positive) for table in counts.tables(counts.n)
    )
    names = [
        name
        for name in metrics
        if _is_same(of_a[name], a.value(name)) and _is_same(of_b[name], b.value(name))
    ]
    if not names:
        return {}
    tests = exchange_test(
        counts,
        partial(compute_metrics, names=names, aligned=aligned, positive=positive),
        numpy_generator(a.seed, "exchange/paired"),
    )
    found = {}
    for name, test in tests.items():
        low = high = math.nan
        if name in MEAN_METRICS:
            interval = accuracy_difference(counts, name, aligned)
            low, high = float(interval.low), float(interval.high)
        n = int(counts.n.sum())
        found[name] = MetricImageTest(a.seed, n, test.difference, low, high, test.p)
    return found


def _is_same(computed: Array, recorded: float | None) -> bool:
    return recorded is not None and abs(float(computed) - recorded) <= _SAME
