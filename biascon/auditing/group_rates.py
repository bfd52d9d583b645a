"""The rates of every class in every group, with their rows and their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.metrics.accuracy import correct
from biascon.metrics.counts import divide
from biascon.metrics.intervals import wilson
from biascon.metrics.rate_intervals import effective_rows, effective_rows_of_rates
from biascon.metrics.records import Metric
from biascon.metrics.summary import finite_or_none
from biascon.utils.types import Array

RATES = (
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "false_negative_rate",
    "precision",
)
_DIGITS = 12  # significant digits of a sum of weights; the others depend on the order of the rows


@dataclass(frozen=True)
class WeightTables:
    """The weights of the rows, summed by label, group and prediction.

    Attributes:
        column: The name of the column of weights.
        sums: Nested lists of float ``(K, M, K)``, the sums of the weights.
        squares: The same, the sums of the squared weights.
    """

    column: str
    sums: Any
    squares: Any

    @classmethod
    def from_arrays(cls, column: str, sums: Array, squares: Array) -> WeightTables:
        """Return the tables with 12 significant digits, which do not depend on the order of the rows."""
        return cls(column, _round_digits(sums), _round_digits(squares))

    def to_json(self) -> dict[str, Any]:
        """Return ``{"column", "sums", "squares", "total", "effective_n"}``."""
        total, squares = np.asarray(self.sums).sum(), np.asarray(self.squares).sum()
        return {
            "column": self.column,
            "sums": self.sums,
            "squares": self.squares,
            "total": float(total),
            "effective_n": float(total * total / squares),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WeightTables:
        """Return the tables that ``to_json`` wrote."""
        return cls(data["column"], data["sums"], data["squares"])


def _round_digits(values: Array) -> Any:
    flat = [float(f"{value:.{_DIGITS}g}") for value in values.reshape(-1).tolist()]
    return np.array(flat).reshape(values.shape).tolist()


@dataclass(frozen=True, eq=False)
class Rate:
    """One kind of rate: of every class in every group, or of every group.

    Attributes:
        n: int64, the number of rows of each rate, of any shape.
        value: float64 of the same shape, NaN without rows or without weight.
        effective: float64, the number of rows that the intervals are based on. This is n without weights.
            With weights it is that of ``effective_rows_of_rates``.
        hits: float64, the numerator in effective rows, 0 where the rate is undefined.
    """

    n: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    effective: npt.NDArray[np.float64]
    hits: npt.NDArray[np.float64]

    def choose(self, *index: Any) -> Rate:
        """Return the rates at a position or a selection of NumPy."""
        return Rate(self.n[index], self.value[index], self.effective[index], self.hits[index])

    def limits(self) -> tuple[Array, Array]:
        """Return Wilson's limits (low, high), NaN where the rate is undefined."""
        return wilson(self.hits, self.effective)

    def metric(self, *index: int) -> Metric:
        """Return one rate as a record."""
        n, value = int(self.n[index]), finite_or_none(self.value[index])
        if value is None:
            return Metric(None, n)
        low, high = wilson(self.hits[index], self.effective[index])
        return Metric(value, n, float(low), float(high))


@dataclass(frozen=True, eq=False)
class GroupRates:
    """The rates of all classes and groups.

    Attributes:
        by_class: The rates of ``RATES``, ``(K, M)`` each: the class against the rest.
        accuracy: The accuracy of each group, ``(M,)``.
        effective_n: The effective number of rows of each group, float64 ``(M,)``. With weights w it is
            (sum w)^2 / (sum w^2) (Kish, "Survey Sampling", 1965); that of its accuracy can be smaller.
    """

    by_class: Mapping[str, Rate]
    accuracy: Rate
    effective_n: npt.NDArray[np.float64]


def measure_rates(counts: Array, weights: WeightTables | None = None) -> GroupRates:
    """Return the rates of all classes and groups.

    Args:
        counts: int64 ``(K, M, K)``: label x group x prediction.
        weights: The weights of the same rows, None for weights of 1.
    """
    sums = None if weights is None else np.asarray(weights.sums, np.float64)
    squares = None if weights is None else np.asarray(weights.squares, np.float64)
    weighted = [None if table is None else _numerators(table) for table in (sums, squares)]
    of_counts = _numerators(counts)
    rates = {name: _make_rate(name, of_counts, *weighted) for name in (*RATES, "accuracy")}
    accuracy = rates.pop("accuracy")
    effective = accuracy.effective
    if sums is not None and squares is not None:
        group = (table.sum(axis=(0, 2)) for table in (sums, squares))
        effective = np.nan_to_num(effective_rows(*group))
    return GroupRates(rates, accuracy, effective)


def find_compared(counts: Array, weights: WeightTables | None, min_group: int) -> Array:
    """Return the groups that take part in comparisons: bool ``(M,)``.

    These are the groups with ``min_group`` rows or more and, with weights, a weight above 0 in some row.

    Args:
        counts: int64 ``(K, M, K)``: label x group x prediction.
        weights: The weights of the same rows, None for weights of 1.
        min_group: The rows that a group needs.
    """
    compared: Array = counts.sum(axis=(0, 2)) >= min_group
    return compared if weights is None else compared & has_weight(weights)


def has_weight(weights: WeightTables) -> Array:
    """Return which groups have a row with a weight above 0: bool ``(M,)``."""
    positive: Array = np.asarray(weights.sums).sum(axis=(0, 2)) > 0
    return positive


Parts = Mapping[str, tuple[Array, Array]]


def _make_rate(name: str, counts: Parts, sums: Parts | None, squares: Parts | None) -> Rate:
    hits, n = counts[name]
    if sums is None or squares is None:
        return Rate(n, divide(hits, n), n.astype(np.float64), hits.astype(np.float64))
    # Differences of sums of floats have rounding errors.
    hits, total = (np.where(n > 0, x, 0.0) for x in sums[name])
    hit_squares, all_squares = (np.where(n > 0, x, 0.0) for x in squares[name])
    value = np.clip(divide(hits, total), 0.0, 1.0)
    effective = np.nan_to_num(effective_rows_of_rates(value, total, all_squares, hit_squares))
    return Rate(n, value, effective, np.nan_to_num(value) * effective)


def _numerators(table: Array) -> dict[str, tuple[Array, Array]]:
    """Return the numerator and the denominator of each rate."""
    rows = table.sum(axis=-1)  # (K, M)
    group = np.broadcast_to(rows.sum(axis=0), rows.shape)
    selected = table.sum(axis=0).T
    hits = correct(table)
    return {
        "selection_rate": (selected, group),
        "true_positive_rate": (hits, rows),
        "false_positive_rate": (selected - hits, group - rows),
        "false_negative_rate": (rows - hits, rows),
        "precision": (hits, selected),
        "accuracy": (hits.sum(axis=0), rows.sum(axis=0)),
    }
