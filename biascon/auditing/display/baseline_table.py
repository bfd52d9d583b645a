"""The table of the predictions beside a baseline."""

from __future__ import annotations

from biascon.auditing.display.formats import format_p, format_percent, format_rate
from biascon.auditing.display.group_tables import MAX_ROWS, format_limit
from biascon.auditing.display.text_table import TextTable
from biascon.auditing.record import AuditRecord
from biascon.metrics.names import METRIC_NAMES


def baseline_table(record: AuditRecord) -> TextTable:
    """Return the differences to the baseline of all rows and of each group, paired by row."""
    entries = record.compare_with_baseline()
    groups = [entry for entry in entries if entry.group is not None]
    order = sorted(
        range(len(groups)),
        key=lambda i: (
            1.0 if groups[i].difference.value is None else float(groups[i].difference.value or 0)
        ),
    )
    shown = [groups[i] for i in sorted(order[:MAX_ROWS])]
    column = "" if record.baseline is None else record.baseline.column
    rows = []
    for entry in [*(e for e in entries if e.group is None), *shown]:
        values = (
            ["all rows", *[""] * (len(record.columns) - 1)]
            if entry.group is None
            else [*record.group_values[entry.group]]
        )
        rows.append(
            [
                *values,
                METRIC_NAMES[entry.metric].short,
                f"{entry.difference.n:,}",
                format_percent(entry.prediction),
                format_percent(entry.baseline),
                format_rate(entry.difference),
                format_p(entry.p),
                format_p(entry.holm) if entry.group is not None else "",
            ]
        )
    return TextTable(
        f"Predictions and the baseline '{column}' on the same rows"
        + format_limit(len(groups), "the lowest difference"),
        [
            *record.columns,
            "metric",
            "n",
            "predictions",
            "baseline",
            "difference [95 %]",
            "p",
            "Holm p",
        ],
        rows,
        len(record.columns) + 1,
    )
