"""Writing of the report of a tuning study, from its table alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from biascon.errors import UsageError, did_you_mean
from biascon.report.checksums import add_checksums
from biascon.report.document import Cell, Document, cell_text, cell_value
from biascon.report.figures import Figure
from biascon.report.study_comparison import (
    COMPARISON_COLUMNS,
    comparison_csv,
    comparison_json,
    comparison_rows,
)
from biascon.report.study_data import Study
from biascon.report.study_protocol import TrialSettings
from biascon.report.study_sections import make_document
from biascon.report.study_verdicts import describe_group
from biascon.report.templating import render_template
from biascon.utils.files import write_together
from biascon.utils.folders import output_folders
from biascon.utils.markup import escape_latex, escape_markdown
from biascon.utils.progress import Say, say_nothing, with_progress
from biascon.utils.text import visible
from biascon.version import __version__

FIGURES = "figures"  # the folder of the pictures
Files = Mapping[str, bytes | str]


def write_study_report(
    study: Study,
    out: Path,
    *,
    formats: Sequence[str] = (),
    trial_settings: TrialSettings | None = None,
    say: Say = say_nothing,
) -> list[Path]:
    """Write the report of a study.

    Args:
        study: The study.
        out: The folder of the report; files with other names in it stay.
        formats: Names of ``STUDY_FORMATS``; without any, all formats are written.
        trial_settings: Returns the settings of a trial as ``--set`` reads them; None leaves the commands out.
        say: Called with a line of progress every few seconds.

    Returns:
        The written files.

    Raises:
        UsageError: A format is unknown.
        BiasconError: The folder is not writable.
    """
    check_formats(formats)
    document = make_document(study, trial_settings)
    names = formats or list(STUDY_FORMATS)
    files: dict[str, bytes | str] = {}
    for name in with_progress(names, "writing formats", len(names), say):
        files |= STUDY_FORMATS[name](study, document)
    folders = [out, *([out / FIGURES] if any("/" in name for name in files) else [])]
    with output_folders(*folders):
        files = add_checksums(out, files)
        write_together({out / name: content for name, content in files.items()})
    return [out / name for name in files]


def check_formats(formats: Sequence[str]) -> None:
    """Refuse a format that the report of a study does not have.

    Raises:
        UsageError: A format is unknown.
    """
    for name in formats:
        if name not in STUDY_FORMATS:
            raise UsageError(
                f"unknown format '{name}' of the report of a study{did_you_mean(name, STUDY_FORMATS)} "
                f"(known: {', '.join(STUDY_FORMATS)})"
            )


def render_study_html(document: Document, pictures: Mapping[str, bytes] | None = None) -> str:
    """Return the report of a study as a self-contained HTML page; names are escaped.

    Args:
        document: The report.
        pictures: The SVG files of figures that are drawn already, by the names of the figures.
    """
    drawn = pictures or {}
    return render_template(
        "study.html.j2",
        document=document,
        text=cell_text,
        value=cell_value,
        svg=lambda figure, title: Markup(
            # The caption stands below the figure: its label is short.
            replace(figure, caption=title).svg_element(
                drawn[figure.name] if figure.name in drawn else figure.to_svg_file()
            )
        ),
        version=__version__,
    )


def render_study_markdown(document: Document) -> str:
    """Return the report of a study as Markdown; its pictures are in the folder ``FIGURES``."""
    return render_template(
        "study.md.j2",
        escape=lambda text: escape_markdown(visible(text)),
        document=document,
        texts=_texts,
        fence=_fence,
        folder=FIGURES,
        version=__version__,
    )


def _texts(row: Sequence[Cell]) -> list[str]:
    return [cell_text(cell) for cell in row]


def _fence(text: str) -> str:
    """Return a fence that the code does not contain."""
    fence = "```"
    while fence in text:
        fence += "`"
    return fence


def render_study_latex(study: Study) -> str:
    """Return the comparisons as LaTeX tables, to ``\\input`` after ``\\usepackage{booktabs}``."""
    parts = [
        f"% Made by biascon {__version__}, {_comment(study.source)}. Needs \\usepackage{{booktabs}}."
    ]
    for group in study.shown_groups:
        if not group.comparisons:
            continue
        # The columns that fit on a page.
        chosen = (
            [0, 1, 2, 3, 4, 5, 7, 8, 11, 13] if group.has_verdict else [0, 2, 3, 4, 6, 7, 8, 11]
        )
        interval = (
            "the 95 % interval that holds for another search too"
            if group.has_verdict
            else "the 95 % interval of the two chosen settings alone, without a verdict about tuned methods"
        )
        caption = (
            f"{describe_group(group)}: {study.accuracy} in percent, tuned with the same budget and trained "
            f"anew, against {study.reference}; differences in points with {interval}; p-values "
            "adjusted by Holm"
            + f"; level: margin of {100 * study.margin:.1f} points"
            * group.has_verdict
            + ". "
            f"{study.table.description['dataset']['name']}, preset {study.table.description['preset']}."
        )
        rows = [
            " & ".join(escape_latex(text) for text in (_texts(row)[k] for k in chosen)) + r" \\"
            for row in comparison_rows(study, group)
        ]
        header = " & ".join(escape_latex(COMPARISON_COLUMNS[k]) for k in chosen)
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
                    rf"\caption{{{escape_latex(caption)}}}",
                    r"\medskip",
                    rf"\begin{{tabular}}{{l{'r' * (len(chosen) - 1)}}}",
                    r"\toprule",
                    rf"{header} \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}\end{table}",
                    "",
                ]
            )
        )
    return "\n\n".join(parts)


def _comment(text: str) -> str:
    return visible(text)


def _markdown_files(study: Study, document: Document) -> Files:
    return {
        "report.md": render_study_markdown(document),
        **_pictures(document, "png", Figure.to_png),
    }


def _html_files(study: Study, document: Document) -> Files:
    drawn = {figure.name: figure.to_svg_file() for figure in document.figures}
    return {
        "report.html": render_study_html(document, drawn),
        **_pictures(document, "svg", lambda figure: drawn[figure.name]),
    }


def _latex_files(study: Study, document: Document) -> Files:
    return {
        "comparison.tex": render_study_latex(study),
        **_pictures(document, "pdf", Figure.to_pdf),
    }


def _pictures(
    document: Document, suffix: str, save: Callable[[Figure], bytes]
) -> dict[str, bytes | str]:
    return {f"{FIGURES}/{figure.file_stem}.{suffix}": save(figure) for figure in document.figures}


def _csv_files(study: Study, document: Document) -> Files:
    return {"comparison.csv": comparison_csv(study)}


def _json_files(study: Study, document: Document) -> Files:
    return {"comparison.json": comparison_json(study)}


STUDY_FORMATS: dict[str, Callable[[Study, Document], Files]] = {
    "html": _html_files,
    "markdown": _markdown_files,
    "latex": _latex_files,
    "csv": _csv_files,
    "json": _json_files,
}
