"""Writing a report: its files, their bytes, and the errors of a wrong folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from biascon.errors import BiasconError, RunError, UsageError
from biascon.report.experiments import find_runs
from biascon.report.write import write_report


def test_report_has_its_files_and_the_same_bytes_every_time(runs: Path, tmp_path: Path) -> None:
    files, _ = write_report(runs, tmp_path / "a")
    names = {file.name for file in files if file.suffix != ".pdf"}
    assert names == {
        "report.html", "report.md", "figure.png", "appendix.tex", "main.tex", "runs.csv",
        "runs.parquet", "runs.json", "SHA256SUMS",
    }  # fmt: skip
    write_report(runs, tmp_path / "b")
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    with Image.open(tmp_path / "a" / "figure.png") as figure:
        assert figure.size[0] > 600


def test_other_files_in_the_folder_stay(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    write_report(runs, tmp_path, formats=["csv"])
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_every_run_and_its_protocol_are_in_the_report(runs: Path, tmp_path: Path) -> None:
    write_report(runs, tmp_path, formats=["markdown", "latex"])
    page = (tmp_path / "report.md").read_text()
    tex = (tmp_path / "appendix.tex").read_text()
    for run in find_runs(runs):
        identity, protocol = run.evaluation.identity, run.evaluation.protocol
        unbiased = run.value("unbiased")
        assert unbiased is not None
        assert f"| {run.seed} | {100 * unbiased:.1f} [" in page
        for text in (
            run.digest[:8],
            identity.source,
            identity.preset,
            identity.dataset,
            *protocol.to_json().values(),
        ):
            assert text in page
        assert run.digest in tex
        assert identity.dataset_digest in tex
    assert "form plain" in page  # the form of ConTeX


def test_missing_runs_and_unwritable_folders_are_errors(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="biascon evaluate --loss contex"):
        write_report(tmp_path / "none", tmp_path / "report")
    with pytest.raises(RunError, match="other"):
        write_report(runs, tmp_path / "report", dataset="other")
    assert not (tmp_path / "report").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(BiasconError, match="cannot create"):
        write_report(runs, tmp_path / "file" / "report")


def test_unknown_format_is_an_error_with_a_suggestion(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'htm'; did you mean 'html'"):
        write_report(runs, tmp_path / "report", formats=["htm"])
    assert not (tmp_path / "report").exists()
