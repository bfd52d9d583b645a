"""An audit as a record: the metrics of one table of counts, with their source and explanatory notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.auditing.calibration import CALIBRATION_METRICS, calibration_metrics
from biascon.data.alignment import Alignment
from biascon.metrics.accuracy import cell_accuracy, correct
from biascon.metrics.calibration import CalibrationSums
from biascon.metrics.counts import divide
from biascon.metrics.intervals import wilson
from biascon.metrics.records import Cell, Metric, MetricSummary
from biascon.metrics.summary import (
    ACCURACIES,
    COMPARISONS,
    finite_or_none,
    make_metric,
    measure_counts,
)
from biascon.utils.text import join_first, quote_some
from biascon.utils.types import Array

METRICS = (*ACCURACIES, *COMPARISONS)
MAX_RESAMPLED = 200_000  # cells of a table; the bootstrap of a larger table would take minutes
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
        calibration: Calibration error and Brier score by name; undefined without scores.
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
            {name: Metric.from_json(data[name]) for name in CALIBRATION_METRICS},
        )


@dataclass(frozen=True)
class AuditRecord:
    """Everything that ``biascon audit --json`` prints of one bias column or combination of columns.

    Attributes:
        source: The predictions.
        bias: The name of the bias column, or the names joined by ``" x "``.
        dropped: The rows that were left out because they lack a value.
        rows: The rows that were counted.
        seed: The seed of the bootstrap and of the permutations.
        labels: The K classes.
        groups: The M groups.
        aligned: How it was decided which cells are bias-aligned.
        notes: Why metrics are undefined, and which rows were left out.
        summary: The metrics of ``METRICS``, the group metrics of each class, the permutation tests and
            the counts.
        calibration: Calibration error and Brier score over all rows; undefined without scores.
        by_group: The metrics of each group.
    """

    source: AuditSource
    bias: str
    dropped: int
    rows: int
    seed: int
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    aligned: str
    notes: tuple[str, ...]
    summary: MetricSummary
    calibration: Mapping[str, Metric]
    by_group: tuple[GroupMetrics, ...]

    def __getitem__(self, name: str) -> Metric:
        """Return a metric over all rows by name.

        Raises:
            KeyError: There is no metric of that name.
        """
        return self.calibration[name] if name in self.calibration else self.summary[name]

    @property
    def has_scores(self) -> bool:
        """Whether there were scores, so that calibration is defined."""
        return any(metric.n for metric in self.calibration.values())

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The table of counts int64 ``(K, M, K)``: label x group x prediction."""
        return np.asarray(self.summary.counts, dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data, in the form that ``biascon audit --json`` prints."""
        summary = self.summary.to_json()
        return {
            **self.source.to_json(),
            "bias": self.bias,
            "dropped": self.dropped,
            "rows": self.rows,
            "seed": self.seed,
            "labels": list(self.labels),
            "groups": list(self.groups),
            "aligned": self.aligned,
            "notes": list(self.notes),
            **{name: summary[name] for name in METRICS},
            **{name: metric.to_json() for name, metric in self.calibration.items()},
            "positive": summary["positive"],
            "macro": summary["macro"],
            "disparity": summary["disparity"],
            "by_class": summary["by_class"],
            "by_group": [group.to_json() for group in self.by_group],
            "counts": summary["counts"],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AuditRecord:
        """Return the record that ``to_json`` wrote."""
        return cls(
            source=AuditSource.from_json(data),
            bias=data["bias"],
            dropped=data["dropped"],
            rows=data["rows"],
            seed=data["seed"],
            labels=tuple(data["labels"]),
            groups=tuple(data["groups"]),
            aligned=data["aligned"],
            notes=tuple(data["notes"]),
            summary=MetricSummary.from_json(data, METRICS),
            calibration={name: Metric.from_json(data[name]) for name in CALIBRATION_METRICS},
            by_group=tuple(GroupMetrics.from_json(group) for group in data["by_group"]),
        )


def compute_audit(
    table: Array,
    classes: Sequence[str],
    groups: Sequence[str],
    alignment: Alignment,
    *,
    source: AuditSource,
    bias: str,
    dropped: int,
    notes: Sequence[str],
    seed: int,
    scores: CalibrationSums | None = None,
) -> AuditRecord:
    """Return the record of a table of counts.

    Args:
        table: int64 ``(K, M, K)``: label x group x prediction.
        classes: The names of the K classes.
        groups: The names of the M groups.
        alignment: Which cells are aligned.
        source: The predictions.
        bias: The name of the bias column or combination.
        dropped: The rows that were left out because they lack a value.
        notes: The notes about the rows; notes about the table are added.
        seed: The seed of the bootstrap and of the permutations.
        scores: The sums of scores by group, None without scores.
    """
    has_intervals = table.size <= MAX_RESAMPLED
    notes = [*notes, *alignment.notes, *_undefined_notes(table, classes, groups)]
    if not has_intervals:
        notes.append(
            f"no intervals: the table has {table.size:,} cells label x group x prediction, and more than "
            f"{MAX_RESAMPLED:,} are not resampled"
        )
    summary = measure_counts(table, classes, alignment.cells, seed=seed, intervals=has_intervals)
    overall, by_group = calibration_metrics(scores, len(groups))
    return AuditRecord(
        source=source,
        bias=bias,
        dropped=dropped,
        rows=int(table.sum()),
        seed=seed,
        labels=tuple(classes),
        groups=tuple(groups),
        aligned=alignment.source,
        notes=tuple(notes),
        summary=_name_worst_group(summary, classes, groups),
        calibration=overall,
        by_group=_group_metrics(table, classes, groups, by_group),
    )


def _name_worst_group(
    summary: MetricSummary, classes: Sequence[str], groups: Sequence[str]
) -> MetricSummary:
    """Return the metrics of ``METRICS`` alone, with the cell of the worst group by name."""
    metrics = {name: summary[name] for name in METRICS}
    cell = metrics["worst_group"].cell
    if cell is not None:
        named = Cell(classes[int(cell.label)], groups[int(cell.bias)])
        metrics["worst_group"] = dataclasses.replace(metrics["worst_group"], cell=named)
    return dataclasses.replace(summary, metrics=metrics)


def _undefined_notes(table: Array, classes: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return notes that say which metrics are undefined for lack of rows."""
    rows = table.sum(axis=-1)  # (K, M)
    notes = []
    unlabeled = {k for k in range(len(classes)) if rows[k].sum() == 0}
    if unlabeled:
        names = quote_some(classes[k] for k in sorted(unlabeled))
        notes.append(f"predicted, but the label of no row (n = 0): {names}")
    if len(groups) == 1:
        notes.append(f"one group only, '{groups[0]}': differences and ratios are undefined")
        return notes
    empty = [(k, m) for k, m in np.argwhere(rows == 0).tolist() if k not in unlabeled]
    if empty:
        cells = join_first([f"'{classes[k]}' in '{groups[m]}'" for k, m in empty])
        affected = quote_some(dict.fromkeys(classes[k] for k, _ in empty))
        notes.append(
            f"labels without a row (n = 0) in a group: {cells}: equal opportunity and equalized odds of "
            f"class {affected} are undefined"
        )
    noted = {k for k, _ in empty}
    only = [(k, m) for k, m in np.argwhere(rows == rows.sum(axis=0)).tolist() if k not in noted]
    if only:
        cells = join_first([f"'{groups[m]}' has only '{classes[k]}'" for k, m in only])
        affected = quote_some(dict.fromkeys(classes[k] for k, _ in only))
        notes.append(
            f"groups of one label: {cells}: equalized odds of class {affected} are undefined"
        )
    return notes


def _group_metrics(
    table: Array,
    classes: Sequence[str],
    groups: Sequence[str],
    calibration: Sequence[Mapping[str, Metric]],
) -> tuple[GroupMetrics, ...]:
    n = table.sum(axis=(0, 2))  # (M,)
    n_correct = correct(table).sum(axis=0)
    accuracy = divide(n_correct, n)
    low, high = wilson(n_correct, n)
    cells = cell_accuracy(table)  # (K, M), NaN where empty
    rows = table.sum(axis=-1)  # (K, M)
    worst = np.nanargmin(cells, axis=0).tolist()  # every group has a row
    return tuple(
        GroupMetrics(
            bias=group,
            n=int(n[m]),
            accuracy=make_metric(accuracy[m], int(n[m]), (low[m], high[m])),
            worst_label=LabelAccuracy(
                classes[worst[m]], finite_or_none(cells[worst[m], m]), int(rows[worst[m], m])
            ),
            calibration=calibration[m],
        )
        for m, group in enumerate(groups)
    )
