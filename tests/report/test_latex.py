"""The appendix compiles as it is, without an overfull table."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from biascon.report import tables
from biascon.report.disparities import TESTED
from biascon.report.experiments import FinishedRun, group_runs
from biascon.report.write import FORMATS
from tests.report.test_report import CLEAR, bias_seeing, made_up

PDFLATEX = shutil.which("pdflatex")
pytestmark = pytest.mark.skipif(
    PDFLATEX is None, reason="needs LaTeX: apt-get install texlive-latex-recommended"
)


def test_the_appendix_compiles_without_an_overfull_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "describe_machines", lambda group: "cpu")
    odd = r"a_b & 50 % $x$ #1 {c} ~ ^ \d"
    runs = [
        *CLEAR,
        *(bias_seeing("biascon+biasbal", s, 0.9 + 0.01 * s) for s in range(3)),
        *(
            made_up("eps_supinfonce", s, 1.0, label="eps_supinfonce (epsilon=0.25)")
            for s in range(3)
        ),
        made_up("supcon", 0, 0.7, dataset="bmnist-0.9", dataset_digest="e" * 64, source=odd),
    ]
    compiled(runs, tmp_path)


def test_more_floats_than_latex_holds_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "describe_machines", lambda group: "cpu")
    null = {"p": 0.0005, "expected": 0.02, "within": "labels", "replicates": 2000}
    disparity = dict.fromkeys(TESTED, null)
    runs = [
        made_up(
            loss,
            s,
            0.5 + 0.1 * s,
            dataset=f"bmnist-0.{k}",
            dataset_digest=f"{k}" * 64,
            disparity=disparity,
        )
        for k in range(1, 9)
        for loss in ("supcon", "contex")
        for s in range(2)
    ]
    compiled(runs, tmp_path)


def compiled(runs: Sequence[FinishedRun], tmp_path: Path) -> None:
    """Write the appendix of some runs, compile it, and look through the log."""
    files = FORMATS["latex"](runs, group_runs(runs), {})
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
