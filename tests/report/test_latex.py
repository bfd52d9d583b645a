"""The LaTeX appendix compiles as it is, without an overfull box."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from biascon.metrics.records import PermutationResult
from biascon.report.disparities import TESTED_METRICS
from biascon.report.experiments import group_runs
from biascon.report.write import FORMATS, ReportData
from biascon.runs.finished import FinishedRun
from tests.report.fakes import CLEAR, bmnist, made_up, with_own_classifier, without_machines

PDFLATEX = shutil.which("pdflatex")
pytestmark = pytest.mark.skipif(
    PDFLATEX is None, reason="needs LaTeX: apt-get install texlive-latex-recommended"
)


@pytest.fixture(autouse=True)
def _machines(monkeypatch: pytest.MonkeyPatch) -> None:
    without_machines(monkeypatch)


def test_appendix_compiles_without_an_overfull_box(tmp_path: Path) -> None:
    source = r"a_b & 50 % $x$ #1 {c} ~ ^ \d"
    runs = [
        *CLEAR,
        *(with_own_classifier("biascon+biasbal", s, 0.9 + 0.01 * s) for s in range(3)),
        *(
            made_up("eps_supinfonce", s, 1.0, label="eps_supinfonce (epsilon=0.25)")
            for s in range(3)
        ),
        made_up("supcon", 0, 0.7, **bmnist(0.9), source=source),
    ]
    compile_appendix(runs, tmp_path)


def test_appendix_compiles_with_more_floats_than_latex_holds(tmp_path: Path) -> None:
    disparity = dict.fromkeys(TESTED_METRICS, PermutationResult(0.02, 0.0005, "labels", 2000))
    runs = [
        made_up(loss, s, 0.5 + 0.1 * s, **bmnist(k / 10), disparity=disparity)
        for k in range(1, 9)
        for loss in ("supcon", "contex")
        for s in range(2)
    ]
    compile_appendix(runs, tmp_path)


def compile_appendix(runs: Sequence[FinishedRun], tmp_path: Path) -> None:
    """Write the appendix of runs, compile it, and check the log."""
    files = FORMATS["latex"](ReportData(runs, group_runs(runs), {}))
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
    assert PDFLATEX is not None
    done = subprocess.run(
        [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "main.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "main.pdf").stat().st_size > 10_000
    assert not re.findall(r"Overfull.*", done.stdout)
    assert not re.findall(r"LaTeX Warning.*(?:undefined|missing).*", done.stdout)
