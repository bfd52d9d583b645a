"""The model card of a run, as Markdown."""

from __future__ import annotations

import math

from biascon.losses.loss import get_entry
from biascon.metrics.records import Metric
from biascon.models.encoders import build_on_meta
from biascon.report.experiments import METRICS, METRICS_WITHOUT_BIAS
from biascon.report.tables import describe_method
from biascon.report.templating import render_template
from biascon.runs.evaluation import Evaluation
from biascon.runs.finished import FinishedRun
from biascon.utils.files import read_json
from biascon.utils.markup import escape_markdown
from biascon.version import __version__


def render_card(run: FinishedRun) -> str:
    """Return the model card of the encoder of a run.

    Raises:
        BiasconError: The environment of the run cannot be read, or its loss is not installed here.
    """
    evaluation = run.evaluation
    identity = evaluation.identity
    environment = read_json(run.folder / "environment.json")
    device = environment.get("accelerator", environment["device"])
    cell_counts = [n for row in identity.training_cells for n in row]
    names = METRICS if run.has_bias else METRICS_WITHOUT_BIAS
    metrics = {name: evaluation.metric(key) for key, name in names.items()}
    return render_template(
        "card.md.j2",
        escape=escape_markdown,
        identity=identity,
        protocol=evaluation.protocol,
        version=__version__,
        loss_entry=get_entry(identity.loss),
        parameters=describe_method(evaluation),
        n_weights=_count_weights(identity.encoder),
        machine=f"{device}, torch {environment['packages']['torch']}",
        empty_cells=cell_counts.count(0),
        n_cells=len(cell_counts),
        n_test=evaluation.summary["top1"].n,
        metrics=[
            _metric_row(name, metric) for name, metric in metrics.items() if metric is not None
        ],
        worst_group=_describe_worst_group(evaluation),
        fitted_on=evaluation.features.fitted_on,
        readouts={
            key: _format_percent(evaluation.features.metrics[f"{key}_readout"].value)
            for key in ("label", "bias")
        },
    )


def _count_weights(encoder: str) -> int:
    return sum(math.prod(p.shape) for p in build_on_meta(encoder).parameters())


def _describe_worst_group(evaluation: Evaluation) -> dict[str, str]:
    """Return the names of label and bias value of the worst group, ``-`` where it is undefined."""
    identity, cell = evaluation.identity, evaluation.summary["worst_group"].cell
    if cell is None or identity.bias is None:
        return {"label": "-", "bias": "-"}
    return {
        "label": identity.labels[int(cell.label)],
        "bias": identity.bias.values[int(cell.bias)],
    }


def _metric_row(name: str, metric: Metric) -> tuple[str, str, str, str]:
    interval = "-"
    if metric.interval is not None:
        low, high = metric.interval
        interval = f"{_format_percent(low)} to {_format_percent(high)}"
    return name, _format_percent(metric.value), interval, f"{metric.n:,}"


def _format_percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
