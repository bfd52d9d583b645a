"""Verdicts of metrics against tolerances: within, exceeds or inconclusive, from the 95 % interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.auditing.record import AuditRecord
from biascon.auditing.score_metrics import SCORE_METRICS
from biascon.auditing.tolerance import Outcome, Tolerance
from biascon.metrics.detectable import LEVEL, POWER, DetectableDifference, detectable_difference
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.records import Metric
from biascon.metrics.simultaneous_intervals import COMPARED
from biascon.metrics.summary import COMPARISONS, NEED_ALIGNED
from biascon.utils.text import join_first

# Metrics that need more than predictions of groups: what is missing, and whether it is given.
_NEEDS: dict[str, tuple[str, Callable[[AuditRecord], bool]]] = {
    "adjusted_average": ("no training rows", lambda record: record["adjusted_average"].n > 0),
    "average_odds_difference": ("not two classes", lambda record: len(record.labels) == 2),
    "multiclass_equalized_odds_difference": (
        "not more than two classes",
        lambda record: len(record.labels) > 2,
    ),
}
_SEVERITY = (Outcome.WITHIN, Outcome.INCONCLUSIVE, Outcome.EXCEEDS)
_SCORES = ("brier", "auc")  # printed in 0..1 or 0..2 with three digits, as in the tables
_MAX_DIGITS = 6  # after the point, of a percentage or a ratio
DETECTABLE_LEGEND = (
    f"Detectable: the smallest difference between the two groups with the fewest rows that a z test at level "
    f"{100 * LEVEL:.0f} % finds with {100 * POWER:.0f} % power, if the rates are near the pooled one."
)
_RATE_NAMES = {
    "selection": "selection rates",
    "true_positive": "true positive rates",
    "false_positive": "false positive rates",
    "precision": "precisions",
}
_RATES = {
    "selection": "selection_rate",
    "true_positive": "true_positive_rate",
    "false_positive": "false_positive_rate",
    "precision": "precision",
}
_RATE_ROWS = {
    "selection": "no row",
    "true_positive": "no row with label '{}'",
    "false_positive": "no row with a label other than '{}'",
    "precision": "no row predicted as '{}'",
}


@dataclass(frozen=True)
class Verdict:
    """The verdict of one metric by one bias column or combination of columns.

    Attributes:
        bias: The name of the bias column, or the names joined by ``" x "``.
        groups: The names of the groups.
        tolerance: The metric and the tolerated value.
        outcome: What the interval says.
        result: The metric with its 95 % interval.
        positive: The class whose rates are compared; None for a mean over classes.
        reason: Why there is no interval; None where there is one.
        detectable: The smallest difference that these rows could detect; None where the metric is no
            difference of single rates.
    """

    bias: str
    groups: tuple[str, ...]
    tolerance: Tolerance
    outcome: Outcome
    result: Metric
    positive: str | None = None
    reason: str | None = None
    detectable: DetectableDifference | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        detectable = self.detectable
        return {
            "metric": self.tolerance.metric,
            "bound": self.tolerance.bound.value,
            "tolerance": float(self.tolerance.limit),
            "verdict": self.outcome.value,
            **dataclasses.replace(self.result, cell=None).to_json(),
            "reason": self.reason,
            "detectable": None if detectable is None else detectable.to_json(self.groups),
        }

    def __str__(self) -> str:
        """Return the verdict as one sentence."""
        name, limit = self.tolerance.metric, self.tolerance.limit
        full_name = METRIC_NAMES[name].name
        if name in COMPARISONS:
            of_class = "mean over classes" if self.positive is None else f"class '{self.positive}'"
            full_name = f"{full_name} ({of_class})"
        if self.reason is not None or self.result.value is None or self.result.interval is None:
            found = f"{full_name} {_format(name, self.result.value)}: {self.reason}"
        else:
            low, high = self.result.interval
            digits = _count_digits(name, (limit, low, high))
            low_text, high_text = _format(name, low, digits), _format(name, high, digits)
            value = _format(name, self.result.value, digits) + _unit(name)
            found = f"{full_name} {value}, 95 % interval {low_text} to {high_text}"
        limit_text = _format(name, limit, _count_digits(name, (limit,))) + _unit(name)
        allowed = f"{self.tolerance.bound.value} {limit_text}"
        return f"by {self.bias}, {self.outcome.value.upper()}: {found}; tolerated: {allowed}"

    def describe_detectable(self) -> str | None:
        """Return the smallest difference that these rows could detect as a part of a sentence.

        None where it does not apply, and where the metric exceeds its tolerance.
        """
        if self.detectable is None or self.outcome is Outcome.EXCEEDS:
            return None
        found, name = self.detectable, self.tolerance.metric
        value = "no difference"
        if found.value is not None:
            value = f"{_format(name, found.value)}{_unit(name)} or more"
        first, second = (
            f"'{self.groups[m]}' (n = {n:,})" for m, n in zip(found.groups, found.n, strict=True)
        )
        rates = f"{_RATE_NAMES[found.rate]} of class '{self.positive}'"
        return f"detectable: {value} between the {rates} in {first} and {second}"


def describe_verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    """Return one sentence for each verdict, with what its rows could detect, and what that means."""
    detectable = [verdict.describe_detectable() for verdict in verdicts]
    lines = [
        str(verdict) if text is None else f"{verdict}; {text}"
        for verdict, text in zip(verdicts, detectable, strict=True)
    ]
    return [*lines, DETECTABLE_LEGEND] if any(detectable) else lines


def judge_records(records: Sequence[AuditRecord], tolerances: Iterable[Tolerance]) -> list[Verdict]:
    """Return the verdict of every tolerance by every bias column, in the order of the records."""
    tolerances = list(tolerances)
    return [judge_record(record, tolerance) for record in records for tolerance in tolerances]


def judge_record(record: AuditRecord, tolerance: Tolerance) -> Verdict:
    """Return the verdict of one metric of a record."""
    result = record[tolerance.metric]
    label = record.positive
    detectable = None if label is None else _detectable(record, label, tolerance.metric)
    has_interval = result.value is not None and result.interval is not None
    return Verdict(
        record.bias,
        record.groups,
        tolerance,
        tolerance.judge(result),
        result,
        None if label is None else record.labels[label],
        None if has_interval else _explain(record, tolerance.metric),
        detectable,
    )


def _detectable(record: AuditRecord, label: int, metric: str) -> DetectableDifference | None:
    """Return the smallest detectable difference among the compared groups, by their effective rows."""
    compared = np.flatnonzero(record.compared)
    rates = {}
    for name, key in _RATES.items():
        rate = record.rates.by_class[key].choose(label, compared)
        rates[name] = rate.hits, rate.effective
    found = detectable_difference(rates, metric)
    if found is None:
        return None
    first, second = compared[list(found.groups)].tolist()
    return dataclasses.replace(found, groups=(first, second))


def worst_outcome(verdicts: Iterable[Verdict]) -> Outcome:
    """Return the worst outcome: exceeds before inconclusive before within."""
    return max((verdict.outcome for verdict in verdicts), key=_SEVERITY.index)


def _explain(record: AuditRecord, metric: str) -> str:
    """Return why a metric has no value or no interval."""
    if record[metric].value is not None:
        return "no interval was computed"
    if metric in SCORE_METRICS:
        return "undefined, as there are no scores"
    if metric in NEED_ALIGNED:
        return "undefined, as no row is known to be of that kind (aligned values)"
    if metric in _NEEDS:
        needed, is_given = _NEEDS[metric]
        if not is_given(record):
            return f"undefined, as there are {needed}"
    if record.compared.sum() < 2:
        few = "" if record.min_group == 0 else f" of {record.min_group:,} rows or more"
        return f"undefined, as there are no two groups{few}"
    comparison = metric.rpartition("_")[0]
    classes = range(len(record.labels)) if record.positive is None else [record.positive]
    missing = []
    for k in classes:
        for name in COMPARED.get(comparison, ()):
            n = record.rates.by_class[_RATES[name]].n[k]
            missing += [
                f"{_RATE_ROWS[name].format(record.labels[k])} in group '{record.groups[m]}'"
                for m in np.flatnonzero((n == 0) & record.compared).tolist()
            ]
    if missing:
        return f"undefined, as there is {join_first(missing, 3)}"
    return "undefined: the compared rates are 0" if metric.endswith("_ratio") else "undefined"


def _format(name: str, value: float | None, digits: int | None = None) -> str:
    """Return a value in the unit of the tables: ratio, Brier score and AUC as they are, others in percent."""
    if value is None:
        return "-"
    if name in _SCORES:
        return f"{value:.{3 if digits is None else digits}f}"
    if METRIC_NAMES[name].is_ratio:
        return f"{value:.{2 if digits is None else digits}f}"
    return f"{100 * value:.{1 if digits is None else digits}f}"


def _unit(name: str) -> str:
    """Return the unit of a value as ``_format`` writes it: a difference of rates is in percentage points."""
    if name in _SCORES or METRIC_NAMES[name].is_ratio:
        return ""
    return " points" if name.endswith("_difference") else " %"


def _count_digits(name: str, values: Sequence[float]) -> int:
    """Return the digits after the point that show how a limit differs from the tolerance.

    Args:
        name: The name of the metric.
        values: The tolerance, and the limits of the interval.
    """
    digits = 3 if name in _SCORES else 2 if METRIC_NAMES[name].is_ratio else 1
    tolerance, *limits = values
    factor = 1 if name in _SCORES or METRIC_NAMES[name].is_ratio else 100
    while digits < _MAX_DIGITS:
        shown = _format(name, tolerance, digits)
        hides = any(
            limit != tolerance and _format(name, limit, digits) == shown for limit in limits
        )
        exact = math.isclose(round(factor * tolerance, digits), factor * tolerance, abs_tol=1e-9)
        if exact and not hides:
            break
        digits += 1
    return digits
