"""Records of metrics: one metric with its interval, a permutation test, all metrics of one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell: one pair of a label and a bias value.

    Attributes:
        label: The label, as an index or as a name.
        bias: The bias value, as an index or as a name.
    """

    label: int | str
    bias: int | str

    def to_json(self) -> dict[str, int | str]:
        """Return ``{"label", "bias"}``."""
        return {"label": self.label, "bias": self.bias}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """Return the cell whose ``to_json`` is ``data``."""
        return cls(data["label"], data["bias"])


@dataclass(frozen=True)
class Metric:
    """A metric with its number of rows and its 95 % interval.

    Attributes:
        value: The value of the metric, None where it is undefined.
        n: The number of rows from which the metric is computed.
        low: The lower limit of the interval, None without an interval.
        high: The upper limit of the interval, None without an interval.
        cell: The cell with the lowest accuracy, for the worst-group accuracy. None for other metrics.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    cell: Cell | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The limits (low, high), None where a limit is undefined."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def to_json(self, *, interval: bool = True) -> dict[str, Any]:
        """Return ``{"value", "n", "ci": [low, high]}``, with ``"group"`` if there is a cell.

        Args:
            interval: Whether to include ``"ci"``.
        """
        data: dict[str, Any] = {"value": self.value, "n": self.n}
        if interval:
            data["ci"] = [self.low, self.high]
        if self.cell is not None:
            data["group"] = self.cell.to_json()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Metric:
        """Return the metric whose ``to_json`` is ``data``."""
        low, high = data.get("ci", (None, None))
        cell = Cell.from_json(data["group"]) if data.get("group") is not None else None
        return cls(data["value"], data["n"], low, high, cell)


UNDEFINED = Metric(None, 0)


@dataclass(frozen=True)
class PermutationResult:
    """A permutation test of the hypothesis that a metric does not depend on the bias attribute.

    Attributes:
        expected: The mean of the metric over permutations of the bias values, None where it is undefined.
        p: The permutation p-value, None where it is undefined.
        within: ``"rows"`` if the bias values are permuted among all rows, ``"labels"`` if they are permuted
            among the rows of each label.
        replicates: The number of permutations.
    """

    expected: float | None
    p: float | None
    within: str
    replicates: int

    def to_json(self) -> dict[str, Any]:
        """Return ``{"expected", "p", "within", "replicates"}``."""
        return {
            "expected": self.expected,
            "p": self.p,
            "within": self.within,
            "replicates": self.replicates,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PermutationResult:
        """Return the test whose ``to_json`` is ``data``."""
        return cls(data["expected"], data["p"], data["within"], data["replicates"])


@dataclass(frozen=True)
class MetricSummary:
    """All metrics of the predictions on one split.

    Attributes:
        metrics: The metrics by name. A comparison of groups is that of the positive class if there is one,
            and the mean over classes otherwise.
        by_class: The comparisons of groups for each class, by label and metric name.
        disparity: The permutation tests by metric name, None if they were not computed.
        counts: The table of counts ``(K, M, K)`` as nested lists: label x bias x prediction. None without a
            bias attribute.
        positive: The positive class: the one that was named, or the second of two labels. None for another
            number of labels, and without a bias attribute.
        macro: The comparisons of groups as means over classes, by metric name.
    """

    metrics: Mapping[str, Metric]
    by_class: Mapping[str, Mapping[str, Metric]]
    disparity: Mapping[str, PermutationResult] | None
    counts: Sequence[Sequence[Sequence[int]]] | None
    positive: str | None = None
    macro: Mapping[str, Metric] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Metric:
        """Return the metric of ``metrics`` with this name.

        Raises:
            KeyError: The summary has no metric with this name.
        """
        return self.metrics[name]

    def to_json(self) -> dict[str, Any]:
        """Return ``{name: metric, ..., "positive", "macro", "by_class", "disparity", "counts"}``."""
        tests = self.disparity
        return {
            **{name: metric.to_json() for name, metric in self.metrics.items()},
            "positive": self.positive,
            "macro": {name: metric.to_json() for name, metric in self.macro.items()},
            "by_class": {
                label: {name: metric.to_json() for name, metric in metrics.items()}
                for label, metrics in self.by_class.items()
            },
            "disparity": None
            if tests is None
            else {name: test.to_json() for name, test in tests.items()},
            "counts": self.counts,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Sequence[str]) -> MetricSummary:
        """Return the summary whose ``to_json`` is ``data``.

        Args:
            data: The result of ``to_json``; it may have more keys.
            names: The names of the metrics to read. Names without an entry in ``data`` are skipped.
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
            else {name: PermutationResult.from_json(test) for name, test in tests.items()},
            data["counts"],
            data["positive"],
            {name: Metric.from_json(metric) for name, metric in data["macro"].items()},
        )
