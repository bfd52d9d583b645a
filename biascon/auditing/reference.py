"""The groups beside a reference group: signed differences and ratios; and the average odds difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.auditing.group_rates import GroupRates, Rate
from biascon.metrics.intervals import LEVEL
from biascon.metrics.pair_limits import GroupLimits, critical_value
from biascon.metrics.records import Metric
from biascon.metrics.summary import finite_or_none
from biascon.metrics.two_rates import difference_limits, ratio_limits
from biascon.utils.types import Array

COMPARED_RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision")


@dataclass(frozen=True)
class ReferenceComparison:
    """One group beside the reference group.

    Attributes:
        group: The position of the group.
        differences: Rate of the group minus rate of the reference, by name of the rate: those of
            ``COMPARED_RATES`` for one class against the rest, and ``accuracy``. Newcombe's intervals.
        ratios: Rate of the group divided by rate of the reference, by name. To a reference with a rate of 0
            the ratio is None and has only a lower limit, unless both rates are 0.
        average_odds_difference: The mean of the differences of the true positive rate and of the false
            positive rate (signed, as in AIF360).
    """

    group: int
    differences: Mapping[str, Metric]
    ratios: Mapping[str, Metric]
    average_odds_difference: Metric

    def to_json(self, groups: tuple[str, ...]) -> dict[str, Any]:
        """Return the comparison as plain data, with the name of the group."""
        return {
            "bias": groups[self.group],
            "difference": {name: metric.to_json() for name, metric in self.differences.items()},
            "ratio": {name: metric.to_json() for name, metric in self.ratios.items()},
            "average_odds_difference": self.average_odds_difference.to_json(),
        }


def compare_to_reference(
    rates: GroupRates, reference: int, class_index: int, compared: Array
) -> list[ReferenceComparison]:
    """Return the comparison of every other compared group with the reference.

    n is the number of rows of the two rates together.

    Args:
        rates: The rates of all groups.
        reference: The position of the reference group.
        class_index: The class that is compared with the rest.
        compared: bool ``(M,)``, the groups that are compared.
    """
    chosen = {name: rates.by_class[name].choose(class_index) for name in COMPARED_RATES}
    chosen["accuracy"] = rates.accuracy
    differences, ratios = {}, {}
    for name, rate in chosen.items():
        own, other = (rate.hits, rate.effective), (rate.hits[reference], rate.effective[reference])
        base = rate.value[reference]
        n = rate.n + rate.n[reference]
        differences[name] = _metrics(rate.value - base, n, difference_limits(*own, *other))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = rate.value / base
        ratios[name] = _metrics(ratio, n, ratio_limits(*own, *other))
    average = _average_odds(chosen, reference)
    return [
        ReferenceComparison(
            m,
            {name: metrics[m] for name, metrics in differences.items()},
            {name: metrics[m] for name, metrics in ratios.items()},
            average[m],
        )
        for m in np.flatnonzero(compared).tolist()
        if m != reference
    ]


def _metrics(values: Array, n: Array, limits: tuple[Array, Array]) -> list[Metric]:
    """Return records, with None for what is undefined or infinite.

    An infinite ratio (to a rate of 0) has a lower limit. Another undefined value has no limits.
    """
    rows = zip(values, n, *limits, strict=True)
    return [
        Metric(None, int(count))
        if np.isnan(value)
        else Metric(finite_or_none(value), int(count), finite_or_none(low), finite_or_none(high))
        for value, count, low, high in rows
    ]


def _average_odds(rates: Mapping[str, Rate], reference: int) -> list[Metric]:
    """Return the signed average odds differences; the limits join those of both differences (MOVER)."""
    zero = np.zeros(len(rates["true_positive_rate"].n))
    value, below, above, n = zero, zero, zero, zero.astype(np.int64)
    for name in ("true_positive_rate", "false_positive_rate"):
        rate = rates[name]
        difference = rate.value - rate.value[reference]
        low, high = difference_limits(
            rate.hits, rate.effective, rate.hits[reference], rate.effective[reference]
        )
        value, n = value + difference / 2, n + rate.n + rate.n[reference]
        below, above = below + (difference - low) ** 2 / 4, above + (high - difference) ** 2 / 4
    return _metrics(value, n, (value - np.sqrt(below), value + np.sqrt(above)))


def average_odds_difference(rates: GroupRates, class_index: int, compared: Array) -> Metric:
    """Return the mean of the ranges of the true and of the false positive rate over the groups.

    The range is the largest rate minus the smallest. The limits are the means of the limits of both ranges,
    from all pairs of groups (``pair_limits``), at a critical value with which both ranges hold together.

    Args:
        rates: The rates of all groups.
        class_index: The class that is compared with the rest.
        compared: bool ``(M,)``, the groups that are compared.
    """
    value, low, high = 0.0, 0.0, 0.0
    n, groups = int(rates.accuracy.n[compared].sum()), int(compared.sum())
    if groups < 2:
        return Metric(None, n)
    for name in ("true_positive_rate", "false_positive_rate"):
        rate = rates.by_class[name].choose(class_index, compared)
        if np.isnan(rate.value).any():
            return Metric(None, n)
        c = critical_value(groups, LEVEL, 2)
        limits = GroupLimits.of(rate.hits, rate.effective, c).limit_difference()
        value += float(rate.value.max() - rate.value.min()) / 2
        low, high = low + float(limits[0]) / 2, high + float(limits[1]) / 2
    return Metric(value, n, low, high)
