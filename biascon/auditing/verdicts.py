"""Verdicts of metrics against tolerances, by 95 % intervals: within, exceeds, inconclusive or undefined."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.auditing.display.formats import format_permutation
from biascon.auditing.record import AuditRecord
from biascon.auditing.tolerance import OVER_ALL_ROWS, Outcome, Tolerance
from biascon.errors import UsageError
from biascon.metrics.detectable import LEVEL, POWER, DetectableDifference, detectable_difference
from biascon.metrics.multiclass import MULTICLASS_METRICS
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.records import Metric, PermutationResult
from biascon.metrics.simultaneous_intervals import COMPARED
from biascon.metrics.summary import COMPARISONS, NEED_ALIGNED
from biascon.utils.text import join_first, quote_some

_Check = Callable[[AuditRecord], bool]
# What a metric needs beside predictions and groups, the option that gives it, and whether it is given.
_SCORES_GIVEN: tuple[str, _Check] = (
    "scores (--scores, scores=)",
    lambda record: record.has_scores,
)
_ALIGNED_GIVEN: tuple[str, _Check] = (
    "aligned values (--aligned, aligned=)",
    lambda record: record.aligned_is_known,
)
_GIVEN = {"auc": _SCORES_GIVEN, **dict.fromkeys(NEED_ALIGNED, _ALIGNED_GIVEN)}
# Why a metric is undefined for some files, and whether it is not for this one.
_NEEDS: dict[str, tuple[str, _Check]] = {
    "auc": (
        "there is no positive class, or not both kinds of rows",
        lambda record: record["auc"].value is not None,
    ),
    "adjusted_average": (
        "there are no training rows (--training, training=), or none here of one of their cells",
        lambda record: record["adjusted_average"].n > 0,
    ),
    "average_odds_difference": (
        "there is no positive class",
        lambda record: record.positive is not None,
    ),
    MULTICLASS_METRICS[0]: (
        "there are not more than two classes, or the rows have weights",
        lambda record: len(record.labels) > 2 and record.weights is None,
    ),
}
_SEVERITY = (Outcome.WITHIN, Outcome.INCONCLUSIVE, Outcome.UNDEFINED, Outcome.EXCEEDS)
_SCORES = ("auc",)  # printed in 0..1 with three digits, as in the tables
_MAX_DIGITS = 6  # after the point, of a percentage or a ratio
DETECTABLE_LEGEND = (
    f"Detectable: the smallest difference between the two groups with the fewest rows that a z test at level "
    f"{100 * LEVEL:.0f} % finds with {100 * POWER:.0f} % power, if the rates are near the pooled one."
)
_NO_LOWER_LIMIT = "the lower limit is 0 for any number of rows"
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
_USED = {  # the rates that each comparison of groups uses
    **COMPARED,
    "average_odds": COMPARED["equalized_odds"],
    "multiclass_equalized_odds": ("true_positive",),
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
        mixes_labels: Whether the metric compares a false positive rate of one class against several other
            labels, so that groups with other shares of these labels differ in it.
        chance: The permutation test of such a metric, None without one.
    """

    bias: str
    groups: tuple[str, ...]
    tolerance: Tolerance
    outcome: Outcome
    result: Metric
    positive: str | None = None
    reason: str | None = None
    detectable: DetectableDifference | None = None
    mixes_labels: bool = False
    chance: PermutationResult | None = None

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
            "mixes_labels": self.mixes_labels,
            "chance": None if self.chance is None else self.chance.to_json(),
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
        rows = "over all rows" if name in OVER_ALL_ROWS else f"by {self.bias}"
        return f"{rows}, {self.outcome.value.upper()}: {found}; tolerated: {allowed}"

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

    def describe_composition(self) -> str | None:
        """Return what is expected by chance, and what the metric mixes, as a part of a sentence.

        None where the metric mixes no labels, and where it is undefined.
        """
        if not self.mixes_labels or self.outcome is Outcome.UNDEFINED:
            return None
        name, chance = self.tolerance.metric, ""
        if self.chance is not None and self.chance.expected is not None:
            p = format_permutation(self.chance, self.chance.p)
            value = _format(name, self.chance.expected) + _unit(name)
            chance = f"by chance {value}, p {p}; "
        return (
            f"{chance}the false positive rate of a class depends on the shares of the other labels in a "
            f"group, {MULTICLASS_METRICS[0]} does not"
        )


