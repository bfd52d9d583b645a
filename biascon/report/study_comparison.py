"""The comparison of the confirmation of a study, as tables, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from biascon.errors import RunError, UsageError, unknown_name
from biascon.report.document import Cell, Table
from biascon.report.study_data import ComparisonGroup, Study
from biascon.report.study_verdicts import (
    describe_group,
    format_difference,
    format_percent,
    format_range,
)
from biascon.report.tables import UNDEFINED_CELL, TableCell
from biascon.studies.confirmation import Comparison, compare_in_metrics
from biascon.studies.records import TEST_METRICS
from biascon.utils.files import write_output

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


def compare_groups_in_metrics(
    study: Study, metrics: Sequence[str]
) -> list[tuple[ComparisonGroup, list[Comparison]]]:
    """Return the comparisons of each group in metrics of the test split; Holm adjusts within a group.

    Args:
        study: The study.
        metrics: Names of ``TEST_METRICS``.

    Raises:
        UsageError: A metric is unknown, or no run of the study has a value of it.
    """
    for metric in metrics:
        if metric not in TEST_METRICS:
            raise unknown_name("metric", metric, TEST_METRICS)
        if all(run.test.get(metric) is None for run in study.full.runs):
            raise UsageError(f"the table of the study has no value of '{metric}' in any run")
    compared = []
    for group in study.groups:
        try:
            comparisons = compare_in_metrics(study.table, group.rule.name, metrics, group.rho)
        except RunError:  # one trial each: the variance of the choice is unknown
            comparisons = []
        compared.append((group, comparisons))
    return compared


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


def comparison_records(
    study: Study, comparisons: Sequence[Comparison] | None = None
) -> list[dict[str, Any]]:
    """Return comparisons as plain data, None for what is undefined.

    Args:
        study: The study.
        comparisons: The comparisons; None for those of the report, in the headline metric and in the gap.
    """
    if comparisons is None:
        groups = study.groups
        comparisons = [c for group in groups for c in (*group.comparisons, *group.gaps.values())]
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


def comparison_csv(study: Study, comparisons: Sequence[Comparison] | None = None) -> str:
    """Return comparisons as CSV; the arguments are those of ``comparison_records``."""
    records = comparison_records(study, comparisons)
    buffer = io.StringIO()
    columns = list(records[0]) if records else ["study", "search", "method", "reference", "verdict"]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def comparison_json(study: Study, comparisons: Sequence[Comparison] | None = None) -> str:
    """Return comparisons as a JSON list; the arguments are those of ``comparison_records``."""
    return json.dumps(comparison_records(study, comparisons), indent=1) + "\n"


def write_comparison(
    study: Study, path: Path, comparisons: Sequence[Comparison] | None = None
) -> None:
    """Write comparisons as CSV or JSON; the suffix of the file name selects the format.

    The other arguments are those of ``comparison_records``.

    Raises:
        UsageError: The suffix is another one.
        BiasconError: The file cannot be written.
    """
    writers = {".csv": comparison_csv, ".json": comparison_json}
    if path.suffix not in writers:
        raise UsageError(f"expected a file that ends in .csv or .json, but got {path.name}")
    write_output({path: writers[path.suffix](study, comparisons)})
