"""The model card of a run, as Markdown."""

from __future__ import annotations

import math
from typing import Any

from biascon.losses.loss import get_entry
from biascon.models.encoders import build_on_meta
from biascon.report.experiments import METRICS, WITHOUT_BIAS, FinishedRun
from biascon.report.tables import format_parameters
from biascon.report.templating import make_renderer
from biascon.utils.files import read_json
from biascon.utils.markup import escape_markdown
from biascon.version import __version__


def render_card(run: FinishedRun) -> str:
    """Return the model card of a run's encoder.

    Raises:
        BiasconError: The run's environment cannot be read, or its loss is not installed here.
    """
    e = run.evaluation
    about = read_json(run.folder / "environment.json")
    cells = [n for row in e["training"]["cells"] for n in row]
    group = e["worst_group"].get("group")
    return make_renderer(
        "card.md.j2",
        escape=escape_markdown,
        e=e,
        version=__version__,
        known=get_entry(e["loss"]),
        parameters=format_parameters(e["parameters"]),
        weights=sum(math.prod(p.shape) for p in build_on_meta(e["encoder"]).parameters()),
        machine=f"{about.get('accelerator', about['device'])}, torch {about['packages']['torch']}",
        empty=cells.count(0),
        cells=len(cells),
        metrics=[
            _row(name, e[key])
            for key, name in (METRICS if run.has_bias else WITHOUT_BIAS).items()
            if key in e
        ],
        worst={
            "label": "-" if group is None else e["labels"][group["label"]],
            "bias": "-" if group is None else e["bias"]["values"][group["bias"]],
        },
        readouts={
            key: _percent(e["representation"][f"{key}_readout"]["value"])
            for key in ("label", "bias")
        },
    )


def _row(name: str, metric: dict[str, Any]) -> tuple[str, str, str, str]:
    low, high = metric["ci"]
    interval = "-" if low is None or high is None else f"{_percent(low)} to {_percent(high)}"
    return name, _percent(metric["value"]), interval, f"{metric['n']:,}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
