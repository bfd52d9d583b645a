"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from biascon.report import disparities
from biascon.report.convergence import convergence_speeds
from biascon.report.disparities import count_permutations, measure_disparities, paired_cells
from biascon.report.experiments import Experiment
from biascon.report.tables import (
    cell_text,
    describe_experiment,
    published_rows,
    table_cells,
    table_columns,
    table_note,
    worst_group_rows,
)
from biascon.report.templating import make_renderer
from biascon.report.verdicts import describe_difference, reference_loss, split_for_prose
from biascon.utils.markup import escape_markdown
from biascon.version import __version__


def render_markdown(groups: Sequence[Experiment]) -> str:
    """Return the report as Markdown."""
    parts = []
    for one in groups:
        rows = [
            [
                escape_markdown(row["label"]) + " †" * row["sees_bias"],
                str(row["seeds"]),
                row["judge"],
                *(cell_text(cell, row["seeds"], "±", "**{}**") for cell in row["metrics"].values()),
                row["other"],
            ]
            for row in table_cells(one)
        ]
        parts.append(
            {
                "title": escape_markdown(one.title),
                "first": one.first,
                "verdicts": [
                    escape_markdown(describe_difference(d)) for d in split_for_prose(one)[0]
                ],
                "others": [
                    (
                        escape_markdown(d.a) + " †" * one.losses[d.a][0].sees_bias,
                        escape_markdown(d.b),
                        f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]",
                        d.over,
                    )
                    for d in split_for_prose(one)[1]
                ],
                "columns": table_columns(one),
                "accuracy": one.accuracy,
                "headline": one.headline,
                "remark": table_note(one),
                "rows": rows,
                "about": [
                    (escape_markdown(name), escape_markdown(text))
                    for name, text in describe_experiment(one)
                ],
                "disparities": [
                    [escape_markdown(label), *(cell.text for cell in row)]
                    for label, row in measure_disparities(one)
                ],
                "permuted": f"{count_permutations(one):,}",
                "tested": [[escape_markdown(row[0]), *row[1:]] for row in paired_cells(one)],
                "reference": escape_markdown(reference_loss(one)),
                "convergence": [
                    (escape_markdown(label), escape_markdown(text))
                    for label, text in convergence_speeds(one)
                ],
                "published": published_rows(one),
                "worst_n": worst_group_rows(one),
                "runs": [
                    (escape_markdown(label), run)
                    for label, runs in one.losses.items()
                    for run in runs
                ],
            }
        )
    return make_renderer(
        "report.md.j2",
        escape=escape_markdown,
        groups=parts,
        version=__version__,
        tested_columns=disparities.PAIRED_COLUMNS,
        disparity_columns=disparities.COLUMNS,
    )
