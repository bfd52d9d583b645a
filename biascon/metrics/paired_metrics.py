"""Two classifiers on the same rows, compared in any metric of counts.

**Test by exchange.** Null hypothesis: among the rows of one label and one bias value, the pair of predictions
(a, b) is as frequent as the pair (b, a). Then the two predictions of every row may be exchanged, and the
difference of any metric has a symmetric distribution around 0. The test exchanges them at random many times.
It needs no approximation, so that it also holds for a maximum minus a minimum over groups. It does not hold
for a weaker hypothesis: two classifiers may have the same disparity although their predictions are not
exchangeable.

**Interval.** That of ``paired_difference`` for rates and means of rates. The worst group and the comparisons
of groups have no interval over rows: the percentile bootstrap of a maximum or a minimum is biased, and the
bias of two classifiers does not cancel if their worst groups differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from biascon.errors import unknown_name
from biascon.metrics import fairness
from biascon.metrics.alignment_patterns import IN_DISTRIBUTION, KINDS
from biascon.metrics.intervals import REPLICATES
from biascon.metrics.joint_counts import JointCounts
from biascon.metrics.paired_difference import paired_accuracy_difference
from biascon.metrics.paired_tests import MetricDifference
from biascon.metrics.summary import ACCURACIES, COMPARISONS, accuracy_metrics
from biascon.metrics.weighted_averages import ADJUSTED_AVERAGE
from biascon.utils.types import Array

PAIRED_METRICS = (*ACCURACIES, *COMPARISONS)
# The metrics whose difference has an interval over rows: their cells, and whether the mean is over rows.
_MEANS = {
    "top1": ("all", True),
    "unbiased": ("all", False),
    "bias_aligned": ("aligned", False),
    "bias_conflicting": ("conflicting", False),
    "bias_aligned_samples": ("aligned", True),
    "bias_conflicting_samples": ("conflicting", True),
}
MEAN_METRICS = tuple(_MEANS)
MAX_ENTRIES = (
    200_000  # of a table label x bias x prediction: the exchanges of a larger one take minutes
)
_BLOCK = 2_000_000  # entries of tables that are computed at a time
_TIE = 1e-12  # differences that deviate by less are equal: sums in another order round differently


@dataclass(frozen=True)
class ExchangeTest:
    """The metric of a minus that of b, and the p-value of the test by exchange.

    Attributes:
        difference: The difference; NaN where a metric is undefined.
        p: The two-sided p-value (1 + exchanges at least as extreme) / (1 + exchanges); NaN where the
            difference is.
        replicates: The number of exchanges.
    """

    difference: float
    p: float
    replicates: int


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of metrics, each once.

    Raises:
        UsageError: A name is neither a paired metric nor one of several bias attributes
            (``JointBias.metric``). Whether a dataset has the attribute of such a name is not checked.
    """
    known = (*PAIRED_METRICS, ADJUSTED_AVERAGE, IN_DISTRIBUTION)
    for name in names:
        kind, colon, attribute = name.partition(":")
        if colon and kind in KINDS and attribute:
            continue
        if name not in known:
            raise unknown_name("metric", name, (*known, *(f"{kind}:ATTRIBUTE" for kind in KINDS)))
    return tuple(dict.fromkeys(names))


def is_paired_metric(name: str) -> bool:
    """Return whether a metric is computed from the counts by label, bias attribute and prediction."""
    return name in PAIRED_METRICS or name == ADJUSTED_AVERAGE


def compute_metrics(
    tables: Array, names: Sequence[str], aligned: Array | None, positive: int | None
) -> dict[str, Array]:
    """Return metrics of tables of counts, as an evaluation has them.

    Args:
        tables: int ``(..., K, M, K)``: label x bias x prediction, all with the same labels.
        names: Names of ``PAIRED_METRICS``.
        aligned: bool ``(K, M)``, the bias-aligned cells; None if they are unknown.
        positive: The index of the positive class, whose comparisons of groups are returned; None for their
            mean over classes, as in ``fairness.average_labeled``.

    Returns:
        float64 ``(...)`` by metric name; NaN where the metric is undefined.
    """
    values: dict[str, Array] = {}
    if set(names) & set(ACCURACIES):
        values |= accuracy_metrics(tables, aligned)
    per_class: dict[str, Array] = {}
    if set(names) & set(fairness.METRICS):
        per_class |= fairness.from_counts(tables)
    if set(names) & set(fairness.PARITY_METRICS):
        per_class |= fairness.parity_from_counts(tables)
    first = tables.reshape(-1, *tables.shape[-3:])[0]
    for name, value in per_class.items():
        values[name] = (
            fairness.average_labeled(value, first) if positive is None else value[..., positive]
        )
    return {name: values[name] for name in names}


