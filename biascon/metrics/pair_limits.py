"""Limits of the largest difference and of the smallest ratio of rates of several groups, from all pairs.

Each pair of groups has an interval at a common critical value c, so that all of them hold together. With
standard errors s_gh, c is the quantile of T = max_gh |e_gh| / s_gh. For M independent normal rates the
quantile of (range of M standard normal numbers) / sqrt(2) is an upper bound of it, and equal to it where
all standard errors are equal (Hayter, "A proof of the conjecture that the Tukey-Kramer multiple comparisons
procedure is conservative", Annals of Statistics 12, 1984). It is 1.96 for two groups at 95 %. No step needs
resampling.

- Difference of a pair: Newcombe's interval (Statistics in Medicine 17, 1998, method 10) from Wilson's
limits
  at c. The limits of the largest difference are the largest lower and the largest upper limit of all pairs.
- Ratio of a pair: the score interval of Koopman (Biometrics 40, 1984) at c. The limits of the smallest
ratio
  are the smallest lower and the smallest upper limit of all pairs.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from biascon.utils.types import Array

Limits = tuple[Array, Array]

MAX_PAIRED = 40  # groups; of more groups, those that can be in an extreme pair are compared
MAX_RATIO = 1e6
_ANGLES = np.linspace(0.0, np.pi / 2, 9)
_STEPS = 32  # halvings of 0..1: q / (1 + q) is exact to 1e-9
_PAIRS = 8  # pairs of each end whose ratio gets a score interval
_GRID = np.linspace(0.0, 8.0, 401)  # critical values for which the distribution of T is tabulated


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
    return np.clip(groups * steps.sum(axis=1), 0.0, 1.0)


def score_limits(rate: Array, n: Array, c: Array | float) -> Limits:
    """Return Wilson's limits of rates at the critical value c, for any shapes that broadcast."""
    extra = np.asarray(c) ** 2 / n
    center = (rate + extra / 2) / (1 + extra)
    radius = np.sqrt(extra * (rate * (1 - rate) + extra / 4)) / (1 + extra)
    low = np.where(rate == 0, 0.0, np.maximum(center - radius, 0.0))
    return low, np.where(rate == 1, 1.0, np.minimum(center + radius, 1.0))


def largest_difference(hits: Array, n: Array, c: Array | float) -> Limits:
    """Return the limits of the largest minus the smallest rate.

    Args:
        hits: float ``(..., M)``, the numerators of the rates.
        n: float ``(..., M)``, the denominators, above 0.
        c: The critical value, of a shape that broadcasts with ``(...)``.

    Returns:
        (low, high), float64 ``(...)`` within 0..1 each.
    """
    rate = hits / n
    low, high = score_limits(rate, n, np.asarray(c)[..., None])
    below, above = rate - low, high - rate
    lower = _largest_over_pairs(rate, below, -rate, above, -1.0)
    upper = _largest_over_pairs(rate, above, -rate, below, 1.0)
    return np.maximum(lower, 0.0), np.minimum(upper, 1.0)


def find_pair(hits: Array, n: Array, c: float) -> tuple[Array, Array]:
    """Return the groups g and h whose difference of rates has the largest lower limit at c.

    Args:
        hits: float ``(..., M)``, the numerators of the rates.
        n: float ``(..., M)``, the denominators, above 0.
        c: The critical value.

    Returns:
        g and h, int ``(...)`` each, with the larger rate in g.
    """
    rate = hits / n
    low, high = score_limits(rate, n, c)
    pairs = _pair_limits(rate, rate - low, -rate, high - rate, -1.0)
    flat = pairs.reshape(*pairs.shape[:-2], -1).argmax(axis=-1)
    return flat // n.shape[-1], flat % n.shape[-1]


def pair_difference(hits: Array, n: Array, g: Array, h: Array, c: Array) -> Array:
    """Return the lower Newcombe limit of r_g - r_h at each critical value, float ``(..., C)``.

    Args:
        hits: float ``(..., M)``.
        n: float ``(..., M)``, above 0.
        g: int ``(...)``, as ``find_pair`` returns it.
        h: int ``(...)``.
        c: float ``(C,)``, the critical values.
    """
    (rate_g, n_g), (rate_h, n_h) = (_take(hits / n, n, index) for index in (g, h))
    below, above = score_limits(rate_g, n_g, c)[0], score_limits(rate_h, n_h, c)[1]
    lower: Array = rate_g - rate_h - np.hypot(rate_g - below, above - rate_h)
    return lower


