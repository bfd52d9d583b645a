"""Intervals of two rates compared: difference, ratio and paired difference.

All of them start from Wilson's limits of the single rates (method MOVER: Zou and Donner, Statistics in
Medicine 27, 2008) and hold in small groups, where the normal approximation does not. Numbers of rows may
be fractions: the effective numbers of rows of weighted rates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biascon.metrics.counts import divide
from biascon.metrics.intervals import LEVEL, wilson
from biascon.utils.types import Array

Limits = tuple[Array, Array]


def difference_limits(
    hits: npt.ArrayLike,
    n: npt.ArrayLike,
    other_hits: npt.ArrayLike,
    other_n: npt.ArrayLike,
    level: float = LEVEL,
) -> Limits:
    """Return Newcombe's interval of the difference of two independent rates r - s.

    With Wilson's limits (l, u) of r and (k, v) of s::

        r - s - sqrt((r - l)^2 + (v - s)^2),   r - s + sqrt((u - r)^2 + (s - k)^2)

    Newcombe, "Interval estimation for the difference between independent proportions: comparison of eleven
    methods", Statistics in Medicine 17, 1998 (method 10).

    Args:
        hits: The numerator of r, any shape.
        n: The number of rows of r.
        other_hits: The numerator of s.
        other_n: The number of rows of s.
        level: The nominal coverage.

    Returns:
        (low, high), float64 in -1..1 each; NaN where a rate has no rows.

    >>> low, high = difference_limits(56, 70, 48, 80)
    >>> print(f"{low:.4f} {high:.4f}")
    0.0524 0.3339
    """
    rate, other = (
        divide(np.asarray(a), np.asarray(b)) for a, b in ((hits, n), (other_hits, other_n))
    )
    low, high = wilson(hits, n, level)
    other_low, other_high = wilson(other_hits, other_n, level)
    difference = rate - other
    below, above = (
        np.hypot(rate - low, other_high - other),
        np.hypot(high - rate, other - other_low),
    )
    return difference - below, difference + above


def ratio_limits(
    hits: npt.ArrayLike,
    n: npt.ArrayLike,
    other_hits: npt.ArrayLike,
    other_n: npt.ArrayLike,
    level: float = LEVEL,
) -> Limits:
    """Return the interval of the ratio of two independent rates r / s.

    With Wilson's limits (l, u) of r and (k, v) of s::

        (r s - sqrt((r s)^2 - l v (2 r - l) (2 s - v))) / (v (2 s - v))
        (r s + sqrt((r s)^2 - u k (2 r - u) (2 s - k))) / (k (2 s - k))

    Donner and Zou, "Closed-form confidence intervals for functions of the normal mean and standard
    deviation", Statistical Methods in Medical Research 21, 2012.

    Args:
        hits: The numerator of r, any shape.
        n: The number of rows of r.
        other_hits: The numerator of s.
        other_n: The number of rows of s.
        level: The nominal coverage.

    Returns:
        (low, high), float64 each; NaN where a rate has no rows or both are 0. The upper limit is infinite
        where s may be 0. Where s is 0 and r is not, the lower limit is sqrt(l (2 r - l)) / v.

    >>> low, high = ratio_limits(20, 200, 30, 200)
    >>> print(f"{low:.2f} {high:.2f}")
    0.39 1.13
    """
    rate, other = (
        divide(np.asarray(a), np.asarray(b)) for a, b in ((hits, n), (other_hits, other_n))
    )
    low, high = wilson(hits, n, level)
    other_low, other_high = wilson(other_hits, other_n, level)
    product = rate * other
    with np.errstate(divide="ignore", invalid="ignore"):
        # The radicands are sums of squares in exact arithmetic; rounding can make 0 slightly negative.
        lower_root = np.maximum(
            product**2 - low * other_high * (2 * rate - low) * (2 * other - other_high), 0.0
        )
        upper_root = np.maximum(
            product**2 - high * other_low * (2 * rate - high) * (2 * other - other_low), 0.0
        )
        scale = other_high * (2 * other - other_high)
        # Where 2 s = v the formula is 0 / 0; its other form has no such point.
        lower = np.where(
            np.abs(scale) > 1e-9,
            (product - np.sqrt(lower_root)) / scale,
            low * (2 * rate - low) / (2 * product),
        )
        upper = (product + np.sqrt(upper_root)) / (other_low * (2 * other - other_low))
    is_defined = ~np.isnan(rate) & ((other > 0) | (rate > 0) & (other == 0))
    lower = np.where(is_defined, np.maximum(lower, 0.0), np.nan)
    lower = np.where(is_defined & (rate == 0), 0.0, lower)
    upper = np.where(is_defined, np.where((other > 0) & (other_low > 0), upper, np.inf), np.nan)
    return lower, upper


def paired_difference_limits(
    both: npt.ArrayLike,
    only_a: npt.ArrayLike,
    only_b: npt.ArrayLike,
    neither: npt.ArrayLike,
    level: float = LEVEL,
) -> Limits:
    """Return the interval of the difference of two rates a - b on the same rows.

    Wilson's limits of both rates, joined with the correlation of the two (with a continuity correction):
    Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", Statistics in Medicine 17, 1998 (method 10).

    Args:
        both: The rows that count for a and for b, any shape.
        only_a: The rows that count for a alone.
        only_b: The rows that count for b alone.
        neither: The rows that count for none.
        level: The nominal coverage.

    Returns:
        (low, high), float64 in -1..1 each; NaN without rows.

    >>> low, high = paired_difference_limits(43, 0, 1, 0)
    >>> print(f"{low:.4f} {high:.4f}")
    -0.1181 0.0597
    """
    e, f, g, h = (np.asarray(x, np.float64) for x in (both, only_a, only_b, neither))
    n = e + f + g + h
    rate_a, rate_b = divide(e + f, n), divide(e + g, n)
    low_a, high_a = wilson(e + f, n, level)
    low_b, high_b = wilson(e + g, n, level)
    excess = e * h - f * g
    corrected = np.where(excess > n / 2, excess - n / 2, np.where(excess >= 0, 0.0, excess))
    scale = np.sqrt((e + f) * (g + h) * (e + g) * (f + h))
    correlation = np.where(scale > 0, corrected / np.where(scale > 0, scale, 1.0), 0.0)

    def join(x: Array, y: Array) -> Array:
        length: Array = np.sqrt(np.maximum(x * x - 2 * correlation * x * y + y * y, 0.0))
        return length

    difference = divide(f - g, n)
    return (
        difference - join(rate_a - low_a, high_b - rate_b),
        difference + join(high_a - rate_a, rate_b - low_b),
    )
