"""The Markdown and the LaTeX of committed run folders, byte by byte.

The run folders are of evaluation format 1: they also show that runs of earlier versions are read. To
change the report on purpose, run ``python tests/golden/report/make.py`` and read the difference.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biascon.report.experiments import Experiment, find_runs, group_runs
from biascon.report.html import render_html
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown

GOLDEN = Path(__file__).parents[1] / "golden" / "report"


@pytest.fixture(scope="module")
def experiments() -> list[Experiment]:
    return group_runs(find_runs(GOLDEN / "runs"))


def test_golden_runs_are_of_format_1() -> None:
    files = list(GOLDEN.glob("runs/*/*/*/evaluation.json"))
    assert len(files) == 6
    assert {json.loads(file.read_text())["format"] for file in files} == {1}


def test_markdown_equals_the_golden_file(experiments: list[Experiment]) -> None:
    assert render_markdown(experiments) == (GOLDEN / "report.md").read_text(encoding="utf-8")


def test_latex_equals_the_golden_file(experiments: list[Experiment]) -> None:
    assert render_latex(experiments) == (GOLDEN / "appendix.tex").read_text(encoding="utf-8")


def test_numbers_of_the_tables_are_those_of_the_runs(experiments: list[Experiment]) -> None:
    """The golden files could be wrong in all formats alike."""
    (experiment,) = experiments
    for label, runs in experiment.losses.items():
        files = [json.loads((run.folder / "evaluation.json").read_text()) for run in runs]
        values = [file["unbiased"]["value"] for file in files]
        mean = sum(values) / 2
        sd = abs(values[0] - values[1]) / 2**0.5
        text = f"{100 * mean:.1f} ± {100 * sd:.1f}"
        assert text in render_markdown(experiments), label
        assert text.replace("±", r"$\pm$") in render_latex(experiments), label
        assert text in render_html(experiments), label
