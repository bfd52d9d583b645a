"""Writing of a report in the requested formats, and of model cards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biascon.data.dataset import Split
from biascon.errors import UsageError, did_you_mean
from biascon.report.checksums import add_checksums
from biascon.report.experiments import (
    Experiment,
    find_all_runs,
    find_test_splits,
    group_runs,
    read_runs,
)
from biascon.report.export import to_csv, to_json, to_parquet
from biascon.report.figures import (
    cross_experiment_figures,
    experiment_figures,
    main_figure,
    runs_with_maps,
)
from biascon.report.html import render_html
from biascon.report.latex import render_latex, render_main_file
from biascon.report.markdown import render_markdown
from biascon.report.model_card import render_card
from biascon.report.tsne import prepare_maps
from biascon.runs.finished import FinishedRun
from biascon.runs.seals import Check
from biascon.utils.files import write_together
from biascon.utils.folders import output_folders
from biascon.utils.progress import Say, say_nothing, with_progress

Files = Mapping[str, bytes | str]


@dataclass(frozen=True)
class ReportData:
    """What a report is made of.

    Attributes:
        runs: The finished runs.
        experiments: The same runs, in experiments.
        test_splits: The available test splits by dataset digest, for the galleries of images.
        left_out: Which other runs there are, and why they are left out, a text each.
    """

    runs: Sequence[FinishedRun]
    experiments: Sequence[Experiment]
    test_splits: Mapping[str, Split]
    left_out: Sequence[str] = ()


def write_report(
    root: Path,
    out: Path,
    *,
    dataset: str | None = None,
    formats: Sequence[str] = (),
    data: Path = Path("data"),
    check: Check = Check.REPORT,
    say: Say = say_nothing,
) -> tuple[list[Path], list[Experiment]]:
    """Write the report of the finished runs of a folder.

    Args:
        root: The folder of runs.
        out: The folder of the report; files with other names in it stay.
        dataset: The name of the dataset whose runs are reported; None reports all runs.
        formats: Names of ``FORMATS``; without any, all formats are written.
        data: The folder of datasets; the report shows images of the datasets in it.
        check: Which files of a run are compared with ``done``.
        say: Called with a line of progress every few seconds.

    Returns:
        The written files, and the experiments that they report.

    Raises:
        UsageError: A format is unknown.
        RunError: There is no finished run.
        BiasconError: The folder is not writable.
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(
                f"unknown format '{name}'{did_you_mean(name, FORMATS)} (known: {', '.join(FORMATS)})"
            )
    found = find_all_runs(root, dataset, check=check, say=say)
    experiments = group_runs(found.runs)
    files: dict[str, bytes | str] = {}
    with output_folders(out):
        report = ReportData(
            found.runs, experiments, find_test_splits(data, experiments), found.left_out
        )
        if {"html", "latex"} & set(formats or FORMATS):
            prepare_maps(runs_with_maps(experiments), say)
        names = formats or list(FORMATS)
        for name in with_progress(names, "writing formats", len(names), say):
            files |= FORMATS[name](report)
        files = add_checksums(out, files)
        write_together({out / name: content for name, content in files.items()})
    return [out / name for name in files], experiments


def _markdown_files(report: ReportData) -> Files:
    return {
        "report.md": render_markdown(report.experiments, report.left_out),
        "figure.png": main_figure(report.experiments),
    }


def _html_files(report: ReportData) -> Files:
    return {"report.html": render_html(report.experiments, report.test_splits, report.left_out)}


def _latex_files(report: ReportData) -> Files:
    figures = [
        *cross_experiment_figures(report.experiments),
        *(
            figure
            for experiment in report.experiments
            for figure in experiment_figures(experiment, report.test_splits)
        ),
    ]
    return {
        "appendix.tex": render_latex(report.experiments, report.test_splits, report.left_out),
        "main.tex": render_main_file(),
        **{f"{figure.file_stem}.pdf": figure.to_pdf() for figure in figures},
    }


def _csv_files(report: ReportData) -> Files:
    return {"runs.csv": to_csv(report.runs)}


def _parquet_files(report: ReportData) -> Files:
    return {"runs.parquet": to_parquet(report.runs)}


def _json_files(report: ReportData) -> Files:
    return {"runs.json": to_json(report.runs)}


FORMATS: dict[str, Callable[[ReportData], Files]] = {
    "html": _html_files,
    "markdown": _markdown_files,
    "latex": _latex_files,
    "csv": _csv_files,
    "parquet": _parquet_files,
    "json": _json_files,
}


def write_cards(folder: Path, out: Path, *, check: Check = Check.REPORT) -> list[Path]:
    """Write the model cards of the runs at a folder.

    Args:
        folder: A run folder, or a folder that has run folders below it.
        out: The folder of the model cards.
        check: Which files of a run are compared with ``done``.

    Returns:
        The written files.

    Raises:
        RunError: There is no finished run.
        BiasconError: The folder is not writable.
    """
    runs = read_runs([folder], check=check)
    files: dict[Path, bytes | str] = {
        out / f"card-{run.loss}-{run.folder.name}.md": render_card(run) for run in runs
    }
    with output_folders(out):
        write_together(files)
    return list(files)
