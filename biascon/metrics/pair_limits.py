"""Limits of the largest difference and of the smallest ratio of rates of several groups, from all pairs.

Each pair of groups has an interval at a common critical value c, so that all of them hold together. With
standard errors s_gh, c is the quantile of T = max_gh |e_gh| / s_gh. For M independent normal rates the
quantile of (range of M standard normal numbers) / sqrt(2) is an upper bound of it, and equal to it where all
standard errors are equal (Hayter, "A proof of the conjecture that the Tukey-Kramer multiple comparisons
procedure is conservative", Annals of Statistics 12, 1984). It is 1.96 for two groups at 95 %. No step needs
resampling.

Each rate r has the limits l and u at c: the wider of Wilson's and Jeffreys' limits. Wilson's alone are too
narrow for large c and few rows (c = 3.2 for ten groups). A pair (g, h) has the limits of MOVER (Zou and
Donner, Statistics in Medicine 27, 2008), which with Wilson's limits are those of Newcombe (Statistics in
Medicine 17, 1998, method 10)::

    r_g - r_h - sqrt((r_g - l_g)^2 + (u_h - r_h)^2),   r_g - r_h + sqrt((u_g - r_g)^2 + (r_h - l_h)^2)

The ratio r_g / r_h has the same limits on the scale of logarithms (same paper). There, a rate is replaced by
(hits + 1/2) / (rows + 1) where that lies within its limits, so that 0 has a logarithm.

The limits of the largest difference are the largest lower and the largest upper limit of all pairs; those of
the smallest ratio are the smallest ones.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.metrics.rate_intervals import jeffreys_quantiles
from biascon.utils.types import Array

Limits = tuple[Array, Array]

MAX_PAIRED = 40  # groups; of more groups, those that can be in an extreme pair are compared
_ANGLES = np.linspace(0.0, np.pi / 2, 9)
_GRID = np.linspace(0.0, 8.0, 401)  # critical values for which the distribution of T is tabulated
_SMALLEST = 1e-12  # in place of a limit of 0 in logarithms


def critical_value(groups: int, level: float, rates: int = 1) -> float:
    """Return c: the bound of the quantile of T for ``rates`` independent sets of ``groups`` rates.

    >>> print(f"{critical_value(2, 0.95):.3f} {critical_value(4, 0.95):.3f}")
    1.960 2.569
    """
    return float(critical_values(groups, np.asarray(level), rates))


def critical_values(groups: int, levels: Array, rates: int = 1) -> Array:
    """Return ``critical_value`` for each level, in the shape of ``levels``.

    Args:
        groups: M, at least 2.
        levels: float, between 0 and 1.
        rates: The number of independent sets of rates that hold together.
    """
    values: Array = np.interp(levels ** (1 / rates), _tabulate_distribution(groups), _GRID)
    return values


@functools.lru_cache(maxsize=256)
def _tabulate_distribution(groups: int) -> npt.NDArray[np.float64]:
    """Return P(range of M normal numbers <= sqrt(2) c) for the critical values c of ``_GRID``."""
    from scipy import special

    x = np.linspace(-9.0, 9.0, 1201)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    within = special.ndtr(x + np.sqrt(2) * _GRID[:, None]) - special.ndtr(x)
    steps = density * within ** (groups - 1) * (x[1] - x[0])
    return np.asarray(np.clip(groups * steps.sum(axis=1), 0.0, 1.0), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class GroupLimits:
    """The rates of several groups with limits at one or several critical values.

    Attributes:
        rate: float ``(..., M)``.
        low: float ``(..., M)``, l.
        high: float ``(..., M)``, u.
        center: float ``(..., M)``, the rate that has a logarithm.
    """

    rate: Array
    low: Array
    high: Array
    center: Array

    @classmethod
    def of(cls, hits: Array, n: Array, c: Array | float) -> GroupLimits:
        """Return the limits of the rates hits / n.

        Args:
            hits: float ``(..., M)``, the numerators.
            n: float ``(..., M)``, the denominators, above 0.
            c: The critical value, of a shape that broadcasts with ``(...)``.
        """
        from scipy import special

        critical = np.asarray(c, np.float64)[..., None]
        rate = hits / n
        extra = critical**2 / n
        middle = (rate + extra / 2) / (1 + extra)
        radius = np.sqrt(extra * (rate * (1 - rate) + extra / 4)) / (1 + extra)
        low, high = jeffreys_quantiles(*np.broadcast_arrays(hits, n, special.ndtr(-critical)))
        low, high = np.minimum(low, middle - radius), np.maximum(high, middle + radius)
        low = np.where(hits == 0, 0.0, np.clip(low, 0.0, rate))
        high = np.where(hits == n, 1.0, np.clip(high, rate, 1.0))
        return cls(rate, low, high, np.clip((hits + 0.5) / (n + 1), low, high))

    def limit_difference(self) -> Limits:
        """Return the limits of the largest minus the smallest rate, float ``(...)`` within 0..1 each."""
        below, above = self.rate - self.low, self.high - self.rate
        lower = _largest_over_pairs(self.rate, below, -self.rate, above, -1.0)
        upper = _largest_over_pairs(self.rate, above, -self.rate, below, 1.0)
        return np.maximum(lower, 0.0), np.minimum(upper, 1.0)

    def limit_ratio(self) -> Limits:
        """Return the limits of the smallest rate / the largest rate, float ``(...)`` within 0..1 each."""
        log, below, above = self._logarithms()
        lower = np.exp(-_largest_over_pairs(-log, below, log, above, 1.0))
        # The upper limit of r_g / r_h is 1 / (the lower limit of r_h / r_g).
        upper = np.exp(-_largest_over_pairs(log, below, -log, above, -1.0))
        lower = np.where((self.low == 0).any(axis=-1), 0.0, lower)
        return np.minimum(lower, 1.0), np.minimum(upper, 1.0)

    def find_pair(self) -> tuple[Array, Array]:
        """Return the groups g and h, int ``(...)``, for which the lower limit of r_g - r_h is largest."""
        return _find_largest(self.rate, self.rate - self.low, -self.rate, self.high - self.rate)

    def find_ratio_pair(self) -> tuple[Array, Array]:
        """Return the groups g and h, int ``(...)``, for which the upper limit of r_h / r_g is smallest."""
        log, below, above = self._logarithms()
        return _find_largest(log, below, -log, above)

    def limit_pair_difference(self, g: Array, h: Array) -> Array:
        """Return the lower limit of r_g - r_h, float ``(...)``, of two groups int ``(...)``."""
        below, above = self.rate - self.low, self.high - self.rate
        rate, other = _take(self.rate, g), _take(self.rate, h)
        lower: Array = rate - other - np.hypot(_take(below, g), _take(above, h))
        return lower

    def limit_pair_ratio(self, g: Array, h: Array) -> Array:
        """Return the upper limit of r_h / r_g of two groups int ``(...)``, float ``(...)``, also above 1."""
        log, below, above = self._logarithms()
        lower = _take(log, g) - _take(log, h) - np.hypot(_take(below, g), _take(above, h))
        return np.asarray(np.exp(-lower))

    def _logarithms(self) -> tuple[Array, Array, Array]:
        """Return log r, log r - log l and log u - log r, float ``(..., M)`` each."""
        low, center, high = (
            np.log(np.maximum(x, _SMALLEST)) for x in (self.low, self.center, self.high)
        )
        return center, center - low, high - center


def _take(values: Array, index: Array) -> Array:
    """Return the value of one group, float ``(...)``."""
    shape = (*np.broadcast_shapes(values.shape[:-1], index.shape), values.shape[-1])
    at = np.broadcast_to(index, shape[:-1])[..., None]
    taken: Array = np.take_along_axis(np.broadcast_to(values, shape), at, axis=-1)[..., 0]
    return taken


def _pair_limits(first: Array, a: Array, second: Array, b: Array, sign: float) -> Array:
    """Return first_g + second_h + sign sqrt(a_g^2 + b_h^2) for all pairs, ``(..., M, M)``, -inf for g = h."""
    limits: Array = np.sqrt((a * a)[..., :, None] + (b * b)[..., None, :])
    limits *= sign
    limits += first[..., :, None]
    limits += second[..., None, :]
    diagonal = np.arange(first.shape[-1])
    limits[..., diagonal, diagonal] = -np.inf
    return limits


def _find_largest(first: Array, a: Array, second: Array, b: Array) -> tuple[Array, Array]:
    """Return the groups of the largest of ``_pair_limits`` with the sign -1, int ``(...)`` each."""
    kept = _find_extreme(first, a, second, b, -1.0)
    first, a, second, b = (x[..., kept] for x in (first, a, second, b))
    limits = _pair_limits(first, a, second, b, -1.0)
    flat = limits.reshape(*limits.shape[:-2], len(kept) ** 2).argmax(axis=-1)
    return kept[flat // len(kept)], kept[flat % len(kept)]


def _largest_over_pairs(first: Array, a: Array, second: Array, b: Array, sign: float) -> Array:
    """Return the maximum of ``_pair_limits`` over all pairs."""
    kept = _find_extreme(first, a, second, b, sign)
    first, a, second, b = (x[..., kept] for x in (first, a, second, b))
    return np.asarray(_pair_limits(first, a, second, b, sign).max(axis=(-2, -1)))


def _find_extreme(
    first: Array, a: Array, second: Array, b: Array, sign: float
) -> npt.NDArray[np.intp]:
    """Return the groups that can be in the largest pair, in order; all of up to ``MAX_PAIRED`` groups.

    sqrt(a^2 + b^2) is the maximum over t of a cos t + b sin t. For each of several t, the groups with the two
    largest values of first + sign a cos t and of second + sign b sin t are kept.
    """
    groups = a.shape[-1]
    if groups <= MAX_PAIRED:
        return np.arange(groups)
    kept = [
        np.argpartition(value + sign * radius * factor, -2, axis=-1)[..., -2:].reshape(-1)
        for value, radius, factors in ((first, a, np.cos(_ANGLES)), (second, b, np.sin(_ANGLES)))
        for factor in factors
    ]
    return np.unique(np.concatenate(kept))
