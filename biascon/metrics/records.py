"""Metrics as records: a value with its n and 95 % interval, and all metrics of one table of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell of the table of counts: one label with one value of the bias attribute.

    Attributes:
        label: The label, as an index or by name.
        bias: The bias value, as an index or by name.
    """

    label: int | str
    bias: int | str

    def to_json(self) -> dict[str, int | str]:
        """Return the cell as plain data."""
        return {"label": self.label, "bias": self.bias}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """Return the cell that ``to_json`` wrote."""
        return cls(data["label"], data["bias"])


@dataclass(frozen=True)
class Metric:
    """A metric with the number of rows that it is computed from, and its 95 % interval.

    Attributes:
        value: The metric, None where it is undefined.
        n: The number of rows.
        low: The lower limit of the interval, None where there is no interval.
        high: The upper limit of the interval, None where there is no interval.
        cell: For the worst group: the cell that has the lowest accuracy.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    cell: Cell | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The limits of the interval, None where one of them is undefined."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def to_json(self, *, interval: bool = True) -> dict[str, Any]:
        """Return ``{"value", "n", "ci": [low, high]}`` and, for the worst group, ``"group"``.

        Args:
            interval: Whether to write ``"ci"``.
        """
        data: dict[str, Any] = {"value": self.value, "n": self.n}
        if interval:
            data["ci"] = [self.low, self.high]
        if self.cell is not None:
            data["group"] = self.cell.to_json()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Metric:
        """Return the metric that ``to_json`` wrote."""
        low, high = data.get("ci", (None, None))
        cell = Cell.from_json(data["group"]) if data.get("group") is not None else None
        return cls(data["value"], data["n"], low, high, cell)


UNDEFINED = Metric(None, 0)


@dataclass(frozen=True)
class PermutationResult:
    """A permutation test of one metric: is the disparity larger than chance alone gives?

    Attributes:
        expected: The mean of the metric when the bias values are permuted.
        p: The permutation p-value.
        within: ``"rows"``: permuted among all rows; ``"labels"``: among the rows of each label.
        replicates: The number of permutations.
    """

    expected: float | None
    p: float | None
    within: str
    replicates: int

    def to_json(self) -> dict[str, Any]:
        """Return the test as plain data."""
        return {
            "expected": self.expected,
            "p": self.p,
            "within": self.within,
            "replicates": self.replicates,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PermutationResult:
        """Return the test that ``to_json`` wrote."""
        return cls(data["expected"], data["p"], data["within"], data["replicates"])


@dataclass(frozen=True)
class MetricSummary:
    """Every metric of the predictions on one split.

    Attributes:
        metrics: The metrics over all classes, by name.
        by_class: The group metrics of each class, by label and name.
        disparity: The permutation tests by metric, None where they were not computed.
        counts: The table ``(K, M, K)`` of counts: label x bias x prediction. None without a bias attribute.
    """

    metrics: Mapping[str, Metric]
    by_class: Mapping[str, Mapping[str, Metric]]
    disparity: Mapping[str, PermutationResult] | None
    counts: Sequence[Sequence[Sequence[int]]] | None

    def __getitem__(self, name: str) -> Metric:
        """Return the metric of that name.

        Raises:
            KeyError: There is no metric of that name.
        """
        return self.metrics[name]

    def to_json(self) -> dict[str, Any]:
        """Return the metrics by name, then ``"by_class"``, ``"disparity"`` and ``"counts"``."""
        tests = self.disparity
        return {
            **{name: metric.to_json() for name, metric in self.metrics.items()},
            "by_class": {
                label: {name: metric.to_json() for name, metric in metrics.items()}
                for label, metrics in self.by_class.items()
            },
            "disparity": None if tests is None else {k: t.to_json() for k, t in tests.items()},
            "counts": self.counts,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Sequence[str]) -> MetricSummary:
        """Return the summary that ``to_json`` wrote.

        Args:
            data: The plain data, which may have other keys too.
            names: The metrics to read; those that ``data`` lacks are left out.
        """
        tests = data.get("disparity")
        return cls(
            {name: Metric.from_json(data[name]) for name in names if name in data},
            {
                label: {name: Metric.from_json(metric) for name, metric in metrics.items()}
                for label, metrics in data["by_class"].items()
            },
            None
            if tests is None
            else {k: PermutationResult.from_json(t) for k, t in tests.items()},
            data["counts"],
        )
