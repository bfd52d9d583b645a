"""Write a report in the forms that are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from biascon.errors import UsageError, did_you_mean
from biascon.files import explain, write_together
from biascon.report.collect import METRICS, Group, Run, find_runs, group
from biascon.report.figure import drawings, drawings_across, figure
from biascon.report.page import html
from biascon.report.tex import latex, main_file
from biascon.report.text import markdown

Files = Mapping[str, bytes | str]


def write_report(
    root: Path, out: Path, *, dataset: str | None = None, forms: Sequence[str] = ()
) -> tuple[list[Path], list[Group]]:
    """Report on the finished runs of a folder.

    Args:
        root: The folder of runs.
        out: Where the report goes; files of other names there stay.
        dataset: Only the runs on this dataset.
        forms: Names of ``FORMS``; without any, all.

    Returns:
        The files written, and the groups of runs that they report on.

    Raises:
        UsageError: An unknown form.
        RunError: There is no finished run.
        BiasconError: The place is not writable.
    """
    for form in forms:
        if form not in FORMS:
            raise UsageError(
                f"unknown form '{form}'{did_you_mean(form, FORMS)} (known: {', '.join(FORMS)})"
            )
    found = find_runs(root, dataset)
    groups = group(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, "create", out) from error
    files: dict[str, bytes | str] = {}
    for form in forms or FORMS:
        files |= FORMS[form](found, groups)
    write_together({out / name: content for name, content in files.items()})
    return [out / name for name in files], groups


def _markdown(_: Sequence[Run], groups: Sequence[Group]) -> Files:
    return {"report.md": markdown(groups), "figure.png": figure(groups)}


def _html(_: Sequence[Run], groups: Sequence[Group]) -> Files:
    return {"report.html": html(groups)}


def _latex(_: Sequence[Run], groups: Sequence[Group]) -> Files:
    drawn = [*drawings_across(groups), *(one for each in groups for one in drawings(each))]
    return {
        "appendix.tex": latex(groups),
        "main.tex": main_file(),
        **{f"{one.file}.pdf": one.pdf() for one in drawn},
    }


def _csv(found: Sequence[Run], _: Sequence[Group]) -> Files:
    import pandas as pd

    return {"runs.csv": pd.DataFrame(long_rows(found)).to_csv(index=False, lineterminator="\n")}


def _json(found: Sequence[Run], _: Sequence[Group]) -> Files:
    return {"runs.json": json.dumps(long_rows(found), indent=1) + "\n"}


FORMS: dict[str, Callable[[Sequence[Run], Sequence[Group]], Files]] = {
    "html": _html,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
}


def long_rows(found: Sequence[Run]) -> list[dict[str, Any]]:
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
        for metric in METRICS
    ]
