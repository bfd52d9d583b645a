"""Which folders below a folder are runs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from biascon.errors import BiasconWarning
from biascon.runs.listing import find_run_folders, find_run_folders_below


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder of runs with three runs of two datasets, and a link that leads to itself."""
    for name in ("d1/ce/seed0-a", "d1/supcon/seed0-b", "d2/ce/seed0-c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.toml").touch()
    (tmp_path / "d1" / "loop").symlink_to(tmp_path / "d1" / "loop")
    (tmp_path / "d1" / "config.toml").touch()  # at another level
    return tmp_path


def names(root: Path, found: list[Path]) -> list[str]:
    return [str(path.relative_to(root)) for path in found]


def test_runs_are_found_at_their_level_or_at_every_level(runs: Path) -> None:
    at_level = ["d1/ce/seed0-a", "d1/supcon/seed0-b", "d2/ce/seed0-c"]
    assert names(runs, find_run_folders(runs)) == at_level
    assert names(runs, find_run_folders(runs, "d2")) == at_level[2:]
    assert names(runs, find_run_folders_below(runs)) == ["d1", *at_level]
    assert find_run_folders_below(runs / "d2/ce/seed0-c") == [runs / "d2/ce/seed0-c"]
    assert find_run_folders(runs / "missing") == []
    assert find_run_folders(runs / "d1" / "config.toml") == []


@pytest.mark.parametrize("find", [find_run_folders, find_run_folders_below])
def test_a_folder_that_cannot_be_read_is_named(
    runs: Path, find: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(folder: Any) -> Any:
        if Path(folder).name == "supcon":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(BiasconWarning, match="left out: .*supcon cannot be read: Permission"):
        found = names(runs, find(runs))
    assert "d1/supcon/seed0-b" not in found
    assert {"d1/ce/seed0-a", "d2/ce/seed0-c"} <= set(found)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find(runs)