def pair_ratio(hits: Array, n: Array, g: Array, h: Array, c: Array) -> Array:
    """Return the upper score limit of the ratio r_h / r_g at each critical value, float ``(..., C)``.

    The arguments are those of ``pair_difference``. The limit may be above 1, and is at most ``MAX_RATIO``.
    """
    (hits_g, n_g), (hits_h, n_h) = (_take(hits, n, index) for index in (g, h))
    return np.asarray(1 / np.maximum(ratio_limit(hits_g, n_g, hits_h, n_h, c), 1 / MAX_RATIO))


def smallest_ratio(hits: Array, n: Array, c: Array | float) -> Limits:
    """Return the limits of the smallest rate divided by the largest rate.

    Args:
        hits: float ``(..., M)``, the numerators of the rates.
        n: float ``(..., M)``, the denominators, above 0.
        c: The critical value, of a shape that broadcasts with ``(...)``.

    Returns:
        (low, high), float64 ``(...)`` within 0..1 each.
    """
    hits, n = _keep_extreme(hits, n, c)
    first, second = _find_ratio_pairs(hits, n, np.asarray(c))
    shape = np.broadcast_shapes(hits.shape[:-1], first.shape[:-1])
    hits, n = (np.broadcast_to(x, (*shape, x.shape[-1])) for x in (hits, n))
    of_first, of_second = (
        [np.take_along_axis(x, index, axis=-1) for x in (hits, n)] for index in (first, second)
    )
    lower = ratio_limit(*of_first, *of_second, np.asarray(c)[..., None])
    # The upper limit of r_g / r_h is 1 / (the lower limit of r_h / r_g).
    return np.minimum(lower.min(axis=-1), 1.0), 1 / np.maximum(lower.max(axis=-1), 1.0)


def find_ratio_pair(hits: Array, n: Array, c: float) -> tuple[Array, Array]:
    """Return the groups g and h whose ratio r_h / r_g has the smallest upper limit at c, as ``find_pair``."""
    lower = _approximate_log_ratio(hits, n, np.asarray(c))
    flat = lower.reshape(*lower.shape[:-2], -1).argmax(axis=-1)
    return flat // n.shape[-1], flat % n.shape[-1]


def ratio_limit(hits: Array, n: Array, other_hits: Array, other_n: Array, c: Array) -> Array:
    """Return Koopman's lower limit of the ratio of two rates.

    For a ratio q, let p and p' be the maximum likelihood rates with p = q p'. The limit is the q for which
    (r - q r') / sqrt(p (1 - p) / n + q^2 p' (1 - p') / n') = c, found by bisection of q / (1 + q).

    Args:
        hits: float, the numerator of the rate r.
        n: float, its denominator.
        other_hits: float, the numerator of the rate r'.
        other_n: float, its denominator.
        c: float, the critical value. All shapes broadcast.

    Returns:
        float64; 0 where r is 0.

    >>> float(np.round(ratio_limit(*(np.asarray(x) for x in (36.0, 40.0, 16.0, 80.0, 1.96))), 3))
    2.939
    """
    x, m, y, k, c = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (hits, n, other_hits, other_n,
    c))) rate, other = x / m, y / k total, both = m + k, x + y low, high = np.zeros(x.shape),
    np.ones(x.shape) for _ in range(_STEPS):
        middle = (low + high) / 2
        q = middle / (1 - middle)
        b = q * (y + m) + x + k
        p_other = 2 * both / (b + np.sqrt(np.maximum(b * b - 4 * total * q * both, 0.0)))
        p = np.minimum(q * p_other, 1.0)
        variance = p * (1 - p) / m + q * q * p_other * (1 - np.minimum(p_other, 1.0)) / k
        is_below = rate - q * other > c * np.sqrt(np.maximum(variance, 0.0))
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return np.where(x == 0, 0.0, low / (1 - low))


def is_uninformative(low: float | None, high: float | None, *, width: float = 0.75) -> bool:
    """Return whether an interval within 0..1 leaves so much open that the rows say nothing.

    A difference of two groups of one row each has the interval 0 to 0.79 even if both rows are right. Print
    "too few rows" in place of such limits.

    Args:
        low: The lower limit of a rate, difference or ratio; None or NaN if it is undefined.
        high: The upper limit.
        width: The width from which an interval says nothing.

    Returns:
        Whether the interval is at least that wide; False for an undefined one.

    >>> is_uninformative(0.0, 0.79), is_uninformative(0.1, 0.4), is_uninformative(None, None)
    (True, False, False)
    """
    return low is not None and high is not None and high - low >= width


