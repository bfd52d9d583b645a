"""An audit as a record: the metrics of one table of counts, with their source and explanatory notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.auditing.baseline import BaselineCounts, PairedDifference, compare_with_baseline
from biascon.auditing.group_rates import (
    RATES,
    GroupRates,
    WeightTables,
    find_compared,
    measure_rates,
)
from biascon.auditing.reference import ReferenceComparison, compare_to_reference
from biascon.auditing.score_metrics import SCORE_VALUES
from biascon.errors import DataError
from biascon.metrics.multiclass import MULTICLASS_METRICS
from biascon.metrics.records import Metric, MetricSummary
from biascon.metrics.summary import ACCURACIES, COMPARISONS

FORMAT = 2  # of the JSON form
METRICS = (*ACCURACIES, *COMPARISONS)
EXTRA_METRICS = ("average_odds_difference", "worst_class", "adjusted_average", *MULTICLASS_METRICS)
PRODUCT = " x "  # joins the names of bias columns, and the values of a combination


@dataclass(frozen=True)
class AuditSource:
    """The predictions that were audited.

    Attributes:
        label: The name of the label column.
        prediction: The name of the prediction column.
        path: The path of the file, None for arrays.
        sha256: The SHA-256 digest of the file, None for arrays.
    """

    label: str
    prediction: str
    path: str | None = None
    sha256: str | None = None

    def to_json(self) -> dict[str, str]:
        """Return the source as plain data; arrays have no ``"predictions"`` and no ``"sha256"``."""
        data = {} if self.path is None else {"predictions": self.path}
        if self.sha256 is not None:
            data["sha256"] = self.sha256
        return {**data, "label": self.label, "prediction": self.prediction}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AuditSource:
        """Return the source that ``to_json`` wrote."""
        return cls(data["label"], data["prediction"], data.get("predictions"), data.get("sha256"))


@dataclass(frozen=True)
class LabelAccuracy:
    """The accuracy of one label in one group.

    Attributes:
        label: The label.
        value: The accuracy.
        n: The rows of the label in the group.
    """

    label: str
    value: float | None
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return the accuracy as plain data."""
        return {"label": self.label, "value": self.value, "n": self.n}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelAccuracy:
        """Return the accuracy that ``to_json`` wrote."""
        return cls(data["label"], data["value"], data["n"])


