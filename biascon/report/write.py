"""Write the report: ``report.md``, ``table.tex``, ``figure.png`` and ``runs.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biascon.files import explain, write_together
from biascon.report.collect import METRICS, Group, Run, find_runs, group
from biascon.report.figure import figure
from biascon.report.tex import latex
from biascon.report.text import markdown


def write_report(
    root: Path, out: Path, *, dataset: str | None = None
) -> tuple[list[Path], list[Group]]:
    """Report on the finished runs of a folder.

    Args:
        root: The folder of runs.
        out: Where the report goes; files of other names there stay.
        dataset: Only the runs on this dataset.

    Returns:
        The files written, and the groups of runs that they report on.

    Raises:
        RunError: There is no finished run.
        BiasconError: The place is not writable.
    """
    found = find_runs(root, dataset)
    groups = group(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, "create", out) from error
    files: dict[str, bytes | str] = {
        "runs.csv": runs_csv(found),
        "figure.png": figure(groups),
        "table.tex": latex(groups),
        "report.md": markdown(groups),
    }
    write_together({out / name: content for name, content in files.items()})
    return [out / name for name in reversed(files)], groups


def runs_csv(found: Sequence[Run]) -> str:
    """Return every run in long form: one row a run and metric, with n, interval and digests."""
    import pandas as pd

    identity = ("dataset", "source", "preset", "label", "seed", "judged", "sees_bias")
    rows = [
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
        for metric in METRICS
    ]
    text: str = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    return text
