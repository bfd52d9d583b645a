"""Paired tests of two classifiers a and b: on the same test images, and over the same seeds.

- On the same images: McNemar's test, and a paired bootstrap of the difference of any count metric.
- Over the same seeds: the paired t-test and Wilcoxon's signed-rank test.
- Over several tests: Holm's adjustment of the p-values.

The two kinds of tests answer different questions. A test on images keeps both trained networks fixed and
generalizes to other test images. A test over seeds generalizes to other training runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.metrics.intervals import LEVEL, REPLICATES, percentile_limits
from biascon.metrics.joint_counts import JointCounts
from biascon.utils.types import Array

_BLOCK = 2_000_000  # numbers drawn or summed at a time, at most
_EXACT = 200  # number of differences up to which Wilcoxon's p-value is exact
_TIE = 1e-12  # differences that deviate by less are equal: rounding errors


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two classifiers on the same rows.

    Attributes:
        only_a: The number of rows that only a predicts correctly.
        only_b: The number of rows that only b predicts correctly.
        exact: The exact two-sided p-value.
        mid: The two-sided mid-p-value.
    """

    only_a: int
    only_b: int
    exact: float
    mid: float


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """Return McNemar's test of the hypothesis that two classifiers have the same accuracy.

    Let n = only_a + only_b be the number of discordant rows and m = min(only_a, only_b). Under the
    hypothesis, only_a has the distribution of X ~ Binomial(n, 1/2). The p-values are::

        exact = min(1, 2 P(X <= m))        mid = min(1, 2 P(X <= m) - P(X = m))

    The exact test is conservative. The mid-p-value is close to its nominal level also for small n
    (Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data", BMC Medical
    Research Methodology 13:91, 2013). Without discordant rows both p-values are 1.

    Args:
        only_a: The number of rows that only a predicts correctly.
        only_b: The number of rows that only b predicts correctly.

    Raises:
        UsageError: A number is negative.

    >>> test = mcnemar(1, 5)
    >>> print(f"{test.exact:.5f} {test.mid:.5f}")
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
    """The metric of a minus the metric of b, with its interval.

    Attributes:
        value: float ``(...)``; NaN where the difference is undefined.
        low: float ``(...)``, the lower limit; NaN where the interval is undefined.
        high: float ``(...)``, the upper limit; NaN where the interval is undefined.
    """

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
    """Return the difference of every metric (a minus b) with a percentile bootstrap interval.

    Both classifiers are evaluated on the same resampled rows. This removes the variance that comes from
    images that are difficult for both. As in ``intervals.bootstrap``, a resample is one multinomial draw,
    here of the joint counts.

    Args:
        counts: The joint counts of a and b.
        metrics: A function from tables ``(R, K, M, K)`` to float arrays ``(R, ...)`` by metric name.
        rng: The generator of the bootstrap; no other computation may use it.
        replicates: The number of resamples.
        level: The nominal coverage.

    Returns:
        The difference by metric name. The limits are NaN where more than 5 % of the replicates are undefined.
    """

    def compute_differences(n: Array) -> dict[str, Array]:
        metrics_a, metrics_b = (metrics(table) for table in counts.tables(n))
        return {name: np.asarray(metrics_a[name] - metrics_b[name]) for name in metrics_a}

    size = max(1, _BLOCK // max(len(counts.n), counts.n_labels**2 * counts.n_bias, 1))
    return bootstrap_differences(counts, compute_differences, rng, replicates, level, size)


def bootstrap_differences(
    counts: JointCounts,
    compute_differences: Callable[[Array], Mapping[str, Array]],
    rng: np.random.Generator,
    replicates: int,
    level: float,
    size: int,
) -> dict[str, MetricDifference]:
    """Return differences with percentile bootstrap intervals; the draws do not depend on ``size``.

    Args:
        counts: The joint counts of a and b.
        compute_differences: A function from rows ``(R, C)`` of each combination to float ``(R, ...)`` by
            name.
        rng: The generator of the bootstrap.
        replicates: The number of resamples.
        level: The nominal coverage.
        size: The number of resamples of a block.
    """
    values = {name: value[0] for name, value in compute_differences(counts.n[None]).items()}
    if len(counts.n) == 0:
        return {name: MetricDifference(value, value, value) for name, value in values.items()}
    total = int(counts.n.sum())
    blocks: dict[str, list[Array]] = {name: [] for name in values}
    for start in range(0, replicates, size):
        resamples = rng.multinomial(total, counts.n / total, min(size, replicates - start))
        for name, value in compute_differences(resamples).items():
            blocks[name].append(value)
    limits = {
        name: percentile_limits(np.concatenate(block), level) for name, block in blocks.items()
    }
    return {name: MetricDifference(value, *limits[name]) for name, value in values.items()}


@dataclass(frozen=True)
class SeedDifference:
    """A paired test over seeds.

    Attributes:
        n: The number of differences that the test uses.
        mean: The mean over all differences, NaN without one.
        p: The two-sided p-value, NaN where it is undefined.
    """

    n: int
    mean: float
    p: float


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike) -> SeedDifference:
    """Return the paired t-test of the differences a - b over seeds.

    With mean m and sample standard deviation s of the S differences, the statistic is::

        t = m / (s / sqrt(S))        with S - 1 degrees of freedom

    The p-value is NaN with fewer than two seeds, and where all differences are equal (s = 0). The interval
    of this test is ``intervals.t_interval`` of the differences.

    Args:
        a: float ``(S,)``, the metric of method a, one value per seed.
        b: float ``(S,)``, the metric of method b, in the same order of seeds.

    Raises:
        UsageError: The numbers of values differ, or a value is not finite.
    """
    from scipy import stats

    differences = _subtract(a, b)
    n = differences.size
    mean = float(differences.mean()) if n else float("nan")
    if n < 2 or np.ptp(differences) <= _TIE:
        return SeedDifference(n, mean, float("nan"))
    t = mean / (float(differences.std(ddof=1)) / np.sqrt(n))
    return SeedDifference(n, mean, float(2 * stats.t.sf(abs(t), n - 1)))


def wilcoxon(a: npt.ArrayLike, b: npt.ArrayLike) -> SeedDifference:
    """Return Wilcoxon's signed-rank test of the differences a - b over seeds.

    Wilcoxon, Biometrics Bulletin 1, 1945. Differences of 0 are left out. The n other differences are ranked
    by absolute value; tied values share their mean rank. The p-value is twice the smaller tail of the
    positive rank sum over all 2^n combinations of signs. It is exact, also with ties. It is at least
    2^(1 - n), for example 0.25 for 3 seeds. For n > 200 it is scipy's normal approximation. It is NaN with
    fewer than two seeds, and where all differences are 0.

    Args:
        a: float ``(S,)``, the metric of method a, one value per seed.
        b: float ``(S,)``, the metric of method b, in the same order of seeds.

    Returns:
        The test. ``n`` counts the differences that are not 0. ``mean`` is the mean over all differences.

    Raises:
        UsageError: The numbers of values differ, or a value is not finite.
    """
    from scipy import stats

    differences = _subtract(a, b)
    mean = float(differences.mean()) if differences.size else float("nan")
    nonzero = differences[np.abs(differences) > _TIE]
    n = nonzero.size
    if differences.size < 2 or n == 0:
        return SeedDifference(n, mean, float("nan"))
    if n > _EXACT:
        return SeedDifference(n, mean, float(stats.wilcoxon(nonzero, method="approx").pvalue))
    # Rounding makes 0.3 - 0.2 and 0.2 - 0.1 tied. Doubling makes mean ranks integers.
    ranks = np.rint(2 * stats.rankdata(np.round(np.abs(nonzero), 12))).astype(np.int64)
    sign_counts = np.ones(
        1
    )  # entry w: the number of combinations of signs with positive rank sum w
    for rank in ranks:
        sign_counts = np.pad(sign_counts, (0, rank)) + np.pad(sign_counts, (rank, 0))
    positive_sum = int(ranks[nonzero > 0].sum())
    smaller_sum = min(positive_sum, int(ranks.sum()) - positive_sum)
    tail = float(sign_counts[: smaller_sum + 1].sum() * 0.5**n)
    return SeedDifference(n, mean, min(1.0, 2 * tail))


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return Holm's adjusted p-values for a family of tests.

    Let p_0 <= ... <= p_(m-1) be the sorted p-values. The adjusted p-values are::

        q_i = max over j <= i of  min(1, (m - j) p_j)

    If every hypothesis with q <= alpha is rejected, the probability of at least one false rejection is at
    most alpha, for any dependence of the tests (Holm, Scandinavian Journal of Statistics 6, 1979). NaN marks
    a missing test: it stays NaN and does not count in m.

    Args:
        p_values: float ``(T,)``.

    Returns:
        float64 ``(T,)``, in the order of ``p_values``.

    Raises:
        UsageError: A value is outside 0..1, or the array is not one-dimensional.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1)).any():
        raise UsageError(f"expected p-values in 0..1, but got {p.tolist()}")
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN sorts last
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def _subtract(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return a - b, float64 ``(S,)``, after checking that both have one finite value per seed."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise UsageError(
            f"expected one value per seed for a and b, but got {first.shape} and {second.shape}"
        )
    is_finite = np.isfinite(first) & np.isfinite(second)
    if not is_finite.all():
        i = int(np.flatnonzero(~is_finite)[0])
        raise UsageError(
            f"expected finite values, but got a = {first[i]:g} and b = {second[i]:g} at index {i}; "
            "leave out the seeds without a value"
        )
    return first - second
