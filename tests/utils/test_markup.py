"""Escapes: LaTeX, HTML and Markdown show every text literally."""

from __future__ import annotations

import html

import pytest

from biascon.utils.markup import escape_html, escape_latex, escape_markdown
from biascon.utils.text import visible


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a & b % $ # _ { }", r"a \& b \% \$ \# \_ \{ \}"),
        ("\\", r"\textbackslash{}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("<|>", r"\textless{}\textbar{}\textgreater{}"),
        ('"', r"\char34{}"),
        ("† ↓ ±", r"$^\dagger$ $\downarrow$ $\pm$"),
        ("a\nb", r"a\textbackslash{}nb"),
    ],
)
def test_latex_has_no_special_character(text: str, latex: str) -> None:
    assert escape_latex(text) == latex


def test_brackets_are_protected_at_the_start_of_a_table_row_only() -> None:
    assert escape_latex("[a] b") == "{[}a{]} b"
    assert escape_latex(" *") == " {*}"
    assert escape_latex("+1.0 [0.5, 2.0] *") == "+1.0 [0.5, 2.0] *"


def test_html_gives_back_the_visible_text() -> None:
    text = "<a href='x'>\"&amp;\"</a>\x1b[0m"
    assert not set("<>'\"") & set(escape_html(text))
    assert html.unescape(escape_html(text)) == visible(text)


def test_markdown_specials_have_a_backslash() -> None:
    assert escape_markdown("[a](b) `c` *d* _e_ <f> g|h \\") == (
        r"\[a\](b) \`c\` \*d\* \_e\_ \<f\> g\|h \\"
    )


def test_control_characters_become_escapes() -> None:
    assert visible("a\nb\x1b[31m é") == "a\\nb\\x1b[31m é"
