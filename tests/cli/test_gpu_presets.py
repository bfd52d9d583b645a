"""A preset for a GPU on a CPU: a warning at once, an estimate after some steps, and the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biascon.cli.output import DISPLAY
from biascon.cli.presets import CostEstimate
from biascon.utils.progress import TaskProgress
from tests.small_datasets import write_faces

WARNING = (
    "warning: preset gpu is made for a GPU: on a CPU a run takes some 22 h (MNIST, two cores, estimated); "
    "preset faces-cpu takes some "
)
TINY = [
    "model.encoder=fastconvnet", "train.epochs=2", "train.batch_size=4", "train.threads=1",
    "probe.max_iterations=5", "probe.tolerance=0.1",
]  # fmt: skip


def test_it_warns_and_estimates_and_trains_the_same_network(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    data = write_faces(tmp_path / "data" / "faces", n=48)  # 12 steps an epoch
    words = ["train", "--loss", "ce", "--data", data, "--preset", "gpu", "--device", "cpu"]
    words += [word for setting in TINY for word in ("--set", setting)]
    told = cli(*words, "--runs", "told")
    assert told.code == 0, told.err
    first, *rest = told.err.splitlines()
    assert first.startswith(WARNING)
    (estimate,) = [line for line in rest if line.startswith("estimated ")]
    assert "for the training of this run on cpu (from 20 of 24 steps); preset faces-cpu" in estimate
    assert sum("epoch" in line for line in rest) == 2
    quiet = cli(*words, "--runs", "quiet", "--quiet")
    assert quiet.err.splitlines() == [first]
    assert "faces, validation" in quiet.out
    encoders = [
        next((tmp_path / root).rglob("encoder.safetensors")).read_bytes()
        for root in ("told", "quiet")
    ]
    assert encoders[0] == encoders[1]


def test_the_estimate_needs_twenty_steps_or_twenty_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(DISPLAY, "clock", lambda: now)
    monkeypatch.setattr(DISPLAY, "is_silent", False)

    def lines(seconds: float, steps: int, what: str = "training") -> list[str]:
        nonlocal now
        for step in range(1, steps + 1):
            now += seconds
            estimate(TaskProgress(what, step, 36_000, "steps", is_training=True))
            estimate(TaskProgress("features", step, 36_000, "images"))
        return capsys.readouterr().err.splitlines()

    estimate = CostEstimate("cpu", "cpu takes some 70 s")
    assert lines(1.0, 20) == []  # 19 steps without the first one
    estimate = CostEstimate("cpu", "cpu takes some 70 s")
    (line,) = lines(1.0, 21)
    assert line == (
        "estimated 10 h for the training of this run on cpu (from 20 of 36,000 steps); "
        "preset cpu takes some 70 s"
    )
    estimate = CostEstimate("cpu", "cpu takes some 70 s")
    (slow,) = lines(15.0, 8)
    assert "estimated 6 days" in slow and "from 2 of" in slow
    (other,) = lines(1.0, 30, "first stage ce")
    assert "estimated 10 h for the first stage ce of this run" in other


def test_a_sweep_warns_before_its_first_run(cli: Callable[..., Any], tmp_path: Path) -> None:
    data = write_faces(tmp_path / "data" / "faces", n=12)
    grid = tmp_path / "grid.toml"
    grid.write_text(f'losses = ["ce", "supcon"]\ndata = ["{data}"]\npreset = "gpu"\n')
    outcome = cli("sweep", grid, "--dry-run", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert outcome.err.startswith(WARNING)
    assert outcome.err.count("made for a GPU") == 1