@dataclass(frozen=True)
class GroupMetrics:
    """The metrics of one group.

    Attributes:
        bias: The bias value of the group, or the values joined by ``" x "``.
        n: The rows of the group.
        accuracy: The accuracy with its Wilson interval.
        worst_label: The label with the lowest accuracy in the group.
        calibration: The metrics of ``SCORE_VALUES`` by name; undefined without scores.
    """

    bias: str
    n: int
    accuracy: Metric
    worst_label: LabelAccuracy
    calibration: Mapping[str, Metric]

    def to_json(self) -> dict[str, Any]:
        """Return the metrics of the group as plain data."""
        return {
            "bias": self.bias,
            "n": self.n,
            "accuracy": self.accuracy.to_json(),
            "worst_label": self.worst_label.to_json(),
            **{name: metric.to_json() for name, metric in self.calibration.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GroupMetrics:
        """Return the metrics that ``to_json`` wrote."""
        return cls(
            data["bias"],
            data["n"],
            Metric.from_json(data["accuracy"]),
            LabelAccuracy.from_json(data["worst_label"]),
            {name: Metric.from_json(data[name]) for name in SCORE_VALUES},
        )


@dataclass(frozen=True)
class AuditRecord:
    """Everything that ``biascon audit --json`` prints of one bias column or combination of columns.

    Attributes:
        source: The predictions.
        bias: The name of the bias column, or the names joined by ``" x "``.
        columns: The bias columns whose combinations are the groups.
        dropped: The rows that were left out because they lack a value.
        rows: The rows that were counted.
        seed: The seed of the bootstrap and of the permutations.
        labels: The K classes.
        groups: The M groups: a value, or the values joined by ``" x "``.
        group_values: The value of every group in each of the columns.
        aligned: How it was decided which cells are bias-aligned.
        notes: Why metrics are undefined, and which rows were left out.
        summary: The metrics of ``METRICS``, the group metrics of each class, the permutation tests and
            the counts.
        extra: The metrics of ``EXTRA_METRICS``: the average odds difference of the positive class, undefined
            unless there are two classes; the lowest accuracy of a label; the accuracy averaged with the
            shares of the training rows, undefined without these; the multi-class equalized odds difference,
            undefined unless there are more than two classes.
        worst_class: The label with the lowest accuracy, None without rows.
        calibration: The metrics of ``SCORE_VALUES`` over all rows; undefined without scores.
        by_group: The metrics of each group.
        min_group: The rows that a group needs to be compared.
        reference: The position of the reference group, None without one.
        weights: The weights of the rows, None without weights.
        baseline: The rows by what a baseline got right, None without one.
    """

    source: AuditSource
    bias: str
    columns: tuple[str, ...]
    dropped: int
    rows: int
    seed: int
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    group_values: tuple[tuple[str, ...], ...]
    aligned: str
    notes: tuple[str, ...]
    summary: MetricSummary
    extra: Mapping[str, Metric]
    worst_class: str | None
    calibration: Mapping[str, Metric]
    by_group: tuple[GroupMetrics, ...]
    min_group: int = 0
    reference: int | None = None
    weights: WeightTables | None = None
    baseline: BaselineCounts | None = None

    def __getitem__(self, name: str) -> Metric:
        """Return a metric over all rows by name.

        Raises:
            KeyError: There is no metric of that name.
        """
        for metrics in (self.calibration, self.extra):
            if name in metrics:
                return metrics[name]
        return self.summary[name]

    @property
    def has_scores(self) -> bool:
        """Whether there were scores, so that calibration is defined."""
        return any(metric.n for metric in self.calibration.values())

    @property
    def aligned_is_known(self) -> bool:
        """Whether some cells are known to be bias-aligned or bias-conflicting."""
        return self.summary["bias_aligned"].n > 0 or self.summary["bias_conflicting"].n > 0

    @property
    def positive(self) -> int | None:
        """The index of the positive class, None without one (more than two labels, none named)."""
        name = self.summary.positive
        return None if name is None else self.labels.index(name)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The table of counts int64 ``(K, M, K)``: label x group x prediction."""
        return np.asarray(self.summary.counts, dtype=np.int64)

    @property
    def compared(self) -> npt.NDArray[np.bool_]:
        """The groups that are compared, bool ``(M,)``; see ``find_compared``."""
        return find_compared(self.counts, self.weights, self.min_group)

    @property
    def rates(self) -> GroupRates:
        """The rates of every class in every group, with their intervals."""
        return measure_rates(self.counts, self.weights)

    def name_group(self, m: int) -> str:
        """Return the name of a group with its columns: ``sex=1, age=old``."""
        pairs = zip(self.columns, self.group_values[m], strict=True)
        return ", ".join(f"{column}={value}" for column, value in pairs)

    def compare_to_reference(self, class_index: int) -> list[ReferenceComparison]:
        """Return every other compared group beside the reference, for one class against the rest."""
        if self.reference is None:
            return []
        return compare_to_reference(self.rates, self.reference, class_index, self.compared)

    def compare_with_baseline(self) -> list[PairedDifference]:
        """Return the differences to the baseline: of all rows, then of each group."""
        if self.baseline is None:
            return []
        return compare_with_baseline(
            self.baseline, has_positive=self.positive is not None, compared=self.compared
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data, in the form that ``biascon audit --json`` prints."""
        summary = self.summary.to_json()
        return {
            **self.source.to_json(),
            "format": FORMAT,
            "bias": self.bias,
            "columns": list(self.columns),
            "dropped": self.dropped,
            "rows": self.rows,
            "seed": self.seed,
            "min_group": self.min_group,
            "labels": list(self.labels),
            "positive": summary["positive"],
            "groups": list(self.groups),
            "group_values": [list(values) for values in self.group_values],
            "aligned": self.aligned,
            "notes": list(self.notes),
            **{name: summary[name] for name in METRICS},
            **{name: metric.to_json() for name, metric in self.extra.items()},
            "worst_class_label": self.worst_class,
            **{name: metric.to_json() for name, metric in self.calibration.items()},
            "macro": summary["macro"],
            "disparity": summary["disparity"],
            "by_class": summary["by_class"],
            "by_group": self._groups_to_json(),
            "reference": self._reference_to_json(),
            "baseline": self._baseline_to_json(),
            "weights": None if self.weights is None else self.weights.to_json(),
            "counts": summary["counts"],
        }

    def _groups_to_json(self) -> list[dict[str, Any]]:
        """Return the metrics of every group, with the rates of the positive class."""
        k, rates, compared = self.positive, self.rates, self.compared
        return [
            {
                **group.to_json(),
                "compared": bool(compared[m]),
                "rates": None
                if k is None
                else {name: rates.by_class[name].metric(k, m).to_json() for name in RATES},
            }
            for m, group in enumerate(self.by_group)
        ]

    def _reference_to_json(self) -> dict[str, Any] | None:
        """Return the reference group, and every other group beside it for the positive class."""
        if self.reference is None:
            return None
        k = self.positive
        others = [] if k is None else self.compare_to_reference(k)
        return {
            "bias": self.groups[self.reference],
            "index": self.reference,
            "groups": [comparison.to_json(self.groups) for comparison in others],
        }

    def _baseline_to_json(self) -> dict[str, Any] | None:
        if self.baseline is None:
            return None
        differences = [entry.to_json(self.groups) for entry in self.compare_with_baseline()]
        return {**self.baseline.to_json(), "differences": differences}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AuditRecord:
        """Return the record that ``to_json`` wrote.

        Raises:
            DataError: The data are of another format, or lack metrics of this version.
        """
        found = data.get("format", 1)
        if found != FORMAT:
            raise DataError(
                f"expected an audit of format {FORMAT}, but got {found}: audit the predictions again"
            )
        if missing := {*METRICS, *EXTRA_METRICS} - {*data}:
            raise DataError(f"the audit has no {min(missing)}: audit the predictions again")
        reference, weights, baseline = (data[name] for name in ("reference", "weights", "baseline"))
        return cls(
            source=AuditSource.from_json(data),
            bias=data["bias"],
            columns=tuple(data["columns"]),
            dropped=data["dropped"],
            rows=data["rows"],
            seed=data["seed"],
            labels=tuple(data["labels"]),
            groups=tuple(data["groups"]),
            group_values=tuple(tuple(values) for values in data["group_values"]),
            aligned=data["aligned"],
            notes=tuple(data["notes"]),
            summary=MetricSummary.from_json(data, METRICS),
            extra={name: Metric.from_json(data[name]) for name in EXTRA_METRICS},
            worst_class=data["worst_class_label"],
            calibration={name: Metric.from_json(data[name]) for name in SCORE_VALUES},
            by_group=tuple(GroupMetrics.from_json(group) for group in data["by_group"]),
            min_group=data["min_group"],
            reference=None if reference is None else reference["index"],
            weights=None if weights is None else WeightTables.from_json(weights),
            baseline=None if baseline is None else BaselineCounts.from_json(baseline),
        )
