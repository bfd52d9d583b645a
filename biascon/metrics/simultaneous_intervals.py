"""Simultaneous intervals: the worst group, and differences and ratios over groups.

The percentile bootstrap is not valid for a maximum or a minimum over groups. Noise raises a maximum and
lowers a minimum, first in the data and again in every resample. In a simulation with 100 cells of 100
rows, the bootstrap intervals of the mean demographic parity difference covered the true value in none of
200 tables, and often did not contain their own estimate. The intervals of this module are conservative:
their coverage is designed to be at least the requested level. ``docs/coverage.md`` counts it.

- Worst group: the exact interval of each cell (Clopper and Pearson, Biometrika 26, 1934) at Sidak's
  level (Sidak, Journal of the American Statistical Association 62, 1967). All cells are then covered
  together. The limits are the smallest lower limit and the smallest upper limit. Wilson's interval is not
  used: at Sidak's level, with 100 cells of 4 rows, its coverage was 73 %.
- Difference over groups, D = max_g r_g - min_g r_g, and ratio min_g r_g / max_g r_g: the limits of all
pairs
  of groups at a common critical value (``pair_limits``). For equalized odds, both rates hold together, and
  the worse of the limits counts.
- Difference over three or more groups of nearly equal size: the bootstrap of the range of errors, which is
  narrower. Let e_g be the error of the estimated rate of group g. The error of D is at most E = max_g e_g -
  min_g e_g in either direction, for any rates. The limits are the estimate -+ the 95 % quantile of E under
  the bootstrap, clipped to 0..1. "Nearly equal" is decided by the rows of each label in each group, before
  any prediction is seen: the largest denominator of the rate is at most ``EQUAL`` times the smallest one,
  and the smallest is at least ``MIN_ROWS``. The denominators of the precision depend on the predictions;
  those of equalized odds decide in their place.
- Mean over classes of D: each class has the lower limit of one pair and the upper limit of all pairs as
  functions of its critical value. In each replicate, the critical values of the classes are quantiles of T
  (``pair_limits``), at the ranks that their ranges of errors E have among the replicates of the bootstrap.
  So each class has the distribution of T, and classes depend on each other as in the data. The limits are
  the quantiles (1 - level) and level of the means over classes. For the ratio, upper and lower change
  roles.

A rate of 0 or 1 has no error under the bootstrap. Therefore one right row and one wrong row are added to
every cell before resampling (Agresti and Coull, The American Statistician 52, 1998, add two of each).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.metrics import fairness
from biascon.metrics.accuracy import correct
from biascon.metrics.intervals import LEVEL, REPLICATES
from biascon.metrics.margins import Margins, resample_margins
from biascon.metrics.pair_limits import GroupLimits, critical_value, critical_values
from biascon.utils.types import Array

Limits = tuple[Array, Array]

# The rates that each comparison of groups uses. Where it uses two rates, the worse of them counts.
COMPARED = {
    "demographic_parity": ("selection",),
    "equalized_odds": ("true_positive", "false_positive"),
    "equal_opportunity": ("true_positive",),
    "predictive_parity": ("precision",),
}
# The denominators that decide whether groups are of nearly equal size: they do not depend on predictions.
_SIZES = {**COMPARED, "predictive_parity": COMPARED["equalized_odds"]}
EQUAL = 2.0  # groups of nearly equal size: the largest has at most so many times the rows of the smallest
MIN_ROWS = 10  # ... and the smallest at least so many rows
_CRITICAL = np.linspace(
    0.0, 7.0, 15
)  # critical values for which the limits of a class are computed


def worst_group_limits(counts: Array, level: float = LEVEL) -> Limits:
    """Return the interval of the worst-group accuracy: the smallest accuracy over the cells with rows.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        level: The minimum coverage, if the rows are independent.

    Returns:
        (low, high), float64 ``()`` each; NaN without rows.
    """
    from scipy import stats

    rows = counts.sum(axis=-1)
    has_rows = rows > 0
    if not has_rows.any():
        return np.asarray(np.nan), np.asarray(np.nan)
    hits, n = correct(counts)[has_rows], rows[has_rows]
    tail = (1 - level ** (1 / len(n))) / 2
    low = np.where(hits > 0, stats.beta.ppf(tail, np.maximum(hits, 1), n - hits + 1), 0.0)
    high = np.where(hits < n, stats.beta.isf(tail, hits + 1, np.maximum(n - hits, 1)), 1.0)
    return np.asarray(low.min()), np.asarray(high.min())


def comparison_limits(
    counts: Array,
    points: Mapping[str, Array],
    rng: np.random.Generator,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> dict[str, Limits]:
    """Return the intervals of the comparisons of groups, for each class and for the mean over classes.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        points: float ``(K,)`` by metric name: the estimates, for metrics of ``fairness.METRICS`` and
            ``fairness.PARITY_METRICS``. Where an estimate is NaN, its limits are NaN, and so are
            those of the mean if the class is the label of a row.
        rng: The generator of the bootstrap; no other computation may use it.
        replicates: The number of resamples.
        level: The minimum coverage.

    Returns:
        ``{name: (low, high), "class/" + name: (low, high)}`` for the metrics in ``points``, float ``()``
        for the mean over classes and float ``(K,)`` for the classes.
    """
    present = counts.sum(axis=(0, 2)) > 0
    if present.sum() < 2:
        return {
            name: (np.full(shape, np.nan),) * 2
            for metric, value in points.items()
            for name, shape in ((metric, ()), (f"class/{metric}", value.shape))
        }
    counts = counts[:, present]
    is_label = counts.sum(axis=(1, 2)) > 0  # the mean is over these classes
    rates = Margins.of(counts).numerators_and_denominators()
    errors = functools.cache(lambda: _bootstrap_error_ranges(counts, rng, replicates))
    limits: dict[str, Limits] = {}
    for metric, value in points.items():
        comparison, _, kind = metric.rpartition("_")
        names = COMPARED[comparison]
        sizes = [rates[name][1] for name in _SIZES[comparison]]
        compared = _Compared(
            [rates[name] for name in names],
            _find_equal_groups(sizes, value),
            functools.partial(_take_largest, errors, names),
            value,
            fairness.average_labeled(value, counts),
            level,
        )
        labels = dataclasses.replace(compared, value=np.where(is_label, value, np.nan))
        if kind == "ratio":
            class_limits, mean_limits = compared.limit_ratio(), labels.limit_mean_ratio()
        elif compared.has_equal_groups:
            class_limits, mean_limits = compared.limit_range(), labels.limit_mean_range()
        else:
            class_limits, mean_limits = compared.limit_difference(), labels.limit_mean_difference()
        limits[f"class/{metric}"], limits[metric] = class_limits, mean_limits
    return limits


@dataclass(frozen=True, eq=False)
class _Compared:
    """One comparison of groups.

    Attributes:
        rates: The numerators and denominators ``(K, M)`` of the compared rates. has_equal_groups: Whether
        the groups are of nearly equal size, for each class with a defined estimate. error: float ``(R,
        K)``, the largest range over the groups of the bootstrap errors of the rates. value: float ``(K,)``,
        the estimates; NaN where undefined. mean: float ``()``, the mean of the estimates over classes.
        level: The minimum coverage.
    """

    rates: list[tuple[Array, Array]]
    has_equal_groups: bool
    error: Callable[[], Array]
    value: Array
    mean: Array
    level: float

    @property
    def defined(self) -> npt.NDArray[np.bool_]:
        """bool ``(K,)``, the classes whose estimate is defined."""
        return ~np.isnan(self.value)

    @property
    def groups(self) -> int:
        """M."""
        return int(self.rates[0][0].shape[-1])

    def limit_range(self) -> Limits:
        """Return the estimate of each class -+ the quantile of the range of errors."""
        return _subtract_and_add(self.value, self.error(), self.level)

    def limit_mean_range(self) -> Limits:
        """Return the mean over classes -+ the quantile of the mean range of errors."""
        if not self.defined.any():
            return _undefined()
        return _subtract_and_add(self.mean, self.error()[:, self.defined].mean(axis=1), self.level)

    def limit_difference(self) -> Limits:
        """Return the limits of the largest difference of each class, from all pairs."""
        if not self.defined.any():
            return self._fill(np.nan), self._fill(np.nan)
        limits = [rate.limit_difference() for rate in self._limit_rates(self._critical_value)]
        low, high = (np.maximum.reduce(side) for side in zip(*limits, strict=True))
        return self._fill(low), self._fill(high)

    def limit_mean_difference(self) -> Limits:
        """Return the limits of the mean over classes of the largest difference."""
        if np.isnan(self.mean):
            return _undefined()
        rates = self._limit_rates(_CRITICAL)
        upper = np.maximum.reduce([rate.limit_difference()[1] for rate in rates])
        # The lower limit is that of one pair for all critical values: the pair with the largest limit at
        # the level. The largest limit of several pairs would be biased upward in the mean.
        at_level = self._limit_rates(self._critical_value)
        pairs = [rate.find_pair() for rate in at_level]
        best = np.stack(
            [r.limit_pair_difference(*pair) for r, pair in zip(at_level, pairs, strict=True)]
        ).argmax(axis=0)
        curves = [
            rate.limit_pair_difference(g[:, None], h[:, None])
            for rate, (g, h) in zip(rates, pairs, strict=True)
        ]
        return self._average(_choose(curves, best), upper)

    def limit_ratio(self) -> Limits:
        """Return the limits of the smallest ratio of each class, from all pairs."""
        if not self.defined.any():
            return self._fill(np.nan), self._fill(np.nan)
        limits = [rate.limit_ratio() for rate in self._limit_rates(self._critical_value)]
        low, high = (np.minimum.reduce(side) for side in zip(*limits, strict=True))
        value = self.value[self.defined]
        return self._fill(np.minimum(low, value)), self._fill(np.maximum(high, value))

    def limit_mean_ratio(self) -> Limits:
        """Return the limits of the mean over classes of the smallest ratio."""
        if np.isnan(self.mean):
            return _undefined()
        rates = self._limit_rates(_CRITICAL)
        lower = np.minimum.reduce([rate.limit_ratio()[0] for rate in rates])
        at_level = self._limit_rates(self._critical_value)
        pairs = [rate.find_ratio_pair() for rate in at_level]
        best = np.stack(
            [r.limit_pair_ratio(*pair) for r, pair in zip(at_level, pairs, strict=True)]
        ).argmin(axis=0)
        curves = [
            rate.limit_pair_ratio(g[:, None], h[:, None])
            for rate, (g, h) in zip(rates, pairs, strict=True)
        ]
        return self._average(lower, _choose(curves, best))

    @property
    def _critical_value(self) -> npt.NDArray[np.float64]:
        """c of the level, float ``(1,)``."""
        return np.asarray([critical_value(self.groups, self.level, len(self.rates))])

    def _limit_rates(self, c: npt.NDArray[np.float64]) -> list[GroupLimits]:
        """Return limits of the rates of the defined classes at C critical values: ``(K, C, M)``.

        With one critical value, the axis of the critical values is left out.
        """
        defined = [
            (k[self.defined].astype(float), n[self.defined].astype(float)) for k, n in self.rates
        ]
        if len(c) == 1:
            return [GroupLimits.of(k, n, c[0]) for k, n in defined]
        return [GroupLimits.of(k[:, None], n[:, None], c) for k, n in defined]

    def _fill(self, values: Array | float) -> Array:
        """Return values of the defined classes as float ``(K,)``, NaN for the others."""
        filled = np.full(self.value.shape, np.nan)
        filled[self.defined] = values
        return filled

    def _draw_critical_values(self) -> Array:
        """Return a critical value for each replicate and each defined class, float ``(R, K)``."""
        error = self.error()[:, self.defined]
        ranks = error.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        return critical_values(self.groups, (ranks + 0.5) / len(error), len(self.rates))

    def _average(self, lower: Array, upper: Array) -> Limits:
        """Return quantiles over the replicates of the mean over classes of limits ``(K, C)``."""
        c = self._draw_critical_values()
        low, high = (
            np.mean([np.interp(c[:, k], _CRITICAL, curve) for k, curve in enumerate(side)], axis=0)
            for side in (lower, upper)
        )
        return (
            np.clip(np.quantile(low, 1 - self.level), 0.0, self.mean),
            np.clip(np.quantile(high, self.level), self.mean, 1.0),
        )


def _take_largest(errors: Callable[[], dict[str, Array]], names: Sequence[str]) -> Array:
    """Return the largest error of the named rates, float ``(R, K)``."""
    largest: Array = np.maximum.reduce([errors()[name] for name in names])
    return largest


def _find_equal_groups(sizes: list[Array], value: Array) -> bool:
    """Return whether the denominators ``(K, M)`` of every defined class are nearly equal over groups."""
    rows = np.stack(sizes)[:, ~np.isnan(value)]
    smallest, largest = rows.min(axis=-1), rows.max(axis=-1)
    is_equal = (largest <= EQUAL * smallest) & (smallest >= MIN_ROWS)
    return rows.shape[-1] > 2 and bool(is_equal.all())


def _bootstrap_error_ranges(
    counts: Array, rng: np.random.Generator, replicates: int
) -> dict[str, Array]:
    """Return the range over groups of the bootstrap errors of each rate, float64 ``(R, K)``, by name."""
    extended = _add_rows(counts)
    reference = Margins.of(extended).numerators_and_denominators()
    rates = {name: hits / np.maximum(rows, 1) for name, (hits, rows) in reference.items()}
    # Adding rows narrows the intervals of small cells. The errors are scaled by (rows with the added
    # ones) / (rows). The square root of this factor would restore the variance; the factor itself also
    # keeps the coverage of cells of 2 to 5 rows.
    scale = {
        name: reference[name][1] / np.maximum(rows, 1)
        for name, (_, rows) in Margins.of(counts).numerators_and_denominators().items()
    }
    errors: dict[str, list[Array]] = {name: [] for name in reference}
    for block in resample_margins(extended, rng, replicates):
        for name, (hits, rows) in block.numerators_and_denominators().items():
            rate = rates[name]
            # A group that lost all rows in the resample gets the largest possible error.
            error = np.where(
                rows > 0, hits / np.maximum(rows, 1) - rate, np.where(rate < 0.5, 1.0, -1.0)
            )
            error *= scale[name]
            errors[name].append(error.max(axis=-1) - error.min(axis=-1))
    return {name: np.concatenate(blocks) for name, blocks in errors.items()}


def _add_rows(counts: Array) -> Array:
    """Add to every cell with rows one right row, and one row with the label's most frequent error."""
    errors = counts.sum(axis=1)  # (K, K): label x prediction
    np.fill_diagonal(errors, -1)
    extended = counts.copy()
    for label, frequent_error in enumerate(errors.argmax(axis=1)):
        has_rows = counts[label].sum(axis=-1) > 0
        extended[label, has_rows, label] += 1
        extended[label, has_rows, frequent_error] += 1
    return extended


def _choose(curves: list[Array], best: Array) -> Array:
    """Return, for each class, the curve ``(K, C)`` of the rate with the index ``best`` ``(K,)``."""
    return np.stack(curves)[best, np.arange(len(best))]


def _subtract_and_add(value: Array, error: Array, level: float) -> Limits:
    """Return value -+ the quantile of the errors ``(R, ...)``, clipped to 0..1."""
    radius = np.quantile(error, level, axis=0)
    return np.maximum(value - radius, 0.0), np.minimum(value + radius, 1.0)


def _undefined() -> Limits:
    return np.asarray(np.nan), np.asarray(np.nan)
