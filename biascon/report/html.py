"""The report as one self-contained HTML file: no network, inline SVG, light and dark, sortable tables.

Every number is in an element that has the digests of its runs in ``data-runs``, or its origin in
``data-source``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from biascon.data.dataset import Split
from biascon.report import disparities
from biascon.report.convergence import convergence_speeds
from biascon.report.disparities import (
    count_permutations,
    format_p,
    format_points,
    image_test_cells,
    measure_disparities,
    run_seed_tests,
)
from biascon.report.experiments import Experiment, list_digests
from biascon.report.extra_tables import extra_tables
from biascon.report.figures import Figure, cross_experiment_figures, experiment_figures
from biascon.report.repeat_commands import format_repeat_commands
from biascon.report.tables import (
    FEATURE_COLUMNS,
    ResultRow,
    describe_comparisons,
    describe_experiment,
    describe_probe_split,
    feature_rows,
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
from biascon.report.verdicts import LossDifference, describe_difference, split_for_prose
from biascon.runs.finished import FinishedRun
from biascon.version import __version__


def render_html(
    experiments: Sequence[Experiment],
    test_splits: Mapping[str, Split] | None = None,
    left_out: Sequence[str] = (),
) -> str:
    """Return the report as an HTML page; names and texts of datasets are escaped.

    Args:
        experiments: The experiments, a section each.
        test_splits: The available test splits by dataset digest, for the galleries of images.
        left_out: Which runs are left out, and why, a text each.
    """
    return render_template(
        "report.html.j2",
        left_out=left_out,
        sections=[_section(experiment, test_splits) for experiment in experiments],
        cross_figures=[_figure(figure) for figure in cross_experiment_figures(experiments)],
        feature_columns=list(FEATURE_COLUMNS.values()),
        disparity_columns=disparities.COLUMNS,
        paired_columns=disparities.PAIRED_COLUMNS,
        image_columns=disparities.IMAGE_COLUMNS,
        version=__version__,
    )


def _figure(figure: Figure) -> dict[str, Any]:
    return {"svg": Markup(figure.to_svg()), "caption": figure.caption, "runs": figure.runs}


def _section(experiment: Experiment, test_splits: Mapping[str, Split] | None) -> dict[str, Any]:
    """Return what the template needs to know of an experiment."""
    in_words, other_differences = split_for_prose(experiment)
    return {
        "title": experiment.title,
        "dataset_digest": experiment.identity.dataset_digest[:8],
        "columns": ["loss", "seeds", *table_columns(experiment)],
        "accuracy": experiment.accuracy,
        "headline_name": experiment.metrics[experiment.headline],
        "has_bias": experiment.has_bias,
        "note": table_note(experiment),
        "comparisons": describe_comparisons(experiment),
        "digests": list_digests(experiment.runs),
        "conclusions": [
            {"text": describe_difference(d), "runs": _digests(experiment, d.a, d.b)}
            for d in in_words
        ],
        "other_differences": [_difference_row(experiment, d) for d in other_differences],
        "rows": [_result_row(experiment, row) for row in table_rows(experiment)],
        "worst_group_n": worst_group_rows(experiment),
        "figures": [_figure(figure) for figure in experiment_figures(experiment, test_splits)],
        "seed_tests": _seed_test_rows(experiment),
        "image_tests": [
            {"a": test.a, "b": test.b, "runs": _digests(experiment, test.a, test.b), "cells": cells}
            for test, rows in image_test_cells(experiment)
            for cells in rows
        ],
        "permutations": f"{count_permutations(experiment):,}",
        "extra_tables": [
            {
                "title": table.title,
                "note": table.note,
                "columns": table.header,
                "rows": _rows_by_loss(experiment, table.rows),
            }
            for table in extra_tables(experiment)
        ],
        "disparities": _rows_by_loss(experiment, measure_disparities(experiment)),
        "features": _rows_by_loss(experiment, feature_rows(experiment)),
        "probe_split": describe_probe_split(experiment),
        "convergence": _rows_by_loss(experiment, convergence_speeds(experiment)),
        "published": published_rows(experiment),
        "description": describe_experiment(experiment),
        "training_counts": _training_counts(experiment),
        "runs": [_run_row(run) for run in experiment.runs],
        "commands": format_repeat_commands(experiment),
    }


def _digests(experiment: Experiment, *labels: str) -> str:
    return list_digests(run for label in labels for run in experiment.losses[label])


def _rows_by_loss(experiment: Experiment, rows: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table that has one row for each loss, with the digests of its runs."""
    return [
        {"label": label, "runs": _digests(experiment, label), "cells": cells}
        for label, cells in rows
    ]


def _marked_label(experiment: Experiment, label: str) -> str:
    return mark_label(label, uses_bias_labels=experiment.losses[label][0].uses_bias_labels)


def _difference_row(experiment: Experiment, difference: LossDifference) -> dict[str, Any]:
    return {
        "a": _marked_label(experiment, difference.a),
        "b": difference.b,
        "value": f"{100 * difference.mean:.4f}",
        "text": format_points(difference.mean, difference.low, difference.high),
        "interval_method": difference.interval_method,
        "runs": _digests(experiment, difference.a, difference.b),
    }


def _result_row(experiment: Experiment, row: ResultRow) -> dict[str, Any]:
    return {
        "label": mark_label(row.label, uses_bias_labels=row.uses_bias_labels),
        "runs": _digests(experiment, row.label),
        "seeds": row.seeds,
        "classifier": row.classifier,
        "cells": [
            {
                "text": format_cell(cell, row.seeds, "±", "{}"),
                "value": cell.mean or "",
                "is_bold": cell.is_bold,
            }
            for cell in row.metrics.values()
        ],
        "secondary": row.secondary,
    }


def _seed_test_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the paired tests over seeds against the reference."""
    return [
        {
            "a": _marked_label(experiment, test.a),
            "b": test.b,
            "runs": _digests(experiment, test.a, test.b),
            "seeds": test.seeds,
            "value": f"{100 * test.difference:.4f}",
            "text": format_points(test.difference, test.low, test.high),
            "p_values": [format_p(p) for p in (test.p_t, test.p_t_holm, test.p_wilcoxon)],
        }
        for test in run_seed_tests(experiment)
    ]


def _training_counts(experiment: Experiment) -> dict[str, Any]:
    """Return the number of training images of each cell."""
    identity = experiment.identity
    counts = [n for row in identity.training_cells for n in row]
    return {
        "bias": experiment.bias.name,
        "columns": experiment.bias.values,
        "n": f"{identity.training_n:,}",
        "cells": len(counts),
        "empty": counts.count(0),
        "rows": [
            (label, [f"{n:,}" if n else "." for n in row])
            for label, row in zip(identity.labels, identity.training_cells, strict=True)
        ],
    }


def _run_row(run: FinishedRun) -> dict[str, Any]:
    headline = run.evaluation.summary[run.headline]
    worst = run.evaluation.summary["worst_group"]
    worst_text = "-" if worst.value is None else f"{100 * worst.value:.1f} (n={worst.n})"
    return {
        "label": run.label,
        "seed": run.seed,
        "classifier": run.evaluated_by.label,
        "accuracy": format_metric(headline),
        "value": "" if headline.value is None else headline.value,
        "worst": worst_text,
        "worst_value": "" if worst.value is None else worst.value,
        "digest": run.digest[:8],
    }
