"""The report as one self-contained HTML file: no network, inline SVG, light and dark, sortable tables.

Every number stands in an element that carries, in ``data-runs``, the digests of the runs that it is computed
from, or in ``data-source`` where else it comes from.
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
    image_test_cells,
    measure_disparities,
)
from biascon.report.experiments import Experiment, FinishedRun
from biascon.report.figures import Figure, cross_experiment_figures, experiment_figures
from biascon.report.paired_tests import run_paired_tests
from biascon.report.plots.style import get_rho, get_shapes
from biascon.report.tables import (
    READOUTS,
    cell_text,
    describe_experiment,
    published_rows,
    readout_rows,
    readout_split,
    table_cells,
    table_columns,
    table_note,
    worst_group_rows,
)
from biascon.report.templating import make_renderer
from biascon.report.verdicts import (
    LossDifference,
    describe_difference,
    reference_loss,
    split_for_prose,
)
from biascon.version import __version__


def render_html(groups: Sequence[Experiment], tests: Mapping[str, Split] | None = None) -> str:
    """Return the report as an HTML page; what comes from data is escaped.

    Args:
        groups: The runs.
        tests: The test splits that are at hand, by the digest of their dataset.
    """
    return make_renderer(
        "report.html.j2",
        groups=[_section(one, tests) for one in groups],
        across=[_figure(drawing) for drawing in cross_experiment_figures(groups)],
        readout_columns=list(READOUTS.values()),
        disparity_columns=disparities.COLUMNS,
        image_columns=disparities.IMAGE_COLUMNS,
        version=__version__,
    )


def list_digests(one: Experiment, *labels: str) -> str:
    """Return the digests of the runs of some losses, or of all, as a list in a line."""
    chosen = labels or tuple(one.losses)
    return " ".join(run.evaluation["digest"][:8] for label in chosen for run in one.losses[label])


def _figure(drawing: Figure) -> dict[str, Any]:
    return {"svg": Markup(drawing.svg()), "caption": drawing.caption, "runs": drawing.runs}


def _section(one: Experiment, tests: Mapping[str, Split] | None) -> dict[str, Any]:
    prose, rest = split_for_prose(one)
    return {
        "title": one.title,
        "first": one.first,
        "columns": ["loss", "seeds", *table_columns(one)],
        "accuracy": one.accuracy,
        "name": one.metrics[one.headline],
        "has_bias": one.has_bias,
        "remark": table_note(one),
        "verdicts": [
            {"text": describe_difference(d), "runs": list_digests(one, d.a, d.b)} for d in prose
        ],
        "others": [_other(one, d) for d in rest],
        "rows": [_row(one, row) for row in table_cells(one)],
        "runs_digests": list_digests(one),
        "worst_n": worst_group_rows(one),
        "figures": [_figure(drawing) for drawing in experiment_figures(one, tests)],
        "tested": _tested(one),
        "permuted": f"{count_permutations(one):,}",
        "disparities": [
            {"label": label, "runs": list_digests(one, label), "cells": row}
            for label, row in measure_disparities(one)
        ],
        "images": [
            {"a": test.a, "b": test.b, "runs": list_digests(one, test.a, test.b), "cells": row}
            for test, rows in image_test_cells(one)
            for row in rows
        ],
        "readouts": [
            {"label": label, "runs": list_digests(one, label), "cells": row}
            for label, row in readout_rows(one)
        ],
        "fitted_on": readout_split(one),
        "convergence": [
            {"label": label, "text": text, "runs": list_digests(one, label)}
            for label, text in convergence_speeds(one)
        ],
        "published": published_rows(one),
        "about": describe_experiment(one),
        "counts": _counts(one),
        "runs": [_run(run) for runs in one.losses.values() for run in runs],
        "commands": _commands(one),
    }


def _other(one: Experiment, d: LossDifference) -> dict[str, Any]:
    return {
        "a": d.a + " †" * one.losses[d.a][0].sees_bias,
        "b": d.b,
        "value": f"{100 * d.mean:.4f}",
        "text": f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]",
        "over": d.over,
        "runs": list_digests(one, d.a, d.b),
    }


def _row(one: Experiment, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "label": row["label"] + " †" * row["sees_bias"],
        "runs": list_digests(one, row["label"]),
        "seeds": row["seeds"],
        "judge": row["judge"],
        "cells": [
            {
                "text": cell_text(cell, row["seeds"], "±", "{}"),
                "value": cell["mean"] or "",
                "bold": cell["bold"],
            }
            for cell in row["metrics"].values()
        ],
        "other": row["other"],
        "other_value": row["other"].split()[0].removeprefix("-"),
    }


def _tested(one: Experiment) -> list[dict[str, Any]]:
    """Return the paired tests over seeds against the reference, where there are two seeds or more."""
    found = [t for t in run_paired_tests(one, reference_loss(one), images=False) if t.seeds > 1]
    return [
        {
            "a": t.a + " †" * one.losses[t.a][0].sees_bias,
            "b": t.b,
            "runs": list_digests(one, t.a, t.b),
            "seeds": t.seeds,
            "value": f"{100 * t.difference:.4f}",
            "text": f"{100 * t.difference:+.1f} [{100 * t.low:+.1f}, {100 * t.high:+.1f}]",
            "p": [format_p(p) for p in (t.p_t, t.p_t_holm, t.p_wilcoxon)],
        }
        for t in found
    ]


def _counts(one: Experiment) -> dict[str, Any]:
    first = one.first
    table = first["training"]["cells"]
    flat = [n for row in table for n in row]
    return {
        "bias": one.bias["name"],
        "columns": one.bias["values"],
        "n": first["training"]["n"],
        "cells": len(flat),
        "empty": flat.count(0),
        "rows": [
            (label, [f"{n:,}" if n else "." for n in row])
            for label, row in zip(first["labels"], table, strict=True)
        ],
    }


def _run(run: FinishedRun) -> dict[str, Any]:
    main, worst = run.evaluation[run.headline], run.evaluation["worst_group"]
    text = "-" if main["value"] is None else f"{100 * main['value']:.1f}"
    if main["value"] is not None and None not in main["ci"]:
        low, high = main["ci"]
        text += f" [{100 * low:.1f}, {100 * high:.1f}]"
    least = "-" if worst["value"] is None else f"{100 * worst['value']:.1f} (n={worst['n']})"
    return {
        "label": run.label,
        "seed": run.seed,
        "judge": run.judge,
        "accuracy": text,
        "value": "" if main["value"] is None else main["value"],
        "worst": least,
        "worst_value": "" if worst["value"] is None else worst["value"],
        "digest": run.evaluation["digest"],
    }


_SOURCES = {"bmnist": "", "fashion-bmnist": " --source fashion", "kbmnist": " --source kmnist"}


def _commands(one: Experiment) -> str:
    """Return the commands that make these runs anew, on a dataset of the same name."""
    first = one.first
    # Settings have a dot in their keys; where an encoder comes from is no setting.
    changes = [change for change in first["changes"] if "." in change.partition("=")[0]]
    changes = ["model.weights=pretrained" if "=pretrained:" in c else c for c in changes]
    sets = "".join(f" --set {change}" for change in changes if "=file:" not in change)
    weights = " --weights FILE" * any("=file:" in change for change in changes)
    chosen = one.bias.get("chosen", [])
    seen = f" --bias {','.join(chosen)}" if chosen else ""
    data = one.bias.get("of", first["dataset"])
    lines = []
    if get_shapes(one) in _SOURCES:
        lines.append(f"biascon make-bmnist --rho {get_rho(one)}{_SOURCES[get_shapes(one)]}")
    for runs in one.losses.values():
        e = runs[0].evaluation
        if "origin" in e["config"]:  # the encoder is from another dataset
            taken = "".join(f" --run runs/{run.evaluation['encoder_from']['run']}" for run in runs)
            judged = "".join(
                f" --set {c}" for c in changes if c.startswith(("probe.", "finetune."))
            )
            lines.append(f"biascon evaluate{taken} --data data/{data}{seen}{judged}")
            continue
        own = e["label"].removeprefix(e["loss"]).strip(" ()")
        given = "".join(f" --set loss.{part}" for part in own.split(", ") if part)
        seeds = ",".join(str(run.seed) for run in runs)
        lines.append(
            f"biascon evaluate --loss {e['loss']} --seeds {seeds} --preset {first['preset']}"
            f" --data data/{data}{seen}{sets}{given}{weights}"
        )
    return "\n".join([*lines, "biascon report"])
