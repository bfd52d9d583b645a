"""Every metric of every run in long form, one row for each run and metric: CSV, Parquet or JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from biascon.errors import UsageError
from biascon.metrics.summary import ACCURACIES, AMPLIFICATIONS, COMPARISONS
from biascon.metrics.weighted_averages import ADJUSTED_AVERAGE
from biascon.report.experiments import METRICS
from biascon.runs.finished import FinishedRun
from biascon.utils.files import write_output

LONG_METRICS = tuple(
    dict.fromkeys((*METRICS, *ACCURACIES, *COMPARISONS, *AMPLIFICATIONS, "top5", ADJUSTED_AVERAGE))
)


def long_rows(runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """Return one row for each run and metric, with n, 95 % interval, protocol and digests."""
    return [
        row
        for run in runs
        for metric in _metrics_of(run)
        if (row := _long_row(run, metric)) is not None
    ]


def _metrics_of(run: FinishedRun) -> list[str]:
    """Return the metrics of a run; those of several bias attributes are the last ones."""
    joint = run.evaluation.joint_bias
    return [*LONG_METRICS, *([] if joint is None else joint.metric_names)]


def _long_row(run: FinishedRun, metric: str) -> dict[str, Any] | None:
    """Return the row of a metric, None if the run is older than the metric."""
    i = run.evaluation.identity
    measured = run.evaluation.metric(metric)
    if measured is None:
        return None
    return {
        "dataset": i.dataset,
        "source": i.source,
        "preset": i.preset,
        "label": i.label,
        "seed": i.seed,
        "evaluated_by": i.evaluated_by.value,
        "uses_bias_labels": i.uses_bias_labels,
        "metric": metric,
        "value": measured.value,
        "n": measured.n,
        "ci_low": measured.low,
        "ci_high": measured.high,
        **{f"protocol_{key}": text for key, text in run.evaluation.protocol.to_json().items()},
        "overrides": " ".join(f"{key}={value}" for key, value in i.overrides.items()),
        "recipe": i.recipe,
        "run": i.digest,
        "dataset_digest": i.dataset_digest,
    }


def to_csv(runs: Sequence[FinishedRun]) -> str:
    """Return the long form as CSV."""
    import pandas as pd

    text: str = pd.DataFrame(long_rows(runs)).to_csv(index=False, lineterminator="\n")
    return text


def to_parquet(runs: Sequence[FinishedRun]) -> bytes:
    """Return the long form as a Parquet file."""
    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame(long_rows(runs)).to_parquet(buffer, index=False)
    return buffer.getvalue()


def to_json(runs: Sequence[FinishedRun]) -> str:
    """Return the long form as a JSON list."""
    return json.dumps(long_rows(runs), indent=1) + "\n"


_WRITERS: Mapping[str, Callable[[Sequence[FinishedRun]], bytes | str]] = {
    ".csv": to_csv,
    ".parquet": to_parquet,
    ".json": to_json,
}


def write_long(runs: Sequence[FinishedRun], path: Path) -> None:
    """Write the long form as CSV, Parquet or JSON; the suffix of the file name selects the format.

    Raises:
        UsageError: The suffix is another one.
        BiasconError: The file cannot be written.
    """
    if path.suffix not in _WRITERS:
        raise UsageError(
            f"expected a file that ends in .csv, .parquet or .json, but got {path.name}"
        )
    write_output({path: _WRITERS[path.suffix](runs)})
