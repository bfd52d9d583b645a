"""The tables of the groups of an audit: rates, errors, scores, and differences to a reference group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biascon.auditing.display.formats import (
    format_percent,
    format_rate,
    format_ratio,
    format_score,
    format_value,
)
from biascon.auditing.display.text_table import TextTable
from biascon.auditing.record import AuditRecord
from biascon.auditing.reference import COMPARED_RATES, ReferenceComparison
from biascon.auditing.score_metrics import IF_CALIBRATED
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.records import Metric
from biascon.utils.text import shorten

MAX_ROWS = 20  # shown in the tables of groups and of classes


def format_limit(n: int, criterion: str) -> str:
    """Return the end of the title of a table that shows some of its rows."""
    return f" (the {MAX_ROWS} of {n:,} with {criterion})" if n > MAX_ROWS else ""


def groups_table(record: AuditRecord) -> TextTable:
    """Return n and accuracy of every group; the selection rate for two classes, else the worst label."""
    k, rates, compared = record.positive, record.rates, record.compared
    header = [*record.columns, "n", "accuracy [95 %]"]
    if record.weights is not None:
        header.insert(len(record.columns) + 1, "effective n")
    header += ["worst label", "its accuracy", "its n"] if k is None else ["selection rate [95 %]"]
    if not compared.all():
        header.append("compared")
    rows = []
    for m in _shown_groups(record):
        group = record.by_group[m]
        row = [*record.group_values[m], f"{group.n:,}"]
        if record.weights is not None:
            row.append(f"{rates.effective_n[m]:,.0f}")
        row.append(format_rate(group.accuracy))
        if k is None:
            worst = group.worst_label
            row += [worst.label, format_value("accuracy", worst.value), f"{worst.n:,}"]
        else:
            row.append(format_rate(rates.by_class["selection_rate"].metric(k, m)))
        if not compared.all():
            row.append("yes" if compared[m] else "no")
        rows.append(row)
    title = "Groups" if k is None else f"Groups; selection: predicted '{shorten(record.labels[k])}'"
    return TextTable(
        title + format_limit(len(record.groups), "the lowest accuracy"),
        header,
        rows,
        len(record.columns),
    )


def _shown_groups(record: AuditRecord) -> list[int]:
    """Return the positions of the groups that the tables show."""

    def accuracy(m: int) -> float:
        value = record.by_group[m].accuracy.value
        return -1.0 if value is None else value

    return sorted(sorted(range(len(record.groups)), key=accuracy)[:MAX_ROWS])


def error_table(record: AuditRecord) -> TextTable:
    """Return the error rates of every group: of the positive class, or of every class against the rest."""
    positive, rates = record.positive, record.rates
    recall = rates.by_class["true_positive_rate"]
    header = [
        *record.columns, "n positive", "TPR [95 %]", "FNR", "n negative", "FPR [95 %]", "n selected",
        "precision [95 %]",
    ]  # fmt: skip
    if positive is not None:
        cells = [(positive, m) for m in _shown_groups(record)]
        title = (
            f"Errors by group; positive: label '{shorten(record.labels[positive])}'"
            + format_limit(len(record.groups), "the lowest accuracy")
        )
    else:
        order = np.argsort(
            np.where(np.isnan(recall.value), np.inf, recall.value), axis=None, kind="stable"
        )
        chosen = sorted(order[:MAX_ROWS].tolist())
        cells = [(i // recall.n.shape[1], i % recall.n.shape[1]) for i in chosen]
        header.insert(0, "class")
        title = "Errors by class and group, each class against the rest" + format_limit(
            recall.n.size, "the lowest true positive rate"
        )
    rows = []
    for k, m in cells:
        metrics = {name: rate.metric(k, m) for name, rate in rates.by_class.items()}
        rows.append(
            [
                *([record.labels[k]] if positive is None else []),
                *record.group_values[m],
                f"{metrics['true_positive_rate'].n:,}",
                format_rate(metrics["true_positive_rate"]),
                format_percent(metrics["false_negative_rate"].value),
                f"{metrics['false_positive_rate'].n:,}",
                format_rate(metrics["false_positive_rate"]),
                f"{metrics['precision'].n:,}",
                format_rate(metrics["precision"]),
            ]
        )
    return TextTable(title, header, rows, len(record.columns) + (positive is None))


def scores_table(record: AuditRecord) -> TextTable:
    """Return AUC and calibration of every group."""
    header = [*record.columns, "n"]
    has_positive = record["auc"].n > 0
    if has_positive:
        header += ["AUC [95 %]", "score - rate [95 %]", "cal. error, positive", "if calibrated"]
    predicted = ("calibration_error", IF_CALIBRATED["calibration_error"], "brier")
    has_predicted = record["calibration_error"].n > 0
    if has_predicted:
        header += [METRIC_NAMES[name].short for name in predicted]
    rows = []
    for m in _shown_groups(record):
        metrics = record.by_group[m].calibration
        row = [*record.group_values[m], f"{max(metric.n for metric in metrics.values()):,}"]
        if has_positive:
            row += [
                format_score(metrics["auc"]),
                format_rate(metrics["calibration_in_the_large"]),
                format_percent(metrics["positive_calibration_error"].value),
                format_percent(metrics[IF_CALIBRATED["positive_calibration_error"]].value),
            ]
        if has_predicted:
            row += [format_value(name, metrics[name].value) for name in predicted]
        rows.append(row)
    return TextTable(
        "Scores by group" + format_limit(len(record.groups), "the lowest accuracy"),
        header,
        rows,
        len(record.columns),
    )


def reference_tables(record: AuditRecord) -> list[TextTable]:
    """Return the groups beside the reference group: differences, then ratios; nothing without one."""
    if record.reference is None:
        return []
    positive = record.positive
    classes = range(len(record.labels)) if positive is None else [positive]
    pairs = [(k, c) for k in classes for c in record.compare_to_reference(k)]

    def size(pair: tuple[int, ReferenceComparison]) -> float:
        value = pair[1].differences["true_positive_rate"].value
        return 0.0 if value is None else -abs(value)

    shown = set(sorted(range(len(pairs)), key=lambda i: size(pairs[i]))[:MAX_ROWS])
    chosen = [pair for i, pair in enumerate(pairs) if i in shown]
    name = record.name_group(record.reference)
    limit = format_limit(len(pairs), "the largest difference of the true positive rate")
    names = [*COMPARED_RATES, "accuracy"]
    columns = [*(["class"] if positive is None else []), *record.columns]
    headers = [METRIC_NAMES[rate].short for rate in names]
    return [
        TextTable(
            f"Differences to the reference {name}, in points [95 %]{limit}",
            [*columns, *headers, "average odds"],
            [
                [
                    *_first_cells(record, k, c),
                    *_cells([*(c.differences[rate] for rate in names), c.average_odds_difference]),
                ]
                for k, c in chosen
            ],
            len(columns),
        ),
        TextTable(
            f"Ratios to the reference {name} [95 %]{limit}",
            [*columns, *headers],
            [
                [*_first_cells(record, k, c), *(format_ratio(c.ratios[rate]) for rate in names)]
                for k, c in chosen
            ],
            len(columns),
        ),
    ]


def _first_cells(record: AuditRecord, k: int, comparison: ReferenceComparison) -> list[str]:
    label = [record.labels[k]] if record.positive is None else []
    return [*label, *record.group_values[comparison.group]]


def _cells(metrics: Sequence[Metric]) -> list[str]:
    return [format_rate(metric) for metric in metrics]
