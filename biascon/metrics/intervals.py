"""Intervals: over test images by a multinomial bootstrap on counts, over seeds by Student's t.

Resampling N rows with replacement and counting them is one multinomial draw of the counts, so a
replicate costs as much as the table has cells, whatever N is. A percentile interval of a maximum
minus a minimum lies above 0 even where there is no disparity: it says how large, not whether.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError

Array = npt.NDArray[Any]
LEVEL = 0.95
REPLICATES = 2000
_BLOCK = 500
_BLOCK_CELLS = 1 << 22  # replicates of a large table are drawn fewer at a time


def resample(counts: Array, rng: np.random.Generator, replicates: int) -> Iterator[Array]:
    """Yield blocks ``(R, *counts.shape)`` of multinomial resamples of a table, replicates in all."""
    flat = counts.reshape(-1)
    filled = np.flatnonzero(flat)
    n = int(flat.sum())
    step = max(1, min(_BLOCK, _BLOCK_CELLS // flat.size))
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        block = np.zeros((size, flat.size), dtype=np.int64)
        block[:, filled] = rng.multinomial(n, flat[filled] / n, size=size)
        yield block.reshape(size, *counts.shape)


def bootstrap(
    counts: Array,
    metrics: Callable[[Array], Mapping[str, Array]],
    rng: np.random.Generator,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> dict[str, tuple[Array, Array]]:
    """Return percentile intervals (low, high) of every metric of a table of counts.

    Args:
        counts: Any table of non-negative integers.
        metrics: Maps tables ``(R, *shape)`` to arrays ``(R, ...)`` by name.
        rng: A generator of its own purpose.
        replicates: How many resamples.
        level: The coverage aimed at.

    Returns:
        For each metric its limits, NaN where more than 5 % of the replicates are undefined.
    """
    if counts.sum() == 0:
        return {
            name: (np.full(value.shape[1:], np.nan), np.full(value.shape[1:], np.nan))
            for name, value in metrics(counts[None]).items()
        }
    parts: dict[str, list[Array]] = {}
    for block in resample(counts, rng, replicates):
        for name, value in metrics(block).items():
            parts.setdefault(name, []).append(value)
    return {name: _limits(np.concatenate(values), level) for name, values in parts.items()}


def _limits(values: Array, level: float) -> tuple[Array, Array]:
    tails = [(1 - level) / 2, (1 + level) / 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanquantile(values, tails, axis=0)
    undefined = np.isnan(values).mean(axis=0) > 0.05
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


@dataclass(frozen=True)
class Mean:
    """A mean over n values with its sample standard deviation and t interval (NaN below two)."""

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

    Of paired differences this is the paired t interval.

    Raises:
        UsageError: No value.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise UsageError("expected at least one value, but got none")
    mean = float(x.mean())
    if x.size == 1:
        return Mean(1, mean, float("nan"), float("nan"), float("nan"))
    sd = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, x.size - 1)) * sd / float(np.sqrt(x.size))
    return Mean(int(x.size), mean, sd, mean - half, mean + half)
