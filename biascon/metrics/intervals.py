"""Intervals over test images (bootstrap, Wilson) and over seeds (Student's t).

The bootstrap resamples N rows with replacement and counts them. The resulting table has a multinomial
distribution and is drawn directly, so the cost of a replicate depends on the number of table entries and
not on N.

A percentile interval of a maximum minus a minimum lies above 0 even if the true difference is 0. Use
``permutation`` to test whether there is a difference, and ``simultaneous_intervals`` for its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.utils.types import Array

LEVEL = 0.95
REPLICATES = 2000
_BLOCK = 500  # replicates per block
_BLOCK_CELLS = 1 << 22  # maximum number of table entries per block
_SMALL = 5  # maximum number of rows of a table entry that is drawn row by row


def resample(counts: Array, rng: np.random.Generator, replicates: int) -> Iterator[Array]:
    """Yield multinomial resamples of a table of counts in blocks.

    Args:
        counts: int, a table of any shape with at least one row.
        rng: The random generator.
        replicates: The number of resamples in all blocks together.

    Yields:
        int64 ``(R, *counts.shape)``. Each resample has as many rows as ``counts``.
    """
    flat = counts.reshape(-1)
    filled = np.flatnonzero(flat)
    for entries in draw_entries(flat[filled], rng, replicates, flat.size):
        # Replicates are adjacent in memory, so that a sum over cells adds long contiguous vectors.
        block = np.zeros((flat.size, entries.shape[1]), dtype=np.int64)
        block[filled] = entries
        yield block.T.reshape(-1, *counts.shape)


def draw_entries(
    filled: Array, rng: np.random.Generator, replicates: int, size: int
) -> Iterator[Array]:
    """Yield multinomial resamples of the table entries that have rows, in blocks.

    All table entries with few rows are first drawn together as one entry. Each row of this entry is then
    assigned to one of them. The distribution is the same. It is faster than one binomial draw for each of
    many small entries.

    Args:
        filled: int ``(F,)``, the numbers of rows of the entries, at least 1 each.
        rng: The random generator.
        replicates: The number of resamples in all blocks together.
        size: The number of entries of the table, with those without rows: it sets the size of a block.

    Yields:
        int64 ``(F, R)``.
    """
    small, large = np.flatnonzero(filled <= _SMALL), np.flatnonzero(filled > _SMALL)
    small_rows = np.repeat(np.arange(len(small)), filled[small])  # index of the small entry, by row
    n = int(filled.sum())
    share = (np.append(filled[large], len(small_rows)) if len(small_rows) else filled[large]) / n
    step = max(1, min(_BLOCK, _BLOCK_CELLS // size))
    for start in range(0, replicates, step):
        width = min(step, replicates - start)
        block = np.empty((len(filled), width), dtype=np.int64)
        drawn = rng.multinomial(n, share, size=width)
        block[large] = drawn[:, : len(large)].T
        if len(small_rows):
            # (entry, replicate) of each row
            index = (small_rows * width)[rng.integers(0, len(small_rows), drawn[:, -1].sum())]
            index += np.repeat(np.arange(width), drawn[:, -1])
            block[small] = np.bincount(index, minlength=len(small) * width).reshape(-1, width)
        yield block


def bootstrap(
    counts: Array,
    metrics: Callable[[Array], Mapping[str, Array]],
    rng: np.random.Generator,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> dict[str, tuple[Array, Array]]:
    """Return the percentile bootstrap interval of every metric of a table of counts.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        counts: int, a table of any shape.
        metrics: A function from tables ``(R, *counts.shape)`` to float arrays ``(R, ...)`` by metric name.
        rng: The generator of the bootstrap; no other computation may use it.
        replicates: The number of resamples.
        level: The nominal coverage.

    Returns:
        (low, high) by metric name, float ``(...)`` each. The limits are NaN where more than 5 % of the
        replicates are undefined, and for a table without rows.
    """
    if counts.sum() == 0:
        return {
            name: (np.full(value.shape[1:], np.nan), np.full(value.shape[1:], np.nan))
            for name, value in metrics(counts[None]).items()
        }
    blocks: dict[str, list[Array]] = {}
    for tables in resample(counts, rng, replicates):
        for name, value in metrics(tables).items():
            blocks.setdefault(name, []).append(value)
    return {
        name: percentile_limits(np.concatenate(values), level) for name, values in blocks.items()
    }


def percentile_limits(values: Array, level: float) -> tuple[Array, Array]:
    """Return the percentile interval of bootstrap replicates.

    Args:
        values: float ``(R, ...)``, NaN where a replicate is undefined.
        level: The nominal coverage.

    Returns:
        (low, high), float64 ``(...)`` each. Undefined replicates are left out. The limits are NaN where more
        than 5 % of the replicates are undefined.
    """
    tails = [(1 - level) / 2, (1 + level) / 2]
    columns = values.reshape(len(values), -1).T.copy()  # contiguous replicates of each entry
    undefined = np.isnan(columns)
    low, high = np.quantile(columns, tails, axis=1)  # NaN where any replicate is NaN
    for i in np.flatnonzero(undefined.any(axis=1) & (undefined.mean(axis=1) <= 0.05)):
        low[i], high[i] = np.quantile(columns[i, ~undefined[i]], tails)
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])


def wilson(successes: npt.ArrayLike, n: npt.ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Return Wilson's score interval of each rate successes / n.

    With r = successes / n and z the normal quantile of (1 + level) / 2::

        (r + z^2 / 2n  -+  z sqrt(r (1 - r) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Wilson, Journal of the American Statistical Association 22, 1927. The interval lies within 0..1 and has a
    positive width also for a rate of 0 or 1. It is valid for a single rate of independent rows, for example
    the top-1 accuracy or the accuracy of one cell. It is not valid for a mean, a minimum or a difference of
    rates.

    Args:
        successes: int, any shape.
        n: int, the number of rows, of a shape that broadcasts with ``successes``.
        level: The nominal coverage, between 0 and 1.

    Returns:
        (low, high), float64 of the broadcast shape each; NaN where n is 0.

    Raises:
        UsageError: 0 <= successes <= n does not hold, or the level is not between 0 and 1.

    >>> low, high = wilson(0, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.000 0.278
    """
    from scipy import stats

    k, rows = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(n, np.float64))
    is_valid = (k >= 0) & (k <= rows)
    if not is_valid.all():
        first = np.flatnonzero(~is_valid.reshape(-1))[0]
        raise UsageError(
            "expected 0 <= successes <= n, "
            f"but got {k.reshape(-1)[first]:g} successes and n = {rows.reshape(-1)[first]:g}"
        )
    if not 0 < level < 1:
        raise UsageError(f"expected a level between 0 and 1, but got {level}")
    z = float(stats.norm.ppf((1 + level) / 2))
    rows_or_nan = np.where(rows > 0, rows, np.nan)
    rate, extra = k / rows_or_nan, z * z / rows_or_nan
    center = (rate + extra / 2) / (1 + extra)
    half_width = np.sqrt(extra * (rate * (1 - rate) + extra / 4)) / (1 + extra)
    # Without rounding errors: exactly 0 for a rate of 0, exactly 1 for a rate of 1. 0 * NaN keeps NaN.
    low = np.where(k == 0, 0 * rows_or_nan, np.maximum(center - half_width, 0.0))
    high = np.where(k == rows, 1 + 0 * rows_or_nan, np.minimum(center + half_width, 1.0))
    return low, high


@dataclass(frozen=True)
class Mean:
    """A mean over n values with its t interval.

    Attributes:
        n: The number of values.
        mean: Their mean.
        sd: Their sample standard deviation (divisor n - 1), NaN for n = 1.
        low: The lower limit of the interval, NaN for n = 1.
        high: The upper limit of the interval, NaN for n = 1.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float

    @property
    def decides(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def t_interval(values: npt.ArrayLike, level: float = LEVEL) -> Mean:
    """Return the mean of the values with Student's t interval.

    With t the quantile of (1 + level) / 2 for n - 1 degrees of freedom::

        mean -+ t sd / sqrt(n)

    For paired differences this is the paired t interval.

    Args:
        values: float, any shape; all entries are used.
        level: The nominal coverage.

    Raises:
        UsageError: There is no value.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise UsageError("expected at least one value, but got none")
    mean = float(x.mean())
    if x.size == 1:
        return Mean(1, mean, float("nan"), float("nan"), float("nan"))
    sd = float(x.std(ddof=1))
    half_width = float(stats.t.ppf((1 + level) / 2, x.size - 1)) * sd / float(np.sqrt(x.size))
    return Mean(int(x.size), mean, sd, mean - half_width, mean + half_width)
