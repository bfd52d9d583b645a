"""The smallest difference between two groups that a sample of a given size could detect.

A sample detects a difference d of two rates if the two-sided z test of two proportions rejects at the level.
The test has the usual form: with rates q_1 and q_2 in groups of n_1 and n_2 rows, and their mean
m = (n_1 q_1 + n_2 q_2) / (n_1 + n_2), the power is about (Fleiss, Levin and Paik, "Statistical Methods for
Rates and Proportions", 2003, chapter 4)::

    Phi((d - z s_0) / s_1),  s_0^2 = m (1 - m) (1/n_1 + 1/n_2),  s_1^2 = q_1 (1 - q_1)/n_1 + q_2 (1 - q_2)/n_2

With more than two groups, or two rates, there are several pairs to test. z is then that of Sidak's level
1 - (1 - level)^(1/tests), as no pair is known to be the largest one before the data are seen.

Assumptions: the rows are independent; one of the two groups has the pooled rate p of all groups, the other
one p - d or p + d; the normal approximation holds, which needs some ten rows of either outcome in a group.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.metrics.simultaneous_intervals import COMPARED
from biascon.utils.types import Array

LEVEL, POWER = 0.05, 0.8
_STEPS = 1000  # of the search for the smallest difference


@dataclass(frozen=True)
class DetectableDifference:
    """The smallest difference that would be detected, between two groups of a rate.

    Attributes:
        value: The difference; None if not even the largest possible difference would be detected.
        rate: The compared rate: ``selection``, ``true_positive``, ``false_positive`` or ``precision``.
        groups: The two groups, as indices.
        n: The rows of the rate in the two groups.
        pooled: The rate over the rows of all groups.
        tests: The number of pairs of groups and rates among which the level is divided.
    """

    value: float | None
    rate: str
    groups: tuple[int, int]
    n: tuple[int, int]
    pooled: float
    tests: int

    def to_json(self, groups: Sequence[str]) -> dict[str, Any]:
        """Return the difference as plain data.

        Args:
            groups: The names of the groups.
        """
        return {
            "value": self.value,
            "rate": self.rate,
            "groups": [groups[m] for m in self.groups],
            "n": list(self.n),
            "pooled_rate": self.pooled,
            "power": POWER,
            "level": LEVEL,
            "tests": self.tests,
        }


def detectable_difference(
    rates: Mapping[str, tuple[Array, Array]],
    metric: str,
    *,
    level: float = LEVEL,
    power: float = POWER,
) -> DetectableDifference | None:
    """Return the smallest difference that is detected wherever it is: between the two smallest groups.

    Where the metric uses two rates (equalized odds), the one with the larger result.

    Args:
        rates: The hits and the rows ``(M,)`` of every rate of ``COMPARED`` by its name, in the compared
            groups. With weights, these are effective numbers of rows.
        metric: A name that ends in ``_difference``.
        level: The level of the test, over all pairs of groups and rates.
        power: The probability with which the difference is detected.

    Returns:
        None if the metric is no difference of single rates, if there are fewer than two groups, or if a
        group has no row for the rate.
    """
    comparison, _, kind = metric.rpartition("_")
    if kind != "difference" or comparison not in COMPARED:
        return None
    used = {name: rates[name] for name in COMPARED[comparison]}
    n_groups = min(len(rows) for _, rows in used.values())
    if n_groups < 2 or any((rows <= 0).any() for _, rows in used.values()):
        return None
    tests = math.comb(n_groups, 2) * len(used)
    results = []
    for name, (hits, rows) in used.items():
        first, second = np.sort(np.argsort(rows, kind="stable")[:2]).tolist()
        n = round(float(rows[first])), round(float(rows[second]))
        pooled = float(hits.sum() / rows.sum())
        sizes = float(rows[first]), float(rows[second])
        value = smallest_difference(pooled, sizes, tests=tests, level=level, power=power)
        results.append(DetectableDifference(value, name, (first, second), n, pooled, tests))
    return max(results, key=lambda result: math.inf if result.value is None else result.value)


def smallest_difference(
    pooled: float,
    n: tuple[float, float],
    *,
    tests: int = 1,
    level: float = LEVEL,
    power: float = POWER,
) -> float | None:
    """Return the smallest difference between two groups that a test detects with the given power.

    One group has the pooled rate, the other a rate that is higher or lower by the difference. The result
    is the largest one of these four cases. A case in which no possible difference is detected does not
    count: a rate of 0.99 cannot be exceeded by much.

    Args:
        pooled: The rate of one group.
        n: The rows of the two groups.
        tests: The number of tests among which the level is divided.
        level: The level of all tests together, two-sided.
        power: The probability with which the difference is detected.

    Returns:
        The difference, None if no case has a result.

    >>> round(smallest_difference(0.5, (100, 100)), 3), smallest_difference(0.5, (3, 3))
    (0.194, None)
    """
    from scipy import stats

    critical = float(stats.norm.isf((1 - (1 - level) ** (1 / tests)) / 2))
    quantile = float(stats.norm.ppf(power))
    found = []
    for (n_1, n_2), sign in itertools.product((n, n[::-1]), (-1, 1)):
        largest = pooled if sign < 0 else 1 - pooled
        differences = np.linspace(0, largest, _STEPS + 1)
        other = np.clip(pooled + sign * differences, 0, 1)
        mean = (n_1 * pooled + n_2 * other) / (n_1 + n_2)
        error_0 = np.sqrt(mean * (1 - mean) * (1 / n_1 + 1 / n_2))
        error_1 = np.sqrt(pooled * (1 - pooled) / n_1 + other * (1 - other) / n_2)
        detected = (differences > 0) & (differences >= critical * error_0 + quantile * error_1)
        if detected.any():
            found.append(float(differences[detected.argmax()]))
    return max(found, default=None)
