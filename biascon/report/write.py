"""Write a report in the forms that are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from biascon.data.dataset import Split
from biascon.errors import UsageError, did_you_mean
from biascon.report.experiments import (
    Experiment,
    FinishedRun,
    find_runs,
    find_test_splits,
    group_runs,
    read_runs,
)
from biascon.report.export import _as_parquet, long_rows
from biascon.report.figures import cross_experiment_figures, experiment_figures, main_figure
from biascon.report.html import render_html
from biascon.report.latex import render_latex, render_main_file
from biascon.report.markdown import render_markdown
from biascon.report.model_card import render_card
from biascon.utils.files import os_error, write_together

Files = Mapping[str, bytes | str]
Tests = Mapping[str, Split]


def write_report(
    root: Path,
    out: Path,
    *,
    dataset: str | None = None,
    formats: Sequence[str] = (),
    data: Path = Path("data"),
) -> tuple[list[Path], list[Experiment]]:
    """Report on the finished runs of a folder.

    Args:
        root: The folder of runs.
        out: Where the report goes; files of other names there stay.
        dataset: Only the runs on this dataset.
        formats: Names of ``FORMS``; without any, all.
        data: The folder of datasets; of those that are there, the report shows images.

    Returns:
        The files written, and the groups of runs that they report on.

    Raises:
        UsageError: An unknown form.
        RunError: There is no finished run.
        BiasconError: The place is not writable.
    """
    for form in formats:
        if form not in FORMATS:
            raise UsageError(
                f"unknown form '{form}'{did_you_mean(form, FORMATS)} (known: {', '.join(FORMATS)})"
            )
    found = find_runs(root, dataset)
    groups = group_runs(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_error(error, "create", out) from error
    tests = find_test_splits(data, groups)
    files: dict[str, bytes | str] = {}
    for form in formats or FORMATS:
        files |= FORMATS[form](found, groups, tests)
    write_together({out / name: content for name, content in files.items()})
    return [out / name for name in files], groups


def _markdown(_: Sequence[FinishedRun], groups: Sequence[Experiment], tests: Tests) -> Files:
    return {"report.md": render_markdown(groups), "figure.png": main_figure(groups)}


def _html(_: Sequence[FinishedRun], groups: Sequence[Experiment], tests: Tests) -> Files:
    return {"report.html": render_html(groups, tests)}


def _latex(_: Sequence[FinishedRun], groups: Sequence[Experiment], tests: Tests) -> Files:
    drawn = [
        *cross_experiment_figures(groups),
        *(one for each in groups for one in experiment_figures(each, tests)),
    ]
    return {
        "appendix.tex": render_latex(groups, tests),
        "main.tex": render_main_file(),
        **{f"{one.file}.pdf": one.pdf() for one in drawn},
    }


def _csv(found: Sequence[FinishedRun], groups: Sequence[Experiment], tests: Tests) -> Files:
    import pandas as pd

    return {"runs.csv": pd.DataFrame(long_rows(found)).to_csv(index=False, lineterminator="\n")}


def _parquet(found: Sequence[FinishedRun], groups: Sequence[Experiment], tests: Tests) -> Files:
    return {"runs.parquet": _as_parquet(found)}


def _json(found: Sequence[FinishedRun], groups: Sequence[Experiment], tests: Tests) -> Files:
    return {"runs.json": json.dumps(long_rows(found), indent=1) + "\n"}


def write_cards(folder: Path, out: Path) -> list[Path]:
    """Write the model cards of the runs at a folder: a run's own, or of all runs below it.

    Raises:
        RunError: There is no finished run.
        BiasconError: The place is not writable.
    """
    found = read_runs([folder])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_error(error, "create", out) from error
    files: dict[Path, bytes | str] = {
        out / f"card-{run.evaluation['loss']}-{run.folder.name}.md": render_card(run)
        for run in found
    }
    write_together(files)
    return list(files)


FORMATS: dict[str, Callable[[Sequence[FinishedRun], Sequence[Experiment], Tests], Files]] = {
    "html": _html,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "parquet": _parquet,
    "json": _json,
}
