"""Paired tests between the losses of an experiment in any metrics of counts, with Holm over all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

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
from biascon.report.experiments import Experiment
from biascon.report.paired_tests import (
    compare_over_seeds,
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
        better: The loss that is better at the 5 % level of the whole family, None if neither is shown to be.
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
    images: tuple[MetricImageTest, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the test as plain data; NaN is None."""
        data = asdict(self)
        data["images"] = [without_nan(image_test) for image_test in data["images"]]
        return without_nan(data)


def run_metric_tests(
    experiment: Experiment,
    metrics: Sequence[str],
    against: str | None = None,
    *,
    say: Say = say_nothing,
) -> list[MetricTest]:
    """Return the tests of each pair of losses in each metric; Holm adjusts over all of them.

    The tests over seeds are one family. The tests on test images are another one: they compare encoders.

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
    return [
        replace(test, p_t_holm=p, better=_better(test, p))
        for test, p in zip(tests, adjusted, strict=True)
    ]


def _better(test: MetricTest, p: float) -> str | None:
    if not p <= ALPHA:  # also NaN
        return None
    return test.a if (test.difference > 0) != test.lower_is_better else test.b


def _compare_over_seeds(
    experiment: Experiment, metric: str, a: str, b: str, images: tuple[MetricImageTest, ...]
) -> MetricTest:
    """Return the test before Holm's adjustment."""
    found = compare_over_seeds(experiment, a, b, metric)
    mean = found.mean
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
        images=images,
    )


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
