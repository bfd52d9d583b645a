"""The comparison of a tuning study, as ``compare``, ``report`` and ``tune`` print it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from biascon.cli.output import format_table, print_json, print_note, print_text
from biascon.utils.text import message_line

if TYPE_CHECKING:
    from biascon.report.study_data import ComparisonGroup, Study
    from biascon.studies.confirmation import Comparison


def compare_study(
    path: Path,
    against: str | None,
    out: Path | None,
    *,
    as_json: bool,
    metrics: Sequence[str] = (),
) -> None:
    """Print the comparison of the confirmation of a study, and write it.

    Args:
        path: The table of the study.
        against: The method that the others are compared with; None for the reference of the study.
        out: A .csv or .json file that gets every comparison.
        as_json: Whether a JSON object is printed for each comparison, instead of tables.
        metrics: The test metrics of the comparison; none of them for the headline metric.
    """
    from biascon.report.study_comparison import (
        compare_groups_in_metrics,
        comparison_records,
        write_comparison,
    )
    from biascon.report.study_data import load_study, make_study

    study = make_study(load_study(path), reference=against)
    groups = compare_groups_in_metrics(study, list(dict.fromkeys(metrics))) if metrics else []
    comparisons = [c for _, found in groups for c in found] if metrics else None
    if out is not None:
        write_comparison(study, out, comparisons)
    if not as_json:
        print_text(format_metrics(study, groups) if metrics else format_comparison(study))
        return
    if study.no_verdict:
        print_note(study.no_verdict)
    for record in comparison_records(study, comparisons):
        print_json(json.dumps(record))


def format_comparison(study: Study) -> str:
    """Return the comparisons of the confirmation as text: a table for each rule and color correlation."""
    from biascon.report.document import cell_text
    from biascon.report.study_comparison import COMPARISON_COLUMNS, comparison_rows
    from biascon.report.study_verdicts import describe_group

    lines = [_title(study)]
    if study.no_verdict:
        return "\n".join([*lines, study.no_verdict])
    for group in study.groups:
        lines += [
            "",
            message_line(
                f"{describe_group(group)}: {study.accuracy} against {study.reference}, tuned with the same "
                "budget; differences in points"
            ),
        ]
        if group.comparisons:
            rows = [[cell_text(cell) for cell in row] for row in comparison_rows(study, group)]
            lines.append(format_table(COMPARISON_COLUMNS, rows))
        if group.missing:
            reasons = "; ".join(f"{method} ({why})" for method, why in group.missing.items())
            lines.append(message_line(f"not compared: {reasons}"))
    lines.append(
        f"\nHolm: adjusted over the methods of a table; level: smaller than {100 * study.margin:.1f} points"
    )
    return "\n".join(lines)


def _title(study: Study) -> str:
    from biascon.report.study_scope import describe_confirmation

    description = study.table.description
    title = (
        f"study {study.table.name}: {description['dataset']['name']}, preset {description['preset']}, "
        f"{description['trials']} trials"
    )
    return "\n".join(map(message_line, [title, *describe_confirmation(study)]))


def format_metrics(
    study: Study, groups: Sequence[tuple[ComparisonGroup, Sequence[Comparison]]]
) -> str:
    """Return the comparisons in chosen metrics as text: a table for each rule and color correlation."""
    from biascon.metrics.names import METRIC_NAMES
    from biascon.metrics.summary import COMPARISONS
    from biascon.report.document import cell_text
    from biascon.report.study_comparison import COMPARISON_COLUMNS, comparison_rows
    from biascon.report.study_verdicts import describe_group
    from biascon.studies.confirmation import lower_is_better

    lines = [_title(study)]
    if study.no_verdict:
        return "\n".join([*lines, study.no_verdict])
    for group, comparisons in groups:
        lines += [
            "",
            message_line(
                f"{describe_group(group)}: against {study.reference}, tuned with the same budget; in "
                "percent, differences in points"
            ),
        ]
        names = [
            METRIC_NAMES[c.metric].name if c.metric in METRIC_NAMES else c.metric
            for c in comparisons
        ]
        shown = comparison_rows(study, replace(group, comparisons=comparisons))
        rows = [
            [
                f"{name} ({'lower' if lower_is_better(c.metric) else 'higher'} is better)",
                *(cell_text(cell) for cell in row),
            ]
            for name, c, row in zip(names, comparisons, shown, strict=True)
        ]
        lines.append(
            format_table(("metric", *COMPARISON_COLUMNS), rows, left=2)
            if rows
            else "no pair of confirmation runs has these metrics"
        )
    lines.append(
        "\nHolm: adjusted over the metrics and methods of a table; level: smaller than "
        f"{100 * study.margin:.1f} points"
    )
    if any(c.metric in COMPARISONS for _, comparisons in groups for c in comparisons):
        lines.append(
            "comparisons of groups: a smaller disparity may come from higher accuracy alone, as a study has "
            "no value by chance to subtract"
        )
    return "\n".join(lines)
