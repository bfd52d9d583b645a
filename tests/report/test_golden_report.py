"""The Markdown and the LaTeX of committed run folders, byte by byte.

Where a change of the report is meant: python tests/golden/report/make.py reports, and look at the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from biascon.report.experiments import Experiment, find_runs, group_runs
from biascon.report.html import render_html
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown

GOLDEN = Path(__file__).parents[1] / "golden" / "report"


@pytest.fixture(scope="module")
def groups() -> list[Experiment]:
    return group_runs(find_runs(GOLDEN / "runs"))


def test_markdown(groups: list[Experiment]) -> None:
    assert render_markdown(groups) == (GOLDEN / "report.md").read_text(encoding="utf-8")


def test_latex(groups: list[Experiment]) -> None:
    assert render_latex(groups) == (GOLDEN / "appendix.tex").read_text(encoding="utf-8")


def test_numbers_of_the_table_are_those_of_the_runs(groups: list[Experiment]) -> None:
    """So that the golden files cannot be wrong in all forms alike."""
    (one,) = groups
    for label, runs in one.losses.items():
        values = [run.evaluation["unbiased"]["value"] for run in runs]
        mean = sum(values) / 2
        sd = abs(values[0] - values[1]) / 2**0.5
        text = f"{100 * mean:.1f} ± {100 * sd:.1f}"
        assert text in render_markdown(groups), label
        assert text.replace("±", r"$\pm$") in render_latex(groups), label
        assert text in render_html(groups), label