def exchange_test(
    counts: JointCounts,
    metrics: Callable[[Array], Mapping[str, Array]],
    rng: np.random.Generator,
    *,
    replicates: int = REPLICATES,
) -> dict[str, ExchangeTest]:
    """Return the test by exchange of every metric.

    Only rows with two different predictions matter. Of the n rows of one label, one bias value and the
    predictions i and j in either order, Binomial(n, 1/2) rows get the order (i, j). With B exchanges, of
    which e have a difference at least as large in absolute value::

        p = (1 + e) / (1 + B)

    Under the null hypothesis P(p <= alpha) <= alpha (Phipson and Smyth, Statistical Applications in Genetics
    and Molecular Biology 9(1), 2010). An exchange for which a metric is undefined counts as extreme.

    Args:
        counts: The joint counts of a and b.
        metrics: A function from tables ``(R, K, M, K)`` to float arrays ``(R,)`` by metric name.
        rng: The generator of the exchanges; no other computation may use it.
        replicates: B, the number of exchanges.

    Returns:
        The test by metric name.
    """
    pooled, n = _pool_orders(counts)
    observed = _differences(metrics, *(table[None] for table in counts.tables(counts.n)))
    extreme = dict.fromkeys(observed, 0)
    entries = max(counts.n_labels**2 * counts.n_bias, len(pooled.cells), 1)
    size = max(1, _BLOCK // entries)
    for start in range(0, replicates, size):
        first = rng.binomial(n, 0.5, (min(size, replicates - start), len(n)))
        same = np.broadcast_to(pooled.n[2 * len(n) :], (len(first), len(pooled.n) - 2 * len(n)))
        tables = pooled.tables(np.concatenate((first, n - first, same), axis=1))
        for name, values in _differences(metrics, *tables).items():
            bound = abs(float(observed[name][0])) - _TIE
            extreme[name] += int((np.isnan(values) | (np.abs(values) >= bound)).sum())
    return {
        name: ExchangeTest(
            difference := float(value[0]),
            math.nan if math.isnan(difference) else (1 + extreme[name]) / (1 + replicates),
            replicates,
        )
        for name, value in observed.items()
    }


def _differences(
    metrics: Callable[[Array], Mapping[str, Array]], a: Array, b: Array
) -> dict[str, Array]:
    of_a, of_b = metrics(a), metrics(b)
    return {name: np.asarray(of_a[name] - of_b[name]) for name in of_a}


def _pool_orders(counts: JointCounts) -> tuple[JointCounts, Array]:
    """Return the combinations of two predictions in both orders, and the rows of either order.

    Returns:
        The combinations (i, j) with i < j, then the same combinations as (j, i), then those of two equal
        predictions; and int64 ``(P,)``, the rows of each of the first ones in either order.
    """
    differ = counts.cells[:, 2] != counts.cells[:, 3]
    ordered = counts.cells[differ].copy()
    ordered[:, 2:].sort(axis=1)
    pairs, inverse = np.unique(ordered, axis=0, return_inverse=True)
    n = np.zeros(len(pairs), np.int64)
    np.add.at(n, inverse.reshape(-1), counts.n[differ])
    cells = np.concatenate((pairs, pairs[:, [0, 1, 3, 2]], counts.cells[~differ]))
    rows = np.concatenate((n, np.zeros_like(n), counts.n[~differ]))
    return JointCounts(cells, rows, counts.n_labels, counts.n_bias), n


def accuracy_difference(counts: JointCounts, name: str, aligned: Array | None) -> MetricDifference:
    """Return the difference of a metric of ``MEAN_METRICS`` with its interval over rows.

    The interval is that of ``paired_difference``, which also holds in small cells.

    Args:
        counts: The joint counts of a and b.
        name: The metric.
        aligned: bool ``(K, M)``, the bias-aligned cells; None if they are unknown.
    """
    cells, over_rows = _MEANS[name]
    if cells == "all":
        return paired_accuracy_difference(counts, over_rows=over_rows)
    if aligned is None:
        undefined = np.asarray(np.nan)
        return MetricDifference(undefined, undefined, undefined)
    chosen = aligned if cells == "aligned" else ~aligned
    return paired_accuracy_difference(counts, chosen, over_rows=over_rows)