def _take(values: Array, n: Array, index: Array) -> tuple[Array, Array]:
    """Return the value and the rows of one group, float ``(..., 1)`` each."""
    at = index[..., None]
    return np.take_along_axis(values, at, axis=-1), np.take_along_axis(n, at, axis=-1)


def _pair_limits(first: Array, a: Array, second: Array, b: Array, sign: float) -> Array:
    """Return first_g + second_h + sign sqrt(a_g^2 + b_h^2) for all pairs, ``(..., G, H)``, -inf for g = h."""
    limits: Array = first[..., :, None] + second[..., None, :]
    limits = limits + sign * np.sqrt((a * a)[..., :, None] + (b * b)[..., None, :])
    diagonal = np.arange(first.shape[-1])
    limits[..., diagonal, diagonal] = -np.inf
    return limits


def _largest_over_pairs(first: Array, a: Array, second: Array, b: Array, sign: float) -> Array:
    """Return the maximum of ``_pair_limits`` over all pairs."""
    if first.shape[-1] > MAX_PAIRED:
        kept = _find_extreme(first, a, second, b, sign)
        first, a, second, b = (np.take_along_axis(x, kept, axis=-1) for x in (first, a, second, b))
    limits: Array = _pair_limits(first, a, second, b, sign).max(axis=(-2, -1))
    return limits


def _find_extreme(first: Array, a: Array, second: Array, b: Array, sign: float) -> Array:
    """Return the groups that can be in the largest pair, int ``(..., G)`` in order.

    sqrt(a^2 + b^2) is the maximum over t of a cos t + b sin t. For each of several t, the groups with the
    two largest values of first + sign a cos t and of second + sign b sin t are kept.
    """
    kept = [
        np.argpartition(value + sign * radius * factor, -2, axis=-1)[..., -2:]
        for value, radius, factors in ((first, a, np.cos(_ANGLES)), (second, b, np.sin(_ANGLES)))
        for factor in factors
    ]
    return _unique_rows(np.concatenate(kept, axis=-1), first.shape[-1])


def _unique_rows(kept: Array, groups: int) -> Array:
    """Return the different groups of all rows of ``kept`` together, broadcast to its leading shape."""
    every = np.unique(kept)
    if len(every) >= groups:
        every = np.arange(groups)
    return np.broadcast_to(every, (*kept.shape[:-1], len(every)))


def _keep_extreme(hits: Array, n: Array, c: Array | float) -> tuple[Array, Array]:
    """Return the rates that can be in the smallest ratio, by approximate limits of the logarithm."""
    if n.shape[-1] <= MAX_PAIRED:
        return hits, n
    log, below, above = _log_limits(hits, n, np.asarray(c))
    kept = np.concatenate(
        [
            _find_extreme(log, below, -log, above, -1.0),
            _find_extreme(-log, below, log, above, 1.0),
        ],
        axis=-1,
    )
    kept = _unique_rows(kept, n.shape[-1])
    return np.take_along_axis(hits, kept, axis=-1), np.take_along_axis(n, kept, axis=-1)


def _approximate_log_ratio(hits: Array, n: Array, c: Array) -> Array:
    """Return approximate lower limits of log(r_g / r_h) of all pairs, ``(..., M, M)``, -inf for g = h."""
    log, below, above = _log_limits(hits, n, c)
    return _pair_limits(log, below, -log, above, -1.0)


def _log_limits(hits: Array, n: Array, c: Array) -> tuple[Array, Array, Array]:
    """Return the logarithm of the rates, and the distances to the logarithms of Wilson's limits."""
    rate = hits / n
    low, high = score_limits(rate, n, c[..., None])
    low, center, high = (
        np.maximum(limit, 1e-12) for limit in (low, np.clip((hits + 0.5) / (n + 1), low, high), high)
    )
    return np.log(center), np.log(center / low), np.log(high / center)


def _find_ratio_pairs(hits: Array, n: Array, c: Array) -> tuple[Array, Array]:
    """Return the pairs (g, h) whose approximate limits are the smallest or the largest, int ``(..., P)`` each."""
    groups = n.shape[-1]
    every = np.flatnonzero(~np.eye(groups, dtype=bool))
    lower = _approximate_log_ratio(hits, n, c)
    lower = lower.reshape(*lower.shape[:-2], -1)[..., every]
    if len(every) <= 2 * _PAIRS:
        chosen = np.broadcast_to(every, lower.shape)
    else:
        order = np.argpartition(lower, [_PAIRS, len(every) - _PAIRS], axis=-1)
        chosen = every[np.concatenate([order[..., :_PAIRS], order[..., -_PAIRS:]], axis=-1)]
    return chosen // groups, chosen % groups
