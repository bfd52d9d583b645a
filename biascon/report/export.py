"""Every metric of every run in long form: CSV, Parquet or JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biascon.errors import UsageError
from biascon.metrics.summary import ACCURACIES, AMPLIFICATIONS, COMPARISONS
from biascon.report.experiments import METRICS, FinishedRun
from biascon.utils.files import write_atomic


def _as_parquet(found: Sequence[FinishedRun]) -> bytes:
    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame(long_rows(found)).to_parquet(buffer, index=False)
    return buffer.getvalue()


def write_long(found: Sequence[FinishedRun], path: Path) -> None:
    """Write every metric of every run in long form, as CSV, Parquet or JSON by the file's ending.

    Raises:
        UsageError: Another ending.
        BiasconError: The place is not writable.
    """
    import pandas as pd

    if path.suffix == ".csv":
        frame = pd.DataFrame(long_rows(found))
        write_atomic(path, frame.to_csv(index=False, lineterminator="\n"))
    elif path.suffix == ".json":
        write_atomic(path, json.dumps(long_rows(found), indent=1) + "\n")
    elif path.suffix == ".parquet":
        write_atomic(path, _as_parquet(found))
    else:
        raise UsageError(
            f"expected a file that ends in .csv, .parquet or .json, but got {path.name}"
        )


EVERY = tuple(dict.fromkeys((*METRICS, *ACCURACIES, *COMPARISONS, *AMPLIFICATIONS, "top5")))


def long_rows(found: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """Return every run in long form: one row a run and metric, with n, interval, protocol and digests."""
    identity = ("dataset", "source", "preset", "label", "seed", "judged", "sees_bias")
    return [
        {
            **{key: run.evaluation[key] for key in identity},
            "metric": metric,
            "value": run.evaluation[metric]["value"],
            "n": run.evaluation[metric]["n"],
            "ci_low": run.evaluation[metric]["ci"][0],
            "ci_high": run.evaluation[metric]["ci"][1],
            **{f"protocol_{key}": text for key, text in run.evaluation["protocol"].items()},
            "changes": " ".join(run.evaluation["changes"]),
            "recipe": run.evaluation["recipe"],
            "run": run.evaluation["digest"],
            "dataset_digest": run.evaluation["dataset_digest"],
        }
        for run in found
        for metric in EVERY
        if metric in run.evaluation
    ]
