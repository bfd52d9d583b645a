"""The tables of an audit as text; ``-`` stands for an undefined value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biascon.auditing.calibration import CALIBRATION_METRICS
from biascon.auditing.record import METRICS, AuditRecord, GroupMetrics
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.records import Metric

CLASS_METRICS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
    "predictive_parity_difference",
)
LEGEND = (
    "Rates and differences in percent, ratios in 0..1. n: number of rows. -: undefined. Cell: the rows of "
    "one label in one group. Unbiased accuracy: mean over all cells; bias-aligned and bias-conflicting: "
    "mean over the aligned and the conflicting cells. Worst group: the cell with the lowest accuracy. "
    "Differences and ratios compare the groups: demographic parity (DP), equalized odds (EO), equal "
    "opportunity (EOpp), predictive parity (PP). They are computed for each class against the rest; the "
    "first table has the mean over classes. Intervals (95 %): Wilson for single rates, bootstrap over "
    "rows for means. The intervals of the worst group, of differences and of ratios are wide: they are "
    "made to cover the true value in 95 % of samples or more. By chance: mean of the metric when the "
    "bias values are permuted, among all rows for demographic parity, among the rows of each label for "
    "the other metrics. p: permutation p-value."
)
MAX_ROWS = 20  # shown in the tables of groups and of classes
MAX_CELLS = 10  # shown in the table of the cells with the lowest accuracy


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        title: The title.
        header: The names of the columns.
        rows: The cells of each row.
        left: How many of the first columns are aligned to the left; the others are aligned to the right.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    left: int = 1


def describe_source(record: AuditRecord) -> str:
    """Return one line with the file, the number of rows, the columns and the number of classes."""
    source = record.source
    path = "" if source.path is None else f"{source.path}: "
    return (
        f"{path}{record.rows:,} rows, label '{source.label}', prediction '{source.prediction}', "
        f"{len(record.labels):,} classes"
    )


def audit_tables(record: AuditRecord) -> list[TextTable]:
    """Return the tables of one record: metrics, groups, classes, cells with the lowest accuracy."""
    return [
        _metrics_table(record),
        _groups_table(record),
        _classes_table(record),
        _cells_table(record),
    ]


def _metrics_table(record: AuditRecord) -> TextTable:
    names = [*METRICS, *(name for name in CALIBRATION_METRICS if record[name].n)]
    return TextTable(
        f"By {record.bias}: {len(record.groups):,} groups; aligned: {record.aligned}",
        ["metric", "value", "95 % interval", "n", "by chance", "p"],
        [
            [
                METRIC_NAMES[name].name + _format_cell(record[name]),
                *_format_metric(name, record[name]),
                *_format_permutation(record, name),
            ]
            for name in names
        ],
    )


def _groups_table(record: AuditRecord) -> TextTable:
    calibration = CALIBRATION_METRICS if record.has_scores else ()

    def accuracy(m: int) -> float:
        value = record.by_group[m].accuracy.value
        return -1.0 if value is None else value

    shown = sorted(sorted(range(len(record.groups)), key=accuracy)[:MAX_ROWS])
    return TextTable(
        "Groups" + _format_limit(len(record.groups), "the lowest accuracy"),
        [
            record.bias,
            "n",
            "accuracy",
            "95 % interval",
            "worst label",
            "its accuracy",
            "its n",
            *(METRIC_NAMES[name].short for name in calibration),
        ],
        [_group_row(record.by_group[m], calibration) for m in shown],
    )


def _group_row(group: GroupMetrics, calibration: Sequence[str]) -> list[str]:
    worst = group.worst_label
    return [
        group.bias,
        f"{group.n:,}",
        *_format_metric("accuracy", group.accuracy)[:2],
        worst.label,
        format_value("accuracy", worst.value),
        f"{worst.n:,}",
        *(format_value(name, group.calibration[name].value) for name in calibration),
    ]


def _classes_table(record: AuditRecord) -> TextTable:
    by_class = record.summary.by_class

    def disparity(label: str) -> float:
        value = by_class[label]["equalized_odds_difference"].value
        return -1.0 if value is None else value

    n_rows = record.counts.sum(axis=(1, 2)).tolist()
    shown = set(sorted(record.labels, key=disparity, reverse=True)[:MAX_ROWS])
    return TextTable(
        f"Comparison of the groups of {record.bias}, each class against the rest"
        + _format_limit(len(record.labels), "the largest equalized odds difference"),
        ["class", "n", *(METRIC_NAMES[name].short for name in CLASS_METRICS)],
        [
            [
                label,
                f"{n:,}",
                *(format_value(name, by_class[label][name].value) for name in CLASS_METRICS),
            ]
            for label, n in zip(record.labels, n_rows, strict=True)
            if label in shown
        ],
    )


def _cells_table(record: AuditRecord) -> TextTable:
    table = record.counts
    n_rows = table.sum(axis=-1)  # (K, M)
    cells = sorted(
        (int(table[k, m, k]) / int(n_rows[k, m]), k, m) for k, m in np.argwhere(n_rows).tolist()
    )
    return TextTable(
        f"Cells with the lowest accuracy ({min(MAX_CELLS, len(cells))} of {len(cells):,} cells with rows; "
        f"{n_rows.size - len(cells):,} cells without)",
        ["label", record.bias, "n", "accuracy"],
        [
            [
                record.labels[k],
                record.groups[m],
                f"{n_rows[k, m]:,}",
                format_value("accuracy", accuracy),
            ]
            for accuracy, k, m in cells[:MAX_CELLS]
        ],
        2,
    )


def format_value(name: str, value: float | None) -> str:
    """Return a metric's value as text: a rate in percent, a ratio in 0..1, the Brier score in 0..2."""
    if value is None:
        return "-"
    if name == "brier":
        return f"{value:.3f}"
    return f"{value:.2f}" if METRIC_NAMES[name].is_ratio else f"{100 * value:.1f}"


def _format_metric(name: str, metric: Metric) -> list[str]:
    low, high = format_value(name, metric.low), format_value(name, metric.high)
    interval = "-" if metric.interval is None else f"{low} to {high}"
    return [format_value(name, metric.value), interval, f"{metric.n:,}"]


def _format_permutation(record: AuditRecord, name: str) -> list[str]:
    result = (record.summary.disparity or {}).get(name)
    if result is None:
        return ["", ""]
    p = "-" if result.p is None else f"{result.p:.4f}"
    return [format_value(name, result.expected), p]


def _format_cell(metric: Metric) -> str:
    return "" if metric.cell is None else f" (label {metric.cell.label}, {metric.cell.bias})"


def _format_limit(n: int, criterion: str) -> str:
    return f" (the {MAX_ROWS} of {n:,} with {criterion})" if n > MAX_ROWS else ""
