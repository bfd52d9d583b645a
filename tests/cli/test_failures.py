"""Missing or damaged datasets, runs and folders: exit code 1, one line, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.outcomes import failure


def flip_last_byte(folder: Path) -> None:
    """Damage the training split of a dataset folder."""
    path = folder / "train.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)


@pytest.mark.parametrize(
    "words", [["inspect"], ["evaluate", "--loss", "ce"], ["train", "--loss", "ce"]]
)
def test_without_a_dataset_the_error_names_the_command_that_builds_one(
    cli: Any, words: list[str]
) -> None:
    assert "biascon make-bmnist" in failure(cli(*words))


def test_without_a_run_the_error_names_the_command_that_makes_one(cli: Any) -> None:
    assert "biascon evaluate" in failure(cli("report"))


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "data/small"],
        ["inspect", "data/small", "--png", "s.png"],
        ["inspect", "data/small", "--json"],
        ["evaluate", "--loss", "ce", "--preset", "smoke", "--data", "data/small"],
        ["train", "--loss", "ce", "--preset", "smoke"],
    ],
    ids=" ".join,
)
def test_a_dataset_with_a_changed_byte_is_refused(
    cli: Any, folder: Path, tmp_path: Path, words: list[str]
) -> None:
    flip_last_byte(folder)
    message = failure(cli(*words))
    assert "sha256" in message
    assert "train.safetensors" in message
    assert [p.name for p in tmp_path.iterdir()] == ["data"]  # nothing was written


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_a_run_folder_that_cannot_be_created_fails(
    cli: Any, folder: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").touch()
    words = [command, "--loss", "ce", "--preset", "smoke", "--data", str(folder)]
    message = failure(cli(*words, "--runs", "file/runs"))
    assert "file/runs" in message
