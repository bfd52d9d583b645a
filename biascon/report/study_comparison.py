"""The comparison of the confirmation of a study, as tables, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from biascon.errors import UsageError
from biascon.report.document import Cell, Table
from biascon.report.study_data import ComparisonGroup, Study
from biascon.report.study_verdicts import (
    describe_group,
    format_difference,
    format_percent,
    format_range,
)
from biascon.report.tables import UNDEFINED_CELL, TableCell
from biascon.studies.confirmation import Comparison
from biascon.utils.files import write_atomic

COMPARISON_COLUMNS = (
    "method", "verdict", "mean", "reference", "difference", "difference, 95 %", "settings alone, 95 %", "n",
    "P(better)", "P(better), 95 %", "p", "p (Holm)", "p (level)", "p (level, Holm)",
)  # fmt: skip
GAP_COLUMNS = (
    "method", "mean", "reference", "difference", "difference, 95 %", "settings alone, 95 %", "p", "p (Holm)",
)  # fmt: skip


def percent_cell(value: float | None) -> TableCell:
    """Return a rate in percent as a cell."""
    text = format_percent(value)
    return UNDEFINED_CELL if text == "-" else TableCell(text, f"{100 * (value or 0):.6g}")


def points_cell(value: float) -> TableCell:
    """Return a difference in points as a cell."""
    return (
        UNDEFINED_CELL
        if math.isnan(value)
        else TableCell(format_difference(value), f"{100 * value:.6g}")
    )


def interval_cell(c: Comparison) -> Cell:
    """Return the interval that holds for another search; undefined at another rho than that of the trials."""
    return format_range(c.low, c.high) if c.holds_for_search else UNDEFINED_CELL


def p_cell(p: float) -> TableCell:
    """Return a p-value as a cell."""
    if math.isnan(p):
        return UNDEFINED_CELL
    return TableCell("< 0.001" if p < 0.001 else f"{p:.3f}", f"{p:.6g}")


def comparison_rows(study: Study, group: ComparisonGroup) -> list[list[Cell]]:
    """Return a row for each comparison of a group, with the columns of ``COMPARISON_COLUMNS``."""
    return [
        [
            study.label(c.method),
            c.verdict.value,
            percent_cell(c.mean),
            percent_cell(c.reference_mean),
            points_cell(c.difference),
            interval_cell(c),
            format_range(c.settings_low, c.settings_high),
            str(c.n),
            percent_cell(c.better),
            f"{100 * c.better_low:.0f} to {100 * c.better_high:.0f}",
            p_cell(c.p),
            p_cell(c.p_holm),
            p_cell(c.p_equivalence),
            p_cell(c.p_equivalence_holm),
        ]
        for c in group.comparisons
    ]


def comparison_tables(study: Study, group: ComparisonGroup) -> list[Table]:
    """Return the table of the headline metric of a group, and that of the gap."""
    where = f"{describe_group(group)}: against {study.reference}"
    tables = [
        Table(
            f"{where}, {study.accuracy} on the test images in percent, differences in points",
            COMPARISON_COLUMNS,
            comparison_rows(study, group),
        )
    ]
    if group.gaps:
        rows: list[list[Cell]] = [
            [
                study.label(c.method), percent_cell(c.mean), percent_cell(c.reference_mean),
                points_cell(c.difference), interval_cell(c), format_range(c.settings_low, c.settings_high),
                p_cell(c.p), p_cell(c.p_holm),
            ]
            for c in group.gaps.values()
        ]  # fmt: skip
        title = f"{where}, gap between bias-aligned and bias-conflicting accuracy (lower is better)"
        tables.append(Table(title, GAP_COLUMNS, rows))
    return tables


def comparison_records(study: Study) -> list[dict[str, Any]]:
    """Return every comparison as plain data, None for what is undefined."""
    comparisons: list[Comparison] = []
    for group in study.groups:
        comparisons += [*group.comparisons, *group.gaps.values()]
    return [
        {
            "study": study.table.name,
            "search": study.table.search_digest,
            "margin": study.margin,
            **{
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in asdict(c).items()
            },
            "verdict": c.verdict.value,
        }
        for c in comparisons
    ]


def comparison_csv(study: Study) -> str:
    """Return every comparison as CSV."""
    records = comparison_records(study)
    buffer = io.StringIO()
    columns = list(records[0]) if records else ["study", "search", "method", "reference", "verdict"]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def comparison_json(study: Study) -> str:
    """Return every comparison as a JSON list."""
    return json.dumps(comparison_records(study), indent=1) + "\n"


def write_comparison(study: Study, path: Path) -> None:
    """Write every comparison as CSV or JSON; the suffix of the file name selects the format.

    Raises:
        UsageError: The suffix is another one.
        BiasconError: The file cannot be written.
    """
    writers = {".csv": comparison_csv, ".json": comparison_json}
    if path.suffix not in writers:
        raise UsageError(f"expected a file that ends in .csv or .json, but got {path.name}")
    write_atomic(path, writers[path.suffix](study))
