"""Two runs of one seed, compared in any metrics on their test images.

A metric is computed from a table of counts by label, by some attribute, and by prediction. The attribute is
the bias attribute of the run, another attribute of the dataset, or the alignment pattern
(``biascon.metrics.alignment_patterns``). Metrics of one attribute share their exchanges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from biascon.metrics.alignment_patterns import (
    BY_ATTRIBUTE,
    coefficients_of,
    pattern_metrics,
    pattern_of_rows,
)
from biascon.metrics.joint_bias import JointBias
from biascon.metrics.joint_counts import JointCounts, count_jointly
from biascon.metrics.paired_metrics import (
    MAX_ENTRIES,
    MEAN_METRICS,
    accuracy_difference,
    compute_metrics,
    exchange_test,
    is_paired_metric,
)
from biascon.metrics.paired_tests import MetricDifference
from biascon.metrics.weighted_averages import (
    ADJUSTED_AVERAGE,
    training_shares,
    weighted_paired_difference,
    weighted_sum,
)
from biascon.report.paired_tests import same_rows
from biascon.report.predictions import (
    Predictions,
    read_aligned_cells,
    read_attributes,
    read_predictions,
)
from biascon.runs.finished import FinishedRun
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array

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


@dataclass(frozen=True, eq=False)
class _View:
    """Metrics that are computed from one table of counts.

    Attributes:
        purpose: The purpose of the generator of the exchanges.
        values: int ``(N,)``, the value of the attribute of each image.
        n_values: The number of its values.
        metrics: The names of the metrics.
        compute: A function from tables ``(..., K, M, K)`` and names to float arrays ``(...)`` by name.
        difference: A function from joint counts and a name to the difference with its interval over images,
            None for a metric without such an interval.
    """

    purpose: str
    values: Array
    n_values: int
    metrics: Sequence[str]
    compute: Callable[[Array, Sequence[str]], dict[str, Array]]
    difference: Callable[[JointCounts, str], MetricDifference | None]


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
    found: dict[str, MetricImageTest] = {}
    for view in _list_views(a, read_a, metrics):
        found |= _compare_in_view(a, b, view, read_a, read_b)
    return {name: found[name] for name in metrics if name in found}


def _compare_in_view(
    a: FinishedRun, b: FinishedRun, view: _View, read_a: Predictions, read_b: Predictions
) -> dict[str, MetricImageTest]:
    n_labels = len(a.evaluation.identity.labels)
    if n_labels**2 * view.n_values > MAX_ENTRIES:
        return {}
    _, labels, _ = read_a.rows
    counts = count_jointly(
        labels,
        view.values,
        read_a.predicted,
        read_b.predicted,
        n_labels=n_labels,
        n_bias=view.n_values,
    )
    of_a, of_b = (view.compute(table, view.metrics) for table in counts.tables(counts.n))
    names = [
        name
        for name in view.metrics
        if _is_same(of_a[name], a.value(name)) and _is_same(of_b[name], b.value(name))
    ]
    if not names:
        return {}
    tests = exchange_test(
        counts,
        lambda tables: view.compute(tables, names),
        numpy_generator(a.seed, view.purpose),
    )
    found = {}
    for name, test in tests.items():
        interval = view.difference(counts, name)
        low = math.nan if interval is None else float(interval.low)
        high = math.nan if interval is None else float(interval.high)
        n = int(counts.n.sum())
        found[name] = MetricImageTest(a.seed, n, test.difference, low, high, test.p)
    return found


def _list_views(run: FinishedRun, read: Predictions, metrics: Sequence[str]) -> list[_View]:
    """Return the views that the metrics need, each with its metrics."""
    by_bias = [name for name in metrics if is_paired_metric(name)]
    views = [_view_by_bias(run, read, by_bias)] if by_bias else []
    others = [name for name in metrics if name not in by_bias]
    joint = run.evaluation.joint_bias
    columns = None if joint is None or not others else read_attributes(run, joint.names)
    if joint is None or columns is None:
        return views
    n_labels = len(run.evaluation.identity.labels)
    aligned = {}
    for attribute in joint.attributes:
        aligned[attribute.name] = np.zeros((n_labels, len(attribute.values)), dtype=bool)
        for label, value in attribute.aligned:
            aligned[attribute.name][label, value] = True
    own_names = {name: {f"{kind}:{name}" for kind in BY_ATTRIBUTE} for name in joint.names}
    for name in joint.names:
        chosen = [metric for metric in others if metric in own_names[name]]
        if chosen:
            views.append(_view_by_attribute(name, columns[name], aligned[name], chosen))
    of_patterns = [metric for metric in others if metric.partition(":")[0] not in BY_ATTRIBUTE]
    if of_patterns and joint.patterns:
        _, labels, _ = read.rows
        patterns = pattern_of_rows([~aligned[name][labels, columns[name]] for name in joint.names])
        views.append(_view_by_patterns(joint, patterns, of_patterns))
    return views


def _view_by_bias(run: FinishedRun, read: Predictions, metrics: Sequence[str]) -> _View:
    """Return the view by the bias attribute of the run."""
    identity = run.evaluation.identity
    bias, labels = identity.bias, list(identity.labels)
    n_bias = 1 if bias is None else len(bias.values)
    knows_aligned = bias is not None and bias.knows_aligned
    aligned = read_aligned_cells(run, len(labels), n_bias) if knows_aligned else None
    positive_name = run.evaluation.summary.positive
    positive = None if positive_name is None else labels.index(positive_name)
    shares = training_shares(np.asarray(identity.training_cells))
    if bias is None or shares.shape != (len(labels), n_bias):
        shares = np.zeros((len(labels), n_bias))

    def compute(tables: Array, names: Sequence[str]) -> dict[str, Array]:
        known = [name for name in names if name != ADJUSTED_AVERAGE]
        values = compute_metrics(tables, known, aligned, positive)
        return {
            name: values[name] if name in values else weighted_sum(tables, shares) for name in names
        }

    def difference(counts: JointCounts, name: str) -> MetricDifference | None:
        if name == ADJUSTED_AVERAGE:
            return weighted_paired_difference(counts, shares)
        return accuracy_difference(counts, name, aligned) if name in MEAN_METRICS else None

    return _View("exchange/paired", read.rows[2], n_bias, metrics, compute, difference)


def _view_by_attribute(
    attribute: str, values: Array, aligned: Array, metrics: Sequence[str]
) -> _View:
    """Return the view by one of several attributes, whose metrics have names like ``unbiased:attribute``."""
    kinds = {name: name.partition(":")[0] for name in metrics}

    def compute(tables: Array, names: Sequence[str]) -> dict[str, Array]:
        found = compute_metrics(tables, [kinds[name] for name in names], aligned, None)
        return {name: found[kinds[name]] for name in names}

    def difference(counts: JointCounts, name: str) -> MetricDifference | None:
        kind = kinds[name]
        return accuracy_difference(counts, kind, aligned) if kind in MEAN_METRICS else None

    purpose = f"exchange/attribute/{attribute}"
    return _View(purpose, values, aligned.shape[1], metrics, compute, difference)


def _view_by_patterns(joint: JointBias, patterns: Array, metrics: Sequence[str]) -> _View:
    """Return the view by alignment patterns: in-distribution accuracy, gaps and pattern accuracies."""
    training, rows = np.asarray(joint.training), np.asarray(joint.counts).sum(axis=-1)
    if not training.size:
        training = np.zeros(rows.shape, np.int64)

    def compute(tables: Array, names: Sequence[str]) -> dict[str, Array]:
        return pattern_metrics(tables, names, joint.names, training)

    def difference(counts: JointCounts, name: str) -> MetricDifference | None:
        return weighted_paired_difference(
            counts, coefficients_of(name, joint.names, rows, training)
        )

    return _View("exchange/patterns", patterns, len(joint.patterns), metrics, compute, difference)


def _is_same(computed: Array, recorded: float | None) -> bool:
    return recorded is not None and abs(float(computed) - recorded) <= _SAME
