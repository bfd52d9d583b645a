"""An audit as LaTeX and as HTML: every string from outside is escaped."""

from __future__ import annotations

import html as escapes
from collections.abc import Callable, Sequence

from biascon.auditing.result import Audit
from biascon.auditing.tables import (
    LEGEND,
    TextTable,
    audit_tables,
    describe_source,
    iter_audits,
    visible,
)

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after a line break these would be its options
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Escape what LaTeX takes for markup, also at the start of a row of a table.

    >>> escape_latex("50 % of [a_b]")
    '50 \\\\% of {[}a\\\\_b{]}'
    """
    return "".join(_LATEX.get(character, character) for character in visible(text))


def latex(audit: Audit) -> str:
    """Return a booktabs table each, in floats with captions."""
    from biascon import __version__

    e = escape_latex
    parts = [rf"% Made by biascon {__version__}. Needs \usepackage{{booktabs}}."]
    if "sha256" in audit.data:
        parts.append(f"% predictions sha256 {audit.data['sha256']}")
    for one in iter_audits(audit):
        for k, section in enumerate(audit_tables(one)):
            about = [section.title]
            if k == 0:
                about = [f"{describe_source(one)}. {section.title}", *one.notes, LEGEND.rstrip(".")]
            caption = ". ".join(map(e, about))
            parts.append(
                "\n".join(
                    [
                        r"\begin{table}",
                        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
                        rf"\caption{{{caption}.}}",
                        r"\medskip",
                        _tabular(section, e),
                        r"\end{table}",
                    ]
                )
            )
    return "\n\n".join(parts) + "\n"  # fmt: skip


def _tabular(section: TextTable, escape: Callable[[str], str]) -> str:
    import pandas as pd

    frame = pd.DataFrame(
        [[escape(cell) for cell in row] for row in section.rows],
        columns=[escape(cell) for cell in section.header],
    )
    flush = "l" * section.left + "r" * (len(section.header) - section.left)
    told: str = frame.style.hide(axis="index").to_latex(hrules=True, column_format=flush)
    return told.rstrip()


def html(audit: Audit) -> str:
    """Return a fragment: a section an audit, a table with a caption each."""
    e = _escape_html
    parts = [f'<section class="biascon-audit">\n<p>{e(describe_source(audit))}</p>']
    for one in iter_audits(audit):
        parts += [_html_table(section, e) for section in audit_tables(one)]
        if one.notes:
            items = "".join(f"<li>{e(note)}</li>" for note in one.notes)
            parts.append(f"<ul>{items}</ul>")
    return "\n".join([*parts, f"<p>{e(LEGEND)}</p>", "</section>", ""])


def page(audit: Audit) -> str:
    """Return the HTML as a page of its own."""
    style = (
        ":root{color-scheme:light dark}"
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "section{overflow-x:auto}table{border-collapse:collapse;margin:1.5rem 0}"
        "caption{text-align:left;font-weight:600}"
        "th,td{padding:.15rem .6rem;text-align:right;font-variant-numeric:tabular-nums}"
        "tbody th{font-weight:400}th[scope=row],.l{text-align:left}thead th{border-bottom:1px solid}"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Audit by {_escape_html(audit.data['bias'])}</title>\n<style>{style}</style>\n"
        f"{html(audit)}</html>\n"
    )


def _escape_html(text: str) -> str:
    return escapes.escape(visible(text), quote=True)


def _html_table(section: TextTable, escape: Callable[[str], str]) -> str:
    def row(cells: Sequence[str]) -> str:
        told = [
            f'<th scope="row">{escape(cell)}</th>'
            if k < section.left
            else f"<td>{escape(cell)}</td>"
            for k, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(told)}</tr>"

    flush = [' class="l"' if k < section.left else "" for k in range(len(section.header))]
    header = "".join(
        f'<th scope="col"{side}>{escape(cell)}</th>'
        for side, cell in zip(flush, section.header, strict=True)
    )
    body = "\n".join(row(cells) for cells in section.rows)
    return (
        f"<table>\n<caption>{escape(section.title)}</caption>\n<thead><tr>{header}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )
