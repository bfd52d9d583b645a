"""Tests of one classifier against another: on the same images, and over the same seeds.

On the same images: McNemar's test of the rows that only one of the two gets right, and a bootstrap
of the difference of any metric of counts, from the joint counts of both predictions. Over seeds:
paired t and Wilcoxon's signed ranks. Over a family of comparisons: Holm.

Images and seeds are different questions: the first keeps the two trained networks fixed and asks
about other test images, the second asks about other runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.metrics.counts import check_range
from biascon.metrics.intervals import LEVEL, REPLICATES, percentile_limits
from biascon.utils.types import Array

_BLOCK = 2_000_000  # drawn numbers at a time
_EXACT = 200  # differences up to which Wilcoxon's p is exact
_TIE = 1e-12


@dataclass(frozen=True, eq=False)
class JointCounts:
    """How often label, bias and the predictions of two classifiers occur together.

    Attributes:
        cells: int64 ``(C, 4)``: (label, bias, prediction of a, prediction of b), those with rows.
        n: int64 ``(C,)``, at least 1.
        n_labels: K.
        n_bias: M.
    """

    cells: npt.NDArray[np.int64]
    n: npt.NDArray[np.int64]
    n_labels: int
    n_bias: int

    @property
    def discordant(self) -> tuple[int, int]:
        """How many rows only a, and only b, predicts right."""
        right_a = self.cells[:, 0] == self.cells[:, 2]
        right_b = self.cells[:, 0] == self.cells[:, 3]
        return int(self.n[right_a & ~right_b].sum()), int(self.n[right_b & ~right_a].sum())

    def tables(self, n: Array) -> tuple[Array, Array]:
        """Return the counts ``(..., K, M, K)`` of a and of b where the cells have ``n`` ``(..., C)`` rows."""
        return self._table(n, 2), self._table(n, 3)

    def _table(self, n: Array, prediction: int) -> Array:
        shape = (self.n_labels, self.n_bias, self.n_labels)
        table = np.zeros((*n.shape[:-1], int(np.prod(shape))), np.int64)
        if len(self.cells):
            label, bias, predicted = self.cells[:, 0], self.cells[:, 1], self.cells[:, prediction]
            index = np.ravel_multi_index((label, bias, predicted), shape)
            order = np.argsort(index, kind="stable")
            places, starts = np.unique(index[order], return_index=True)
            table[..., places] = np.add.reduceat(n[..., order], starts, axis=-1)
        return table.reshape(*n.shape[:-1], *shape)


def count_jointly(
    labels: Array, bias: Array, a: Array, b: Array, *, n_labels: int, n_bias: int
) -> JointCounts:
    """Return the joint counts of two classifiers' predictions of the same rows.

    Args:
        labels: ``(N,)`` integers in 0..K-1.
        bias: ``(N,)`` integers in 0..M-1.
        a: ``(N,)`` integers in 0..K-1, what one classifier predicts.
        b: ``(N,)``, what the other predicts, row by row.
        n_labels: K.
        n_bias: M.

    Raises:
        UsageError: Arrays of different length, or values out of range.
    """
    shape = (n_labels, n_bias, n_labels, n_labels)
    columns = {"labels": labels, "bias": bias, "predictions a": a, "predictions b": b}
    if len({len(column) for column in columns.values()}) != 1:
        lengths = [len(column) for column in columns.values()]
        raise UsageError(f"expected equally long columns, but got {lengths}")
    for (name, column), size in zip(columns.items(), shape, strict=True):
        check_range(name, column, size)
    flat = np.ravel_multi_index([np.asarray(c).astype(np.int64) for c in columns.values()], shape)
    filled, n = np.unique(flat, return_counts=True)
    cells = np.stack(np.unravel_index(filled, shape), axis=1).astype(np.int64)
    return JointCounts(cells, n.astype(np.int64), n_labels, n_bias)


@dataclass(frozen=True)
class McNemar:
    """Rows that only one of two classifiers gets right, and the two-sided p-values."""

    only_a: int
    only_b: int
    exact: float
    mid: float


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """Test whether two classifiers are right equally often on the same rows.

    Given n = only_a + only_b discordant rows, only_a is binomial(n, 1/2) if they are. With X so and
    m the smaller of the two::

        exact = min(1, 2 P(X <= m))        mid = 2 P(X <= m) - P(X = m)

    The exact test errs on the safe side; the mid-p variant is close to its level for small n too
    (Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data", BMC Medical
    Research Methodology 13:91, 2013). Without discordant rows both are 1.

    Raises:
        UsageError: A negative number.

    >>> found = mcnemar(1, 5)
    >>> print(f"{found.exact:.5f} {found.mid:.5f}")
    0.21875 0.12500
    """
    from scipy import stats

    if only_a < 0 or only_b < 0:
        raise UsageError(f"expected numbers of rows, but got {only_a} and {only_b}")
    n, m = only_a + only_b, min(only_a, only_b)
    tail, point = float(stats.binom.cdf(m, n, 0.5)), float(stats.binom.pmf(m, n, 0.5))
    return McNemar(only_a, only_b, min(1.0, 2 * tail), min(1.0, 2 * tail - point))


@dataclass(frozen=True)
class MetricDifference:
    """A metric of a minus that of b, and its limits (NaN where undefined)."""

    value: Array
    low: Array
    high: Array


def paired_bootstrap(
    counts: JointCounts,
    metrics: Callable[[Array], Mapping[str, Array]],
    rng: np.random.Generator,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> dict[str, MetricDifference]:
    """Return each metric of a minus that of b with a percentile interval over the test images.

    The same resampled rows are given to both, so what makes an image hard for both cancels. As in
    ``intervals.bootstrap`` a resample is one multinomial draw, here of the joint cells with rows.

    Args:
        counts: The joint counts.
        metrics: Maps tables ``(R, K, M, K)`` to arrays ``(R, ...)`` by name.
        rng: A generator of its own purpose.
        replicates: How many resamples.
        level: The coverage aimed at.

    Returns:
        NaN limits where more than 5 % of the replicates are undefined.
    """

    def differences(n: Array) -> dict[str, Array]:
        of_a, of_b = (metrics(table) for table in counts.tables(n))
        return {name: np.asarray(of_a[name] - of_b[name]) for name in of_a}

    values = {name: value[0] for name, value in differences(counts.n[None]).items()}
    if len(counts.n) == 0:
        return {name: MetricDifference(value, value, value) for name, value in values.items()}
    total = int(counts.n.sum())
    size = max(1, _BLOCK // max(len(counts.n), counts.n_labels**2 * counts.n_bias))
    parts: dict[str, list[Array]] = {name: [] for name in values}
    for start in range(0, replicates, size):
        rows = min(size, replicates - start)
        for name, value in differences(rng.multinomial(total, counts.n / total, rows)).items():
            parts[name].append(value)
    limits = {
        name: percentile_limits(np.concatenate(drawn), level) for name, drawn in parts.items()
    }
    return {name: MetricDifference(value, *limits[name]) for name, value in values.items()}


@dataclass(frozen=True)
class SeedDifference:
    """A paired test: how many differences it used, their mean, and the two-sided p-value."""

    n: int
    mean: float
    p: float


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike) -> SeedDifference:
    """Paired t-test of a - b over seeds; ``intervals.t_interval`` of the differences is its interval.

    p is NaN with fewer than two seeds, and where all differences are equal (zero or not): without
    any spread there is nothing to measure the mean by.

    Args:
        a: ``(S,)``, a metric of one method, a value a seed.
        b: ``(S,)``, of the other, in the same order.

    Raises:
        UsageError: Of different length, or not finite.
    """
    from scipy import stats

    d = _differences(a, b)
    mean = float(d.mean()) if d.size else float("nan")
    if d.size < 2 or np.ptp(d) <= _TIE:
        return SeedDifference(d.size, mean, float("nan"))
    t = mean / (float(d.std(ddof=1)) / np.sqrt(d.size))
    return SeedDifference(d.size, mean, float(2 * stats.t.sf(abs(t), d.size - 1)))


def wilcoxon(a: npt.ArrayLike, b: npt.ArrayLike) -> SeedDifference:
    """Wilcoxon's signed-rank test of a - b over seeds, exact up to 200 differences, ties included.

    Differences of 0 are left out, as Wilcoxon did; ``n`` counts the others, ``mean`` is over all.
    Ranks are of the absolute differences, tied ones have their mean rank. The p-value is twice the
    smaller tail of all 2^n signs given these ranks: with n = 3 seeds it cannot be below 0.25, with
    5 not below 0.0625. Beyond 200 it is scipy's normal approximation.

    p is NaN with fewer than two seeds, and where all differences are 0.

    Args:
        a: ``(S,)``, a metric of one method, a value a seed.
        b: ``(S,)``, of the other, in the same order.

    Raises:
        UsageError: Of different length, or not finite.
    """
    from scipy import stats

    d = _differences(a, b)
    mean = float(d.mean()) if d.size else float("nan")
    kept = d[np.abs(d) > _TIE]
    if d.size < 2 or kept.size == 0:
        return SeedDifference(kept.size, mean, float("nan"))
    if kept.size > _EXACT:
        return SeedDifference(kept.size, mean, float(stats.wilcoxon(kept, method="approx").pvalue))
    # doubled, mean ranks are integers; rounded, 0.3 - 0.2 and 0.2 - 0.1 are tied
    ranks = np.rint(2 * stats.rankdata(np.round(np.abs(kept), 12))).astype(np.int64)
    ways = np.ones(1)  # ways[w] / 2^n = P(the positive ranks sum to w)
    for rank in ranks:
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    positive = int(ranks[kept > 0].sum())
    smaller = min(positive, int(ranks.sum()) - positive)
    tail = float(ways[: smaller + 1].sum() * 0.5**kept.size)
    return SeedDifference(kept.size, mean, min(1.0, 2 * tail))


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return Holm's adjusted p-values of a family of tests.

    Of the m p-values, sorted, the i-th (from 0) times m - i, at most 1, and no smaller than the one
    before. All below alpha may be rejected with a chance of at most alpha of any false one, whatever
    the tests' dependence (Holm, Scandinavian Journal of Statistics 6, 1979). A NaN is no test: it
    stays NaN and does not count in m.

    Args:
        p_values: ``(T,)``.

    Raises:
        UsageError: A value outside 0..1.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1)).any():
        raise UsageError(f"expected p-values in 0..1, but got {p.tolist()}")
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN are sorted last
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def _differences(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if one.ndim != 1 or one.shape != other.shape:
        raise UsageError(f"expected a value of each a seed, but got {one.shape} and {other.shape}")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise UsageError("expected finite values; leave out the seeds where one is undefined")
    return one - other
