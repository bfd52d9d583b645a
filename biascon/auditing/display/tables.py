"""The tables of an audit as text; ``-`` stands for an undefined value."""

from __future__ import annotations

import numpy as np

from biascon.auditing.display.baseline_table import baseline_table
from biascon.auditing.display.formats import (
    format_interval,
    format_permutation,
    format_value,
)
from biascon.auditing.display.group_tables import (
    MAX_ROWS,
    error_table,
    format_limit,
    groups_table,
    reference_tables,
    scores_table,
)
from biascon.auditing.display.text_table import TextTable
from biascon.auditing.record import METRICS, AuditRecord
from biascon.auditing.score_metrics import IF_CALIBRATED, SCORE_METRICS
from biascon.metrics.multiclass import MULTICLASS_METRICS
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.paired_tests import holm
from biascon.metrics.records import Metric
from biascon.metrics.summary import NEED_ALIGNED
from biascon.utils.text import count_of, shorten

CLASS_METRICS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
    "predictive_parity_difference",
)
MAX_CELLS = 10  # shown in the table of the cells with the lowest accuracy


def describe_source(record: AuditRecord) -> str:
    """Return one line with the file, the number of rows, the columns and the classes."""
    source = record.source
    path = "" if source.path is None else f"{source.path}: "
    positive = record.summary.positive
    weights = "" if record.weights is None else f", weighted by '{shorten(record.weights.column)}'"
    return (
        f"{path}{count_of(record.rows, 'row')}, label '{shorten(source.label)}', "
        f"prediction '{shorten(source.prediction)}', "
        f"{count_of(len(record.labels), 'class', 'classes')}"
        + ("" if positive is None else f", positive class '{shorten(positive)}'")
        + weights
    )


def audit_tables(record: AuditRecord) -> list[TextTable]:
    """Return the tables of one record, the answer first: groups, comparisons, then what they are made of."""
    tables = [
        _metrics_table(record),
        groups_table(record),
        error_table(record),
        *reference_tables(record),
    ]
    if record.has_scores:
        tables.append(scores_table(record))
    if record.baseline is not None:
        tables.append(baseline_table(record))
    return [*tables, _classes_table(record), _cells_table(record)]


def _metrics_table(record: AuditRecord) -> TextTable:
    names = [name for name in METRICS if record.aligned_is_known or name not in NEED_ALIGNED]
    names.insert(names.index("worst_group") + 1, "worst_class")
    if record["adjusted_average"].n:
        names.insert(names.index("unbiased") + 1, "adjusted_average")
    if record.positive is not None:
        names.insert(names.index("equal_opportunity_difference"), "average_odds_difference")
    if record[MULTICLASS_METRICS[0]].n:
        names.insert(names.index("equal_opportunity_difference"), MULTICLASS_METRICS[0])
    names += [
        shown
        for name in SCORE_METRICS
        if record[name].n
        for shown in (name, IF_CALIBRATED.get(name))
        if shown is not None
    ]
    tests = record.summary.disparity or {}
    tested = [name for name in names if name in tests]
    raw = np.array([tests[name].p for name in tested], dtype=np.float64)  # NaN where undefined
    adjusted = dict(zip(tested, holm(raw).tolist(), strict=True))
    what = (
        f"comparisons for the positive class '{shorten(record.summary.positive or '')}'"
        if record.positive is not None
        else "comparisons are means over classes"
    )
    aligned = f"; aligned: {record.aligned}" if record.aligned_is_known else ""
    header = ["metric", "value", "95 % interval", "n"]
    rows = [[_name_metric(record, name), *_format_metric(name, record[name])] for name in names]
    if tests:
        header += ["by chance", "p", "Holm p"]
        rows = [
            [*row, *_format_permutation(record, name, adjusted.get(name))]
            for row, name in zip(rows, names, strict=True)
        ]
    return TextTable(
        f"By {record.bias}: {count_of(len(record.groups), 'group')}; {what}{aligned}",
        header,
        rows,
    )


def _name_metric(record: AuditRecord, name: str) -> str:
    """Return the name of a metric, with its cell or its class."""
    text = METRIC_NAMES[name].name
    cell = record[name].cell
    if name == "worst_class" and record.worst_class is not None:
        return f"{text} (label {record.worst_class})"
    if cell is None:
        return text
    group = record.name_group(record.groups.index(str(cell.bias)))
    return f"{text} (label {cell.label}, {group})"


def _format_metric(name: str, metric: Metric) -> list[str]:
    return [format_value(name, metric.value), format_interval(name, metric), f"{metric.n:,}"]


def _format_permutation(record: AuditRecord, name: str, adjusted: float | None) -> list[str]:
    result = (record.summary.disparity or {}).get(name)
    if result is None:
        return ["", "", ""]
    return [
        format_value(name, result.expected),
        format_permutation(result, result.p),
        format_permutation(result, adjusted),
    ]


def _classes_table(record: AuditRecord) -> TextTable:
    by_class = record.summary.by_class

    def disparity(label: str) -> float:
        value = by_class[label]["equalized_odds_difference"].value
        return -1.0 if value is None else value

    n_rows = record.counts[:, record.compared].sum(axis=(1, 2)).tolist()
    shown = set(sorted(record.labels, key=disparity, reverse=True)[:MAX_ROWS])
    rows = [
        [
            f"{label} (positive)" if label == record.summary.positive else label,
            f"{n:,}",
            *(format_value(name, by_class[label][name].value) for name in CLASS_METRICS),
        ]
        for label, n in zip(record.labels, n_rows, strict=True)
        if label in shown
    ]
    macro = record.summary.macro
    rows.append(
        [
            "mean over classes",
            f"{sum(n_rows):,}",
            *(format_value(name, macro[name].value) for name in CLASS_METRICS),
        ]
    )
    which = "groups" if record.compared.all() else "compared groups"
    return TextTable(
        f"Comparison of the {which} of {record.bias}, each class against the rest"
        + format_limit(len(record.labels), "the largest equalized odds difference"),
        ["class", "n", *(METRIC_NAMES[name].short for name in CLASS_METRICS)],
        rows,
    )


def _cells_table(record: AuditRecord) -> TextTable:
    rate = record.rates.by_class["true_positive_rate"]  # (K, M)
    filled = np.argwhere(~np.isnan(rate.value)).tolist()
    cells = sorted((float(rate.value[k, m]), k, m) for k, m in filled)
    return TextTable(
        f"Cells with the lowest accuracy ({min(MAX_CELLS, len(cells))} of {len(cells):,} cells with rows; "
        f"{rate.n.size - len(cells):,} cells without)",
        ["label", *record.columns, "n", "accuracy", "95 % interval"],
        [
            [
                record.labels[k],
                *record.group_values[m],
                f"{rate.n[k, m]:,}",
                format_value("accuracy", accuracy),
                format_interval("accuracy", rate.metric(k, m)),
            ]
            for accuracy, k, m in cells[:MAX_CELLS]
        ],
        1 + len(record.columns),
    )
