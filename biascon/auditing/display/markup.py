"""The tables of an audit as LaTeX and as HTML; every text is escaped, and long names are cut."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import PurePath

from biascon.auditing.display.findings import audit_findings
from biascon.auditing.display.legend import audit_legend
from biascon.auditing.display.tables import audit_tables, describe_source
from biascon.auditing.display.text_table import TextTable
from biascon.auditing.record import AuditRecord
from biascon.auditing.verdicts import Verdict, describe_verdicts
from biascon.errors import UsageError
from biascon.utils.markup import escape_html, escape_latex
from biascon.utils.text import shorten_words

_WORD = 12  # letters of a sentence in LaTeX that stay on one line
_LONG = 24  # letters that stay on one line if they have no sign to break after
_BREAK_AFTER = re.compile(r"(?<=[=_/.:-])")
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "section{overflow-x:auto}p,li,caption{overflow-wrap:anywhere}"
    "table{border-collapse:collapse;margin:1.5rem 0}"
    "caption{text-align:left;font-weight:600}"
    "th,td{padding:.15rem .6rem;text-align:right;font-variant-numeric:tabular-nums}"
    "tbody th{font-weight:400}th[scope=row],.l{text-align:left}thead th{border-bottom:1px solid}"
)


def render_latex(
    records: Sequence[AuditRecord], verdicts: Sequence[Verdict] = (), *, label: str | None = None
) -> str:
    """Return booktabs tables in floats with captions, and paragraphs with their legend and the verdicts.

    Args:
        records: The records of one audit, by each bias column alone and by their combinations.
        verdicts: The verdicts against tolerances.
        label: The label of the first table, for ``\\ref``; the others have ``-2``, ``-3``, ... after it.

    Raises:
        UsageError: The label has other signs than letters, digits and ``:._-/``.
    """
    from biascon.version import __version__

    parts = [rf"% Made by biascon {__version__}. Needs \usepackage{{booktabs,graphicx}}."]
    sha256 = records[-1].source.sha256
    if sha256 is not None:
        parts.append(f"% predictions sha256 {sha256}")
    for record in records:
        first, *others = audit_tables(record)
        sentences = [*audit_findings(record), *(f"Note: {note}" for note in record.notes)]
        parts.append(_latex_float(first, f"{_describe_file(record)}. {first.title}", sentences))
        parts += [_latex_float(table, table.title) for table in others]
    parts.append(_latex_paragraph([audit_legend(records)]))
    if verdicts:
        parts.append(_latex_paragraph(["Verdicts", *describe_verdicts(verdicts)]))
    text = "\n\n".join(parts) + "\n"
    return text if label is None else _add_labels(text, label)


def _add_labels(text: str, label: str) -> str:
    """Return LaTeX code with a label after the caption of every table; a caption is a line of its own."""
    if not isinstance(label, str) or not re.fullmatch(r"[A-Za-z0-9:._/-]+", label):
        raise UsageError(f"expected a label of letters, digits and :._-/, but got {label!r}")
    numbers = itertools.count(1)

    def add(match: re.Match[str]) -> str:
        k = next(numbers)
        return f"{match[0]}\\label{{{label if k == 1 else f'{label}-{k}'}}}"

    return re.sub(r"^\\caption\{.*\}$", add, text, flags=re.MULTILINE)


def _describe_file(record: AuditRecord) -> str:
    """Return the line of ``describe_source`` with the name of the file in place of its path."""
    path = record.source.path
    if path is None:
        return describe_source(record)
    source = dataclasses.replace(record.source, path=PurePath(path).name)
    return describe_source(dataclasses.replace(record, source=source))


def _latex_paragraph(sentences: Sequence[str]) -> str:
    lines = "\\par\n\\noindent ".join(_escape_breakable(sentence) for sentence in sentences)
    return rf"{{\footnotesize\sloppy\noindent {lines}\par}}"


def _latex_float(table: TextTable, caption: str, sentences: Sequence[str] = ()) -> str:
    """Return a float with a caption above the table and sentences below it."""
    import pandas as pd

    table = table.shorten()
    frame = pd.DataFrame(
        [[escape_latex(cell) for cell in row] for row in table.rows],
        columns=[escape_latex(cell) for cell in table.header],
    )
    alignment = "l" * table.left + "r" * (len(table.header) - table.left)
    tabular: str = frame.style.hide(axis="index").to_latex(hrules=True, column_format=alignment)
    below = (
        [rf"\par\medskip\raggedright {_escape_breakable(_join(sentences))}"] if sentences else []
    )
    return "\n".join(
        [
            r"\begin{table}\sloppy",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{_escape_breakable(caption)}.}}",
            r"\medskip",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            f"{tabular.rstrip()}}}",
            *below,
            r"\end{table}",
        ]
    )


def _join(sentences: Sequence[str]) -> str:
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences)


def _escape_breakable(text: str) -> str:
    """Return LaTeX code of a text whose long words may be broken, after ``= _ / . : -`` first."""
    return " ".join(
        r"\allowbreak{}".join(map(escape_latex, _split_word(word)))
        for word in shorten_words(text).split(" ")
    )


def _split_word(word: str) -> list[str]:
    if len(word) <= _WORD:
        return [word]
    parts = [part for part in _BREAK_AFTER.split(word) if part]
    return [
        part[k : k + _WORD] if len(part) > _LONG else part
        for part in parts
        for k in range(0, len(part) if len(part) > _LONG else 1, _WORD)
    ]


def render_html(records: Sequence[AuditRecord], verdicts: Sequence[Verdict] = ()) -> str:
    """Return an HTML fragment: one section, with the verdicts first and a caption on every table.

    Args:
        records: The records of one audit, by each bias column alone and by their combinations.
        verdicts: The verdicts against tolerances.
    """
    parts = [
        f'<section class="biascon-audit">\n<p>{_escape_sentence(_describe_file(records[-1]))}</p>'
    ]
    if verdicts:
        parts.append(f"<p>Verdicts</p>\n{_html_list(describe_verdicts(verdicts))}")
    for record in records:
        first, *others = audit_tables(record)
        parts += [_html_table(first), _html_list(audit_findings(record))]
        parts += [_html_table(table) for table in others]
        parts.append(_html_list([f"Note: {note}" for note in record.notes]))
    legend = f"<p>{escape_html(audit_legend(records))}</p>"
    return "\n".join([*filter(None, parts), legend, "</section>", ""])


def _html_list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{_escape_sentence(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _escape_sentence(text: str) -> str:
    return escape_html(shorten_words(text))


def render_page(records: Sequence[AuditRecord], verdicts: Sequence[Verdict] = ()) -> str:
    """Return a complete HTML page with the fragment of ``render_html``."""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Audit by {escape_html(records[-1].bias)}</title>\n<style>{_STYLE}</style>\n"
        f"{render_html(records, verdicts)}</html>\n"
    )


def _html_table(table: TextTable) -> str:
    table = table.shorten()
    alignments = [' class="l"' if k < table.left else "" for k in range(len(table.header))]
    header = "".join(
        f'<th scope="col"{alignment}>{escape_html(cell)}</th>'
        for alignment, cell in zip(alignments, table.header, strict=True)
    )
    body = "\n".join(_html_row(cells, table.left) for cells in table.rows)
    return (
        f"<table>\n<caption>{escape_html(table.title)}</caption>\n<thead><tr>{header}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def _html_row(cells: Sequence[str], n_headers: int) -> str:
    headers = [f'<th scope="row">{escape_html(cell)}</th>' for cell in cells[:n_headers]]
    others = [f"<td>{escape_html(cell)}</td>" for cell in cells[n_headers:]]
    return f"<tr>{''.join([*headers, *others])}</tr>"
