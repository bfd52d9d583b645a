"""A run that is killed at any moment and started again gives the same bytes as a run that was not killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run_helpers import run_here, start_process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
SEALED = ("encoder.safetensors", "predictions.parquet", "evaluation.json", "config.toml")


def build_command(data: Path, runs: Path) -> list[str]:
    words = ["evaluate", "--loss", "contex", "--preset", "smoke", "--set", "train.epochs=4"]
    return [sys.executable, "-m", "biascon", *words, "--data", str(data), "--runs", str(runs)]


def kill_at(line: str, words: list[str]) -> None:
    """Start the command and kill it as soon as it prints a line with these words."""
    process, out, err = start_process(words, os.environ)
    with out, err:
        seen = []
        for printed in err:
            seen.append(printed)
            if line in printed:
                process.kill()
                break
        process.join()
        assert process.exitcode == -signal.SIGKILL, "".join(seen)


def find_only_run(runs: Path) -> Path:
    (run_folder,) = runs.glob("*/*/seed0-*")
    return run_folder


def test_a_killed_run_resumes_to_the_same_bytes(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_dataset(tmp_path / "data")
    run_here(build_command(data, tmp_path / "whole")).check_returncode()
    killed = build_command(data, tmp_path / "killed")
    for line in ("epoch 1/4", "epoch 3/4", "epoch 4/4"):
        kill_at(line, killed)  # each start resumes: epoch 1 is not printed again
        assert not (find_only_run(tmp_path / "killed") / "done").exists()
    run_here(killed).check_returncode()
    for name in SEALED:
        whole, other = (find_only_run(tmp_path / kind) / name for kind in ("whole", "killed"))
        assert whole.read_bytes() == other.read_bytes(), name


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_to_the_same_bytes(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_dataset(tmp_path / "data")
    subprocess.run(build_command(data, tmp_path / "whole"), check=True, capture_output=True)
    for moment in range(20):
        runs = tmp_path / f"killed{moment}"
        try:
            subprocess.run(
                build_command(data, runs),
                check=True,
                capture_output=True,
                timeout=0.5 + 0.4 * moment,
            )
        except subprocess.TimeoutExpired:  # subprocess.run kills with SIGKILL
            subprocess.run(build_command(data, runs), check=True, capture_output=True)
        for name in SEALED:
            pair = [find_only_run(tmp_path / kind) / name for kind in ("whole", runs.name)]
            assert pair[0].read_bytes() == pair[1].read_bytes(), (moment, name)


@pytest.mark.slow
def test_killed_fine_tuning_resumes_to_the_same_bytes(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_dataset(tmp_path / "data")
    options = ["--protocol", "finetune", "--set", "finetune.epochs=4"]
    subprocess.run(
        [*build_command(data, tmp_path / "whole"), *options], check=True, capture_output=True
    )
    killed = [*build_command(data, tmp_path / "killed"), *options]
    for line in ("epoch 3/4", "fine-tuning: epoch 1/4", "fine-tuning: epoch 3/4"):
        kill_at(line, killed)
        assert not list(tmp_path.glob("killed/*/*/*/done"))
    subprocess.run(killed, check=True, capture_output=True)
    (whole,), (other,) = (
        [done.parent for done in (tmp_path / kind).glob("*/*/*/done")]
        for kind in ("whole", "killed")
    )
    for name in (*SEALED, "finetuned.safetensors"):
        assert (whole / name).read_bytes() == (other / name).read_bytes(), name
