"""``biascon check``: what is wrong in a workspace, and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.evaluation.pipeline import validate
from biascon.report.checksums import CHECKSUMS
from biascon.report.workspace import Kind, check_workspace
from biascon.report.write import write_report
from biascon.runs.listing import find_run_folders

GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "runs"
STUDY = Path(__file__).parents[2] / "docs" / "results" / "fair" / "contex" / "study.parquet"


@pytest.fixture(scope="module")
def whole(make_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a dataset, finished runs, an unfinished run, a report, and a study."""
    root = tmp_path_factory.mktemp("workspace") / "space"
    shutil.copytree(GOLDEN, root / "runs", ignore=shutil.ignore_patterns(".cache"))
    data = make_dataset(root / "data" / "small")
    config = make_config("ce", preset="smoke")
    validate(config, load(data), root=root / "runs", device=torch.device("cpu"))
    write_report(GOLDEN, root / "report", formats=["markdown", "json"])
    (root / "studies" / "contex").mkdir(parents=True)
    shutil.copyfile(STUDY, root / "studies" / "contex" / "study.parquet")
    return root


@pytest.fixture
def space(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "space"))


def problems_of(space: Path) -> list[tuple[Kind, str]]:
    return [(thing.kind, text) for thing in check_workspace(space) for text in thing.problems]


def test_a_whole_workspace_has_no_problem(space: Path) -> None:
    things = list(check_workspace(space))
    assert [thing for thing in things if thing.problems] == []
    counts = {kind: sum(thing.kind is kind for thing in things) for kind in Kind}
    assert counts[Kind.DATASET] == counts[Kind.UNFINISHED_RUN] == 1
    assert counts[Kind.REPORT] == counts[Kind.STUDY] == 1
    assert counts[Kind.RUN] == len(find_run_folders(GOLDEN))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("data/small/train.safetensors", Kind.DATASET),
        ("data/small/manifest.json", Kind.DATASET),
        ("runs/bmnist5k-0.9/contex/*/evaluation.json", Kind.RUN),
        ("runs/bmnist5k-0.9/contex/*/encoder.safetensors", Kind.RUN),
        ("runs/bmnist5k-0.9/contex/*/predictions.parquet", Kind.RUN),
        ("runs/*/ce/*/encoder.safetensors", Kind.UNFINISHED_RUN),
        ("runs/*/ce/*/checkpoint.pt", Kind.UNFINISHED_RUN),
        ("runs/*/ce/*/features-train.safetensors", Kind.UNFINISHED_RUN),
        ("runs/*/ce/*/journal.jsonl", Kind.UNFINISHED_RUN),
        ("runs/*/ce/*/metrics.jsonl", Kind.UNFINISHED_RUN),
        ("report/report.md", Kind.REPORT),
        ("studies/contex/study.parquet", Kind.STUDY),
    ],
)
def test_a_flipped_bit_is_found_and_named(pattern: str, kind: Kind, space: Path) -> None:
    path = sorted(space.glob(pattern))[0]
    flip(path)
    (found,) = problems_of(space)
    assert found[0] is kind
    assert path.name in found[1] or path.parent.name in found[1]


@pytest.mark.parametrize("name", ["done", "config.toml", "encoder.safetensors"])
def test_a_missing_file_of_a_finished_run_is_found(name: str, space: Path) -> None:
    run = find_run_folders(space / "runs")[0]
    (run / name).unlink()
    assert problems_of(space)


def test_a_dataset_without_its_manifest_is_named(space: Path) -> None:
    (space / "data" / "small" / "manifest.json").unlink()
    assert [kind for kind, _ in problems_of(space)] == [Kind.DATASET]


def test_leftovers_and_missing_files_of_a_report_are_found(space: Path) -> None:
    (space / "report" / ".01234567.biascon.tmp").write_bytes(b"x")
    (space / "data" / ".small.biascon-work").mkdir()
    (space / "report" / "report.md").unlink()
    kinds = sorted(kind.name for kind, _ in problems_of(space))
    assert kinds == ["LEFTOVER", "LEFTOVER", "REPORT"]


def test_the_command_has_exit_code_1_and_changes_nothing(space: Path, cli: Any) -> None:
    flip(space / "report" / "report.md")
    before = {path: path.read_bytes() for path in space.rglob("*") if path.is_file()}
    outcome = cli("check", space, "--json")
    assert outcome.code == 1
    (wrong,) = json.loads(outcome.out)["wrong"]
    assert wrong["kind"] == "report"
    assert "1 of" in outcome.err
    after = {path: path.read_bytes() for path in space.rglob("*") if path.is_file()}
    assert before == {
        path: content for path, content in after.items() if ".cache" not in path.parts
    }
    good = cli("check", space / "data")
    assert (good.code, good.err) == (0, "")
    assert "checked: 1 dataset" in good.out


def test_checksums_of_a_report_are_those_of_sha256sum(space: Path) -> None:
    import hashlib

    lines = (space / "report" / CHECKSUMS).read_text().splitlines()
    assert lines
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((space / "report" / name).read_bytes()).hexdigest() == digest


def test_a_folder_that_cannot_be_read_is_found(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(folder: Any) -> Any:
        if Path(folder).name == "runs":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    problem = (Kind.UNREADABLE, f"cannot read {space / 'runs'}: Permission denied")
    assert problems_of(space) == [problem]
