"""Write a report in the forms that are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from biascon.data.dataset import Split
from biascon.errors import UsageError, did_you_mean
from biascon.report.experiments import Group, Run, find_runs, find_tests, group, runs_at
from biascon.report.export import _as_parquet, long_rows
from biascon.report.figures import drawings, drawings_across, figure
from biascon.report.html import html
from biascon.report.latex import latex, main_file
from biascon.report.markdown import markdown
from biascon.report.model_card import card
from biascon.utils.files import explain, write_together

Files = Mapping[str, bytes | str]
Tests = Mapping[str, Split]


def write_report(
    root: Path,
    out: Path,
    *,
    dataset: str | None = None,
    forms: Sequence[str] = (),
    data: Path = Path("data"),
) -> tuple[list[Path], list[Group]]:
    """Report on the finished runs of a folder.

    Args:
        root: The folder of runs.
        out: Where the report goes; files of other names there stay.
        dataset: Only the runs on this dataset.
        forms: Names of ``FORMS``; without any, all.
        data: The folder of datasets; of those that are there, the report shows images.

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
    tests = find_tests(data, groups)
    files: dict[str, bytes | str] = {}
    for form in forms or FORMS:
        files |= FORMS[form](found, groups, tests)
    write_together({out / name: content for name, content in files.items()})
    return [out / name for name in files], groups


def _markdown(_: Sequence[Run], groups: Sequence[Group], tests: Tests) -> Files:
    return {"report.md": markdown(groups), "figure.png": figure(groups)}


def _html(_: Sequence[Run], groups: Sequence[Group], tests: Tests) -> Files:
    return {"report.html": html(groups, tests)}


def _latex(_: Sequence[Run], groups: Sequence[Group], tests: Tests) -> Files:
    drawn = [*drawings_across(groups), *(one for each in groups for one in drawings(each, tests))]
    return {
        "appendix.tex": latex(groups, tests),
        "main.tex": main_file(),
        **{f"{one.file}.pdf": one.pdf() for one in drawn},
    }


def _csv(found: Sequence[Run], groups: Sequence[Group], tests: Tests) -> Files:
    import pandas as pd

    return {"runs.csv": pd.DataFrame(long_rows(found)).to_csv(index=False, lineterminator="\n")}


def _parquet(found: Sequence[Run], groups: Sequence[Group], tests: Tests) -> Files:
    return {"runs.parquet": _as_parquet(found)}


def _json(found: Sequence[Run], groups: Sequence[Group], tests: Tests) -> Files:
    return {"runs.json": json.dumps(long_rows(found), indent=1) + "\n"}


def write_cards(folder: Path, out: Path) -> list[Path]:
    """Write the model cards of the runs at a folder: a run's own, or of all runs below it.

    Raises:
        RunError: There is no finished run.
        BiasconError: The place is not writable.
    """
    found = runs_at([folder])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, "create", out) from error
    files: dict[Path, bytes | str] = {
        out / f"card-{run.evaluation['loss']}-{run.folder.name}.md": card(run) for run in found
    }
    write_together(files)
    return list(files)


FORMS: dict[str, Callable[[Sequence[Run], Sequence[Group], Tests], Files]] = {
    "html": _html,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "parquet": _parquet,
    "json": _json,
}
