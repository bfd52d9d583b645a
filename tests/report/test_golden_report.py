"""The Markdown and the LaTeX of committed run folders, byte by byte.

Where a change of the report is meant: python tests/golden/report/make.py reports, and look at the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from biascon.report.experiments import Group, find_runs, group
from biascon.report.html import html
from biascon.report.latex import latex
from biascon.report.markdown import markdown

GOLDEN = Path(__file__).parents[1] / "golden" / "report"


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    return group(find_runs(GOLDEN / "runs"))


def test_markdown(groups: list[Group]) -> None:
    assert markdown(groups) == (GOLDEN / "report.md").read_text(encoding="utf-8")


def test_latex(groups: list[Group]) -> None:
    assert latex(groups) == (GOLDEN / "appendix.tex").read_text(encoding="utf-8")


def test_numbers_of_the_table_are_those_of_the_runs(groups: list[Group]) -> None:
    """So that the golden files cannot be wrong in all forms alike."""
    (one,) = groups
    for label, runs in one.losses.items():
        values = [run.evaluation["unbiased"]["value"] for run in runs]
        mean = sum(values) / 2
        sd = abs(values[0] - values[1]) / 2**0.5
        text = f"{100 * mean:.1f} ± {100 * sd:.1f}"
        assert text in markdown(groups), label
        assert text.replace("±", r"$\pm$") in latex(groups), label
        assert text in html(groups), label
