"""Text as literal text in LaTeX, HTML and Markdown."""

from __future__ import annotations

import html
import re

from biascon.utils.text import visible

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}",
    "†": r"$^\dagger$", "↓": r"$\downarrow$", "±": r"$\pm$",
}  # fmt: skip
# At the start of a table row these would be an argument of the line break before it.
_ARGUMENTS = {"[": "{[}", "]": "{]}", "*": "{*}"}


def escape_latex(text: str) -> str:
    """Return LaTeX code that prints the text, also as the first cell of a table row.

    >>> escape_latex("50 % of a_b [c]")
    '50 \\\\% of a\\\\_b [c]'
    >>> escape_latex("[a]")
    '{[}a{]}'
    """
    table = _LATEX | _ARGUMENTS if text.lstrip().startswith(("[", "*")) else _LATEX
    return "".join(table.get(character, character) for character in visible(text))


def escape_html(text: str) -> str:
    """Return HTML that shows the text, also inside a quoted attribute.

    >>> escape_html("<b>")
    '&lt;b&gt;'
    """
    return html.escape(visible(text), quote=True)


def escape_markdown(text: str) -> str:
    """Return Markdown that shows the text, also in a cell of a table.

    >>> escape_markdown("a|b*c")
    'a\\\\|b\\\\*c'
    """
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", visible(text))
