"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from biascon import __version__
from biascon.report import disparities
from biascon.report.convergence import speeds
from biascon.report.disparities import measure_disparities, paired_cells, permuted
from biascon.report.experiments import Group
from biascon.report.tables import about, cell_text, cells, columns, published, remark, worst_n
from biascon.report.templating import render
from biascon.report.verdicts import in_prose, in_words, reference_of


def markdown(groups: Sequence[Group]) -> str:
    """Return the report as Markdown."""
    parts = []
    for one in groups:
        rows = [
            [
                escape(row["label"]) + " †" * row["sees_bias"],
                str(row["seeds"]),
                row["judge"],
                *(cell_text(cell, row["seeds"], "±", "**{}**") for cell in row["metrics"].values()),
                row["other"],
            ]
            for row in cells(one)
        ]
        parts.append(
            {
                "title": escape(one.title),
                "first": one.first,
                "verdicts": [escape(in_words(d)) for d in in_prose(one)[0]],
                "others": [
                    (
                        escape(d.a) + " †" * one.losses[d.a][0].sees_bias,
                        escape(d.b),
                        f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]",
                        d.over,
                    )
                    for d in in_prose(one)[1]
                ],
                "columns": columns(one),
                "accuracy": one.accuracy,
                "headline": one.headline,
                "remark": remark(one),
                "rows": rows,
                "about": [(escape(name), escape(text)) for name, text in about(one)],
                "disparities": [
                    [escape(label), *(cell.text for cell in row)]
                    for label, row in measure_disparities(one)
                ],
                "permuted": f"{permuted(one):,}",
                "tested": [[escape(row[0]), *row[1:]] for row in paired_cells(one)],
                "reference": escape(reference_of(one)),
                "convergence": [(escape(label), escape(text)) for label, text in speeds(one)],
                "published": published(one),
                "worst_n": worst_n(one),
                "runs": [
                    (escape(label), run) for label, runs in one.losses.items() for run in runs
                ],
            }
        )
    return render(
        "report.md.j2",
        escape=escape,
        groups=parts,
        version=__version__,
        tested_columns=disparities.PAIRED_COLUMNS,
        disparity_columns=disparities.COLUMNS,
    )


def escape(text: str) -> str:
    """Escape what Markdown or a table in it would take for markup.

    >>> escape("a|b*c")
    'a\\\\|b\\\\*c'
    """
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
