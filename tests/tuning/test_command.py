"""``biascon tune``: real runs, kill and resume, exit codes and one-line errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biascon.studies.records import StudyRun
from biascon.studies.table import read_table
from tests.cli.outcomes import only_error
from tests.run_helpers import sweep_in_process
from tests.tuning.fake_studies import FakePool, make_session, make_spec

STUDY = """
losses = ["ce", "supcon"]
data = "{data}"
preset = "smoke"
trials = 1
settings = ["train.epochs=1"]
[space]
"train.batch_size" = {{ choice = [64] }}
[confirm]
seeds = 0
"""
# A trial of ce has a learning rate at which the training diverges.
DIVERGING = (
    STUDY.replace("trials = 1", "trials = 2").replace('"ce", ', "")
    + """
[methods.wild]
loss = "ce"
[methods.wild.space]
"optimizer.lr" = {{ choice = [1e-3, 1e30] }}
"""
)


def write(tmp_path: Path, text: str, **values: Any) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(text.format(**values), encoding="utf-8")
    return path


def without_seconds(runs: Any) -> list[StudyRun]:
    return [replace(run, seconds=None, first_stage_seconds=None) for run in runs]


def test_a_study_with_real_runs_and_a_trial_that_diverges(
    data: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_in_process(monkeypatch)
    path = write(tmp_path, DIVERGING, data=data)
    outcome = cli("tune", path, "--workers", "1")
    assert outcome.code == 0, outcome.err
    assert f"written: {Path('studies') / 'small' / 'study.parquet'}" in outcome.out
    table = read_table(tmp_path / "studies" / "small" / "study.parquet")
    wild = table.trials("wild")
    assert sorted(run.diverged for run in wild) == [False, True]
    (diverged,) = (run for run in wild if run.diverged)
    assert diverged.settings["optimizer.lr"] == 1e30
    assert "finite" in diverged.message
    (line,) = (
        line for line in outcome.err.splitlines() if f"wild, trial {diverged.trial}," in line
    )
    assert "diverged" in line and diverged.message in line
    for run in table.runs:
        if not run.diverged:
            assert 0.0 < run.val["unbiased"] <= 1.0 and 0.0 < run.seconds < 60.0
    again = cli("tune", path)
    assert again.code == 0
    assert "search: 4 of 4 runs are in the table" in again.err
    assert read_table(tmp_path / "studies" / "small" / "study.parquet") == table


# A process that kills itself after some runs of the search, as a cut of power would.
KILLED = """
import os, signal, sys
from pathlib import Path
from biascon.tuning import run
from tests.tuning.fake_studies import FakePool, collect_made_up, make_session, make_spec

class Killed(FakePool):
    def run(self, jobs):
        for k, result in enumerate(super().run(jobs)):
            if k == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            yield result