def describe_verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    """Return one sentence for each verdict, with what its rows could detect, and what that means.

    The same verdict over all rows by several bias columns is one sentence.
    """
    detectable = [verdict.describe_detectable() for verdict in verdicts]
    lines = [
        "; ".join(part for part in (str(v), text, v.describe_composition()) if part is not None)
        for v, text in zip(verdicts, detectable, strict=True)
    ]
    legend = [DETECTABLE_LEGEND] if any(detectable) else []
    return [*dict.fromkeys(lines), *legend]


def judge_records(records: Sequence[AuditRecord], tolerances: Iterable[Tolerance]) -> list[Verdict]:
    """Return the verdict of every tolerance by every bias column, in the order of the records.

    Raises:
        UsageError: A metric needs something that no record has: scores, or aligned values.
    """
    tolerances = list(tolerances)
    for tolerance in tolerances:
        what, is_given = _GIVEN.get(tolerance.metric, ("", bool))
        if records and what and not any(map(is_given, records)):
            raise UsageError(f"a tolerance of {tolerance.metric} needs {what}")
    return [judge_record(record, tolerance) for record in records for tolerance in tolerances]


def judge_record(record: AuditRecord, tolerance: Tolerance) -> Verdict:
    """Return the verdict of one metric of a record."""
    result = record[tolerance.metric]
    label = record.positive
    detectable = None if label is None else _detectable(record, label, tolerance.metric)
    outcome, mixes_labels = tolerance.judge(result), _mixes_labels(record, tolerance.metric)
    tests = record.summary.disparity or {}
    return Verdict(
        record.bias,
        record.groups,
        tolerance,
        outcome,
        result,
        None if label is None else record.labels[label],
        _explain(record, tolerance.metric) if outcome is Outcome.UNDEFINED else None,
        detectable,
        mixes_labels,
        tests.get(tolerance.metric) if mixes_labels else None,
    )


def _mixes_labels(record: AuditRecord, metric: str) -> bool:
    """Return whether a metric compares false positive rates of a class against two or more other labels."""
    rates = _USED.get(metric.rpartition("_")[0], ())
    return "false_positive" in rates and len(_find_labels(record)) > 2


def _find_labels(record: AuditRecord) -> list[int]:
    """Return the classes that are the label of a row."""
    labels: list[int] = np.flatnonzero(record.counts.sum(axis=(1, 2))).tolist()
    return labels


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
    """Return the worst outcome: exceeds before undefined before inconclusive before within."""
    return max((verdict.outcome for verdict in verdicts), key=_SEVERITY.index)


def _explain(record: AuditRecord, metric: str) -> str:
    """Return why a metric has no value or no interval."""
    if record[metric].interval is not None:
        return f"undefined, as one of its rates is 0 in every group: {_NO_LOWER_LIMIT}"
    if record[metric].value is not None:
        weighted = "" if record.weights is None else " with weights"
        return f"no interval was computed{weighted}"
    if metric in _GIVEN and not _GIVEN[metric][1](record):
        return f"undefined, as there are no {_GIVEN[metric][0]}"
    if metric in NEED_ALIGNED:
        return "undefined, as there are no rows of that kind"
    if metric in _NEEDS:
        needed, is_given = _NEEDS[metric]
        if not is_given(record):
            return f"undefined, as {needed}"
    if record.compared.sum() < 2:
        few = "" if record.min_group == 0 else f" of {record.min_group:,} rows or more"
        return f"undefined, as there are no two groups{few}"
    classes = _find_labels(record) if record.positive is None else [record.positive]
    missing = _find_missing(record, metric, classes)
    if missing:
        return f"undefined, as there is {join_first(missing, 3)}"
    if not metric.endswith("_ratio"):
        return "undefined"
    by_class = [(record.labels[k], record.summary.by_class[record.labels[k]]) for k in classes]
    zero = quote_some(label for label, metrics in by_class if metrics[metric].value is None)
    return f"undefined, as the compared rates of class {zero} are 0 in every group"


def _find_missing(record: AuditRecord, metric: str, classes: Iterable[int]) -> list[str]:
    """Return the rows whose absence leaves a compared rate of some class undefined in a group."""
    rates = record.rates.by_class
    return [
        f"{_RATE_ROWS[name].format(record.labels[k])} in group '{record.groups[m]}'"
        for k in classes
        for name in _USED.get(metric.rpartition("_")[0], ())
        for m in np.flatnonzero((rates[_RATES[name]].n[k] == 0) & record.compared).tolist()
    ]


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
