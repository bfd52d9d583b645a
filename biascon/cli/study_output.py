"""The comparison of a tuning study, as ``compare``, ``report`` and ``tune`` print it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.output import format_table, print_note

if TYPE_CHECKING:
    from biascon.report.study_data import Study


def compare_study(path: Path, against: str | None, out: Path | None, *, as_json: bool) -> None:
    """Print the comparison of the confirmation of a study, and write it.

    Args:
        path: The table of the study.
        against: The method that the others are compared with; None for the reference of the study.
        out: A .csv or .json file that gets every comparison.
        as_json: Whether a JSON object is printed for each comparison, instead of tables.
    """
    from biascon.report.study_comparison import comparison_records, write_comparison
    from biascon.report.study_data import load_study, make_study

    study = make_study(load_study(path), reference=against)
    if out is not None:
        write_comparison(study, out)
    if not as_json:
        click.echo(format_comparison(study))
        return
    if study.no_verdict:
        print_note(study.no_verdict)
    for record in comparison_records(study):
        click.echo(json.dumps(record))


def format_comparison(study: Study) -> str:
    """Return the comparisons of the confirmation as text: a table for each rule and color correlation."""
    from biascon.report.document import cell_text
    from biascon.report.study_comparison import COMPARISON_COLUMNS, comparison_rows
    from biascon.report.study_verdicts import describe_group

    description = study.table.description
    lines = [
        f"study {study.table.name}: {description['dataset']['name']}, preset {description['preset']}, "
        f"{description['trials']} trials"
    ]
    if study.no_verdict:
        return "\n".join([*lines, study.no_verdict])
    for group in study.groups:
        lines += [
            "",
            f"{describe_group(group)}: {study.accuracy} against {study.reference}, tuned with the same "
            "budget; differences in points",
        ]
        if group.comparisons:
            rows = [[cell_text(cell) for cell in row] for row in comparison_rows(study, group)]
            lines.append(format_table(COMPARISON_COLUMNS, rows))
        if group.missing:
            reasons = "; ".join(f"{method} ({why})" for method, why in group.missing.items())
            lines.append(f"not compared: {reasons}")
    lines.append(
        f"\nHolm: adjusted over the methods of a table; level: smaller than {100 * study.margin:.1f} points"
    )
    return "\n".join(lines)
