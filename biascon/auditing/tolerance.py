"""Tolerances of metrics: the largest difference or error, the smallest accuracy or ratio."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from biascon.auditing.record import EXTRA_METRICS, METRICS
from biascon.auditing.score_metrics import SCORE_METRICS
from biascon.errors import UsageError, unknown_name
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.records import Metric

# Metrics without an interval: no verdict can follow from them.
WITHOUT_INTERVAL = ("calibration_error", "brier", "positive_calibration_error")
_SIGNED = "calibration_in_the_large"  # it has no direction, and so no tolerance
TOLERABLE = (
    *METRICS,
    *EXTRA_METRICS,
    *(name for name in SCORE_METRICS if name not in (*WITHOUT_INTERVAL, _SIGNED)),
)
# Metrics that do not depend on the groups: a verdict on them is over all rows.
OVER_ALL_ROWS = ("top1", "worst_class", "auc")


class Outcome(enum.Enum):
    """What the interval of a metric says about a tolerance."""

    WITHIN = "within"
    EXCEEDS = "exceeds"
    INCONCLUSIVE = "inconclusive"
    UNDEFINED = "undefined"  # there is no value or no interval


class Bound(enum.Enum):
    """Which values of a metric are tolerated."""

    AT_MOST = "at most"
    AT_LEAST = "at least"


EXIT_CODES = {
    Outcome.WITHIN: 0,
    Outcome.EXCEEDS: 3,
    Outcome.INCONCLUSIVE: 4,
    Outcome.UNDEFINED: 5,
}


@dataclass(frozen=True)
class Tolerance:
    """The largest tolerated value of a difference or an error, or the smallest of an accuracy or a ratio.

    Attributes:
        metric: The name of the metric.
        limit: The tolerated value, in the unit of the metric: 0.05 is 5 points, 0.8 of a ratio is
            four fifths.

    Raises:
        UsageError: There is no such metric, it has no interval, or the limit is not among its possible
            values.
    """

    metric: str
    limit: float

    def __post_init__(self) -> None:
        if self.metric in WITHOUT_INTERVAL:
            raise UsageError(
                f"{self.metric} has no interval, and so no tolerance: name another metric"
            )
        if self.metric not in TOLERABLE:
            raise unknown_name("metric", self.metric, TOLERABLE)
        if isinstance(self.limit, bool) or not isinstance(self.limit, int | float | np.number):
            raise UsageError(
                f"expected a number as tolerance of {self.metric}, but got {self.limit!r}"
            )
        if not 0 <= self.limit <= 1:
            raise UsageError(
                f"expected a tolerance of {self.metric} in 0..1 (0.05 is 5 points), but got {self.limit:g}"
            )

    @property
    def bound(self) -> Bound:
        """Whether the metric shall be at most or at least the limit."""
        is_lower_better = METRIC_NAMES[self.metric].lower_is_better
        return Bound.AT_MOST if is_lower_better else Bound.AT_LEAST

    def judge(self, result: Metric) -> Outcome:
        """Return what the interval of a metric says.

        It is undefined without a value or an interval, and for a ratio above 0 with a lower limit of 0: one
        of its rates is then 0 in every group, and no number of rows can show that the ratio is within.
        """
        if result.value is None or result.interval is None:
            return Outcome.UNDEFINED
        low, high = result.interval
        if self.bound is Bound.AT_MOST:
            is_within, exceeds = high <= self.limit, low > self.limit
        else:
            is_within, exceeds = low >= self.limit, high < self.limit
        if is_within or exceeds:
            return Outcome.WITHIN if is_within else Outcome.EXCEEDS
        has_no_lower_limit = METRIC_NAMES[self.metric].is_ratio and low == 0 < result.value
        return Outcome.UNDEFINED if has_no_lower_limit else Outcome.INCONCLUSIVE


def make_tolerances(limits: Mapping[str, float]) -> list[Tolerance]:
    """Return the tolerances of ``{metric: limit}``.

    Raises:
        UsageError: There is none, no such metric, or a limit is not among the metric's possible values.
    """
    if not isinstance(limits, Mapping) or not limits:
        raise UsageError(f"expected tolerances as {{metric: limit}}, but got {limits!r}")
    return [Tolerance(name, limit) for name, limit in limits.items()]


def parse_tolerances(metrics: Sequence[str], words: Sequence[str]) -> list[Tolerance]:
    """Return the tolerances of the options ``--metric`` and ``--tolerance``.

    Args:
        metrics: The values of ``--metric``, in order.
        words: The values of ``--tolerance``, in order: ``NAME=LIMIT``, or a limit for the metric at the same
            place.

    Raises:
        UsageError: The options do not fit together, or a metric or a limit is not known.
    """
    named = [word for word in words if "=" in word]
    plain = [word for word in words if "=" not in word]
    if len(plain) != len(metrics):
        raise UsageError(
            f"expected one --tolerance for each --metric, but got {len(metrics)} x --metric and "
            f"{len(plain)} x --tolerance without a name (--tolerance equalized_odds_difference=0.05 names "
            "its metric)"
        )
    pairs = [*zip(metrics, plain, strict=True), *(word.split("=", 1) for word in named)]
    tolerances = [Tolerance(name.strip(), _parse_number(text)) for name, text in pairs]
    names = [tolerance.metric for tolerance in tolerances]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"expected one tolerance a metric, but got several of {repeated[0]}")
    return tolerances


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"expected a number as --tolerance, but got '{text}'") from error