run.collect_run = collect_made_up
make_session(make_spec(Path(sys.argv[1]), trials=4), Path(sys.argv[2]), Killed()).run()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.usefixtures("made_up")
def test_a_killed_study_loses_no_finished_run(data: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(data), str(tmp_path / "killed")],
        check=False, capture_output=True, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert len(read_table(tmp_path / "killed" / "study.parquet").runs) == 5
    pool, spec = FakePool(), make_spec(data, trials=4)
    resumed = make_session(spec, tmp_path / "killed", pool).run()
    assert len(pool.jobs) == 3
    assert resumed == make_session(spec, tmp_path / "whole", FakePool()).run()
    assert list((tmp_path / "killed").glob("*.parquet")) == [tmp_path / "killed" / "study.parquet"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_command_killed_with_its_runs_resumes_to_the_same_table(
    data: Path, tmp_path: Path
) -> None:
    text = STUDY.replace("trials = 1", "trials = 2").replace("epochs=1", "epochs=3")
    path = write(tmp_path, text, data=data)

    def words(name: str) -> list[str]:
        options = ["--out", str(tmp_path / name), "--runs", str(tmp_path / name / "runs")]
        return [sys.executable, "-m", "biascon", "tune", str(path), "--workers", "2", *options]

    subprocess.run(words("whole"), check=True, capture_output=True)
    for runs_before in (0, 1, 3):
        process = subprocess.Popen(
            words("killed"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        table, deadline = tmp_path / "killed" / "study.parquet", time.monotonic() + 120
        while time.monotonic() < deadline:
            logs = list((tmp_path / "killed").glob("runs/*/*/*/metrics.jsonl"))
            if logs and runs_before == 0:
                break
            if runs_before and table.exists() and len(read_table(table).runs) >= runs_before:
                break
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(words("killed"), check=True, capture_output=True)
    whole, killed = (read_table(tmp_path / n / "study.parquet") for n in ("whole", "killed"))
    assert killed.description == whole.description
    assert without_seconds(killed.runs) == without_seconds(whole.runs)


@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        (None, (), 1, "cannot read small.toml"),
        ("losses = [", (), 2, "small.toml is not valid TOML"),
        (STUDY + "[confrim]\n", (), 2, "unknown key: 'confrim'; did you mean 'confirm'"),
        (STUDY, ("--trials", "0"), 2, "expected trials in 1..1000, but got 0"),
        (STUDY, ("--losses", "ce"), 2, "two methods or more, but got only ce"),
        (STUDY, ("--losses", "ce,supcn"), 2, "unknown loss 'supcn'; did you mean 'supcon'"),
        (STUDY, ("--losses", "ce,dfr"), 2, "'dfr' fits its last layer on the validation split"),
        (STUDY, ("--val-protocol", "biased"), 2, "rho with val_protocol 'biased'"),
        (STUDY, ("--budget-seconds", "-1"), 2, "budget_seconds above 0, but got -1"),
        (STUDY, ("--data", "nowhere"), 1, "nowhere"),
        (STUDY + 'rules = ["best"]\n', (), 2, "unknown selection rule 'best'"),
        (STUDY + 'reference = "supcn"\n', (), 2, "no method 'supcn'; did you mean 'supcon'"),
        (STUDY.replace("choice = [64]", "choice = [64, 5000]"), (), 2, "batch_size of at most 900"),
        (STUDY.replace("choice = [64]", "uniform = [9, 3]"), (), 2, "expected uniform = [low, high]"),
        (STUDY.replace("[confirm]", '"loss.temperature" = {{ uniform = [-2, -1] }}\n[confirm]'),
         (), 2, "method 'ce': the loss has no parameter 'temperature'"),
        (STUDY.replace("[confirm]", '"optimizer.lr" = {{ uniform = [-2, -1] }}\n[confirm]'),
         (), 2, "method 'ce', trial 0: expected "),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_before_the_first_run(
    text: str | None, options: tuple[str, ...], code: int, message: str, data: Path, tmp_path: Path,
    cli: Callable[..., Any],
) -> None:  # fmt: skip
    if text is not None:
        write(tmp_path, text, data=data)
    outcome = cli("tune", "small.toml", *options)
    assert outcome.code == code, outcome.err
    assert message in only_error(outcome.err)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "studies").exists()


@pytest.mark.usefixtures("made_up")
def test_a_damaged_table_and_that_of_another_study_are_one_line(
    data: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    make_session(make_spec(data), tmp_path / "out", FakePool()).run()
    path, table = write(tmp_path, STUDY, data=data), tmp_path / "out" / "study.parquet"
    other = cli("tune", path, "--out", "out")
    assert other.code == 2
    assert "has another study" in only_error(other.err)
    table.write_bytes(table.read_bytes()[:100])
    damaged = cli("tune", path, "--out", "out")
    assert damaged.code == 1
    assert "out/study.parquet is damaged" in only_error(damaged.err)
    assert table.stat().st_size == 100
    assert not (tmp_path / "runs").exists()
