"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from biascon.report import disparities
from biascon.report.convergence import convergence_speeds
from biascon.report.disparities import (
    count_permutations,
    format_points,
    measure_disparities,
    paired_cells,
)
from biascon.report.experiments import Experiment
from biascon.report.extra_tables import extra_tables
from biascon.report.tables import (
    ResultRow,
    describe_comparisons,
    describe_experiment,
    format_cell,
    format_metric,
    mark_label,
    published_rows,
    table_columns,
    table_note,
    table_rows,
    worst_group_rows,
)
from biascon.report.templating import render_template
from biascon.report.verdicts import (
    LossDifference,
    describe_difference,
    reference_loss,
    split_for_prose,
)
from biascon.runs.finished import FinishedRun
from biascon.runs.records import Classifier
from biascon.utils.markup import escape_markdown
from biascon.version import __version__


def render_markdown(experiments: Sequence[Experiment], left_out: Sequence[str] = ()) -> str:
    """Return the report as Markdown.

    Args:
        experiments: The experiments, a section each.
        left_out: Which runs are left out, and why, a text each.
    """
    return render_template(
        "report.md.j2",
        escape=escape_markdown,
        sections=[_section(experiment) for experiment in experiments],
        left_out=[escape_markdown(reason) for reason in left_out],
        version=__version__,
        paired_columns=disparities.PAIRED_COLUMNS,
        disparity_columns=disparities.COLUMNS,
    )


def _section(experiment: Experiment) -> dict[str, Any]:
    """Return what the template needs to know of an experiment; its texts are escaped."""
    in_words, other_differences = split_for_prose(experiment)
    return {
        "title": escape_markdown(experiment.title),
        "conclusions": [escape_markdown(describe_difference(d)) for d in in_words],
        "other_differences": [_difference_row(experiment, d) for d in other_differences],
        "columns": table_columns(experiment),
        "accuracy": experiment.accuracy,
        "headline_name": experiment.metrics[experiment.headline],
        "has_bias": experiment.has_bias,
        "note": table_note(experiment),
        "comparisons": escape_markdown(describe_comparisons(experiment)),
        "evaluated_by": _single_classifier(experiment),
        "rows": [_result_row(row) for row in table_rows(experiment)],
        "description": [
            (escape_markdown(name), escape_markdown(text))
            for name, text in describe_experiment(experiment)
        ],
        "extra_tables": [
            {
                "title": table.title,
                "note": escape_markdown(table.note),
                "columns": [escape_markdown(name) for name in table.header],
                "rows": [
                    [escape_markdown(label), *(cell.text for cell in cells)]
                    for label, cells in table.rows
                ],
            }
            for table in extra_tables(experiment)
        ],
        "disparities": [
            [escape_markdown(label), *(cell.text for cell in cells)]
            for label, cells in measure_disparities(experiment)
        ],
        "permutations": f"{count_permutations(experiment):,}",
        "seed_tests": [
            [escape_markdown(label), *cells] for label, *cells in paired_cells(experiment)
        ],
        "reference": escape_markdown(reference_loss(experiment)),
        "convergence": [
            (escape_markdown(label), escape_markdown(text))
            for label, text in convergence_speeds(experiment)
        ],
        "published": published_rows(experiment),
        "worst_group_n": worst_group_rows(experiment),
        "runs": [_run_row(run) for run in experiment.runs],
    }


def _single_classifier(experiment: Experiment) -> str:
    """Return the classifier if the protocol is kNN or fine-tuning; it then evaluates every loss."""
    classifier = experiment.identity.evaluated_by
    return classifier.label if classifier in (Classifier.KNN, Classifier.FINE_TUNED) else ""


def _difference_row(experiment: Experiment, difference: LossDifference) -> list[str]:
    run = experiment.losses[difference.a][0]
    return [
        mark_label(escape_markdown(difference.a), uses_bias_labels=run.uses_bias_labels),
        escape_markdown(difference.b),
        format_points(difference.mean, difference.low, difference.high),
        difference.interval_method,
    ]


def _result_row(row: ResultRow) -> list[str]:
    return [
        mark_label(escape_markdown(row.label), uses_bias_labels=row.uses_bias_labels),
        str(row.seeds),
        row.classifier,
        *(format_cell(cell, row.seeds, "±", "**{}**") for cell in row.metrics.values()),
        row.secondary.text,
    ]


def _run_row(run: FinishedRun) -> list[str]:
    metric = run.evaluation.summary[run.headline]
    return [
        escape_markdown(run.label),
        str(run.seed),
        format_metric(metric),
        escape_markdown(run.digest[:8]),
    ]
