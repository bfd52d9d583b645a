"""The predictions beside those of a baseline on the same rows: does any group lose?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.metrics.paired_tests import holm, mcnemar
from biascon.metrics.records import UNDEFINED, Metric
from biascon.metrics.two_rates import paired_difference_limits
from biascon.utils.types import Array

BASELINE_METRICS = ("accuracy", "true_positive_rate")


@dataclass(frozen=True)
class BaselineCounts:
    """The rows of each group by what the predictions and the baseline got right.

    Attributes:
        column: The name of the column of the baseline.
        counts: Nested lists of int ``(M, 2, 2, 2)``: group x (label is the positive class) x (the prediction
            is right) x (the baseline is right).
        missing: The rows that lack a prediction of the baseline; they are left out.
    """

    column: str
    counts: Sequence[Any]
    missing: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {"column": self.column, "counts": self.counts, "missing": self.missing}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BaselineCounts:
        """Return the counts that ``to_json`` wrote."""
        return cls(data["column"], data["counts"], data["missing"])


@dataclass(frozen=True)
class PairedDifference:
    """A metric of the predictions minus that of the baseline in one group.

    Attributes:
        group: The position of the group, None for all rows.
        metric: A name of ``BASELINE_METRICS``.
        prediction: The metric of the predictions, None without rows.
        baseline: The metric of the baseline.
        difference: Prediction minus baseline, with Newcombe's paired interval.
        p: The mid-p-value of McNemar's test.
        holm: The same, adjusted with Holm's method over the groups and metrics of the table.
    """

    group: int | None
    metric: str
    prediction: float | None
    baseline: float | None
    difference: Metric
    p: float | None
    holm: float | None

    def to_json(self, groups: Sequence[str]) -> dict[str, Any]:
        """Return the difference as plain data, with the name of the group."""
        return {
            "bias": None if self.group is None else groups[self.group],
            "metric": self.metric,
            "prediction": self.prediction,
            "baseline": self.baseline,
            "difference": self.difference.to_json(),
            "p": self.p,
            "holm": self.holm,
        }


def compare_with_baseline(
    baseline: BaselineCounts, *, has_positive: bool, compared: Array
) -> list[PairedDifference]:
    """Return the differences of all rows, then of each group.

    The adjustment is over the compared groups. Groups that are too small have no p-value.

    Args:
        baseline: The counts.
        has_positive: Whether there is a positive class, so that the true positive rate is defined.
        compared: bool ``(M,)``, the groups that are compared.
    """
    counts = np.asarray(baseline.counts, dtype=np.int64)
    names = BASELINE_METRICS if has_positive else BASELINE_METRICS[:1]
    entries: list[PairedDifference] = []
    for group, table in [(None, counts.sum(axis=0)), *enumerate(counts)]:
        for name in names:
            pairs = table.sum(axis=0) if name == "accuracy" else table[1]
            is_tested = group is None or bool(compared[group])
            entries.append(_compare(group, name, pairs, is_tested=is_tested))
    p = [np.nan if e.group is None or e.p is None else e.p for e in entries]
    adjusted = holm(p)
    return [
        PairedDifference(
            e.group, e.metric, e.prediction, e.baseline, e.difference, e.p,
            None if np.isnan(q) else float(q),
        )
        for e, q in zip(entries, adjusted, strict=True)
    ]  # fmt: skip


def _compare(group: int | None, name: str, pairs: Array, *, is_tested: bool) -> PairedDifference:
    """Return the difference of one group from its rows by (prediction is right, baseline is right)."""
    n = int(pairs.sum())
    if n == 0:
        return PairedDifference(group, name, None, None, UNDEFINED, None, None)
    both, only_a, only_b, neither = (int(pairs[a, b]) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0)))
    low, high = paired_difference_limits(both, only_a, only_b, neither)
    difference = Metric((only_a - only_b) / n, n, float(low), float(high))
    p = mcnemar(only_a, only_b).mid if is_tested else None
    return PairedDifference(
        group, name, (both + only_a) / n, (both + only_b) / n, difference, p, None
    )
