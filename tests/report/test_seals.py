"""What is checked when runs are read: by a report, by a listing, and in full."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from biascon.errors import BiasconWarning, RunError
from biascon.report.experiments import find_runs
from biascon.runs import seals
from biascon.runs.cache import cache_path
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import ENCODER, EVALUATION, FEATURES, PREDICTIONS
from biascon.runs.listing import RunState, find_run_folders, list_runs
from biascon.runs.seals import Check
from biascon.utils.files import sha256_file
from tests.run_helpers import reseal

GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "runs"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the committed runs, whose files are an hour old."""
    ignored = shutil.ignore_patterns(".cache")  # of tests that read the committed runs in place
    shutil.copytree(GOLDEN, tmp_path / "runs", ignore=ignored)
    return make_old(tmp_path / "runs")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The names of the files that were hashed."""
    names: Counter[str] = Counter()

    def count(path: Path) -> str:
        names[path.name] += 1
        return sha256_file(path)

    monkeypatch.setattr(seals, "sha256_file", count)
    # The time of status change cannot be set back: every file counts as settled.
    monkeypatch.setattr(seals, "SETTLED_NS", -(10**18))
    return names


def make_old(root: Path) -> Path:
    """Set the files of a folder back by an hour."""
    for path in root.rglob("*"):
        if path.is_file():
            set_back(path)
    return root


def set_back(path: Path, seconds: int = 3600) -> None:
    found = path.stat()
    time = found.st_mtime_ns - seconds * 10**9
    os.utime(path, ns=(time, time))


def change_a_byte(path: Path) -> None:
    """Change a byte of a file, which keeps its size and its time of modification."""
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def first_folder(root: Path) -> Path:
    return find_run_folders(root)[0]


@pytest.mark.parametrize("name", [EVALUATION, PREDICTIONS, "config.toml", "environment.json"])
@pytest.mark.parametrize("read_before", [False, True])
def test_a_report_finds_a_change_of_a_file_that_it_reads(
    root: Path, hashed: Counter[str], name: str, read_before: bool
) -> None:
    if read_before:
        assert len(find_runs(root)) == 6
    change_a_byte(first_folder(root) / name)
    with pytest.warns(BiasconWarning, match=rf"{name} has changed"):
        assert len(find_runs(root)) == 5


def test_a_changed_encoder_is_found_by_the_full_check(root: Path) -> None:
    change_a_byte(first_folder(root) / ENCODER)
    assert len(find_runs(root)) == 6
    with pytest.warns(BiasconWarning, match=rf"{ENCODER} has changed"):
        assert len(find_runs(root, check=Check.FULL)) == 5


def test_a_missing_encoder_is_found_by_a_report(root: Path) -> None:
    (first_folder(root) / ENCODER).unlink()
    with pytest.warns(BiasconWarning, match=ENCODER):
        assert len(find_runs(root)) == 5


def test_files_that_did_not_change_are_not_hashed_again(root: Path, hashed: Counter[str]) -> None:
    """Sixty runs; ``evaluation.json`` is hashed from the bytes that are read, and is not counted here."""
    for copy in range(9):
        shutil.copytree(root / "bmnist5k-0.9", root / f"copy{copy}")
    assert len(find_runs(root)) == 60
    assert hashed[PREDICTIONS] == hashed["config.toml"] == 60
    assert not {ENCODER, *FEATURES} & set(hashed)
    hashed.clear()
    assert len(find_runs(root)) == 60
    assert not hashed
    touched = first_folder(root) / PREDICTIONS
    os.utime(touched)
    assert len(find_runs(root)) == 60
    assert hashed == {PREDICTIONS: 1}
    hashed.clear()
    assert len(find_runs(root, check=Check.FULL)) == 60
    assert hashed[ENCODER] == hashed[PREDICTIONS] == 60


def test_a_file_that_has_just_changed_is_hashed_again(
    root: Path, hashed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals, "SETTLED_NS", 10**18)
    find_runs(root)
    hashed.clear()
    find_runs(root)
    assert hashed[PREDICTIONS] == 6


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"predictions.parquet": 3}', '{"config.toml": [1, 2]}', "\0"]
)
def test_a_damaged_cache_is_ignored(root: Path, hashed: Counter[str], damage: str) -> None:
    find_runs(root)
    hashed.clear()
    for folder in find_run_folders(root):
        cache_path(folder, seals.CACHE).write_text(damage)
    assert len(find_runs(root)) == 6
    assert hashed[PREDICTIONS] == 6
    hashed.clear()
    find_runs(root)
    assert not hashed


def test_a_cache_of_another_seal_is_not_trusted(root: Path, hashed: Counter[str]) -> None:
    find_runs(root)
    folder = first_folder(root)
    stated = json.loads((folder / "done").read_text())
    stated["files"][PREDICTIONS] = "0" * 64
    (folder / "done").write_text(json.dumps(stated))
    with pytest.warns(BiasconWarning, match="has changed"):
        assert len(find_runs(root)) == 5


def test_the_cache_needs_no_writable_folder(
    root: Path, hashed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert len(find_runs(root)) == 6
    assert not cache_path(first_folder(root), seals.CACHE).exists()
    (first_folder(root) / ".cache").write_text("a file in the place of the folder")
    assert len(find_runs(root)) == 6


def test_several_threads_read_the_same_runs(root: Path, hashed: Counter[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: len(find_runs(root)), range(8)))
    assert found == [6] * 8
    assert not list(root.rglob("*.tmp"))
    hashed.clear()
    find_runs(root)
    assert not hashed


def test_a_listing_is_the_same_as_reading_the_runs(root: Path) -> None:
    listed = list(list_runs(find_run_folders(root)))
    runs = find_runs(root)
    assert [run.state for run in listed] == [RunState.FINISHED] * 6
    assert [(run.label, run.seed, run.accuracy, run.digest) for run in listed] == [
        (run.label, run.seed, run.value(run.headline), run.digest) for run in runs
    ]


def test_a_listing_reads_the_present_format_in_part(root: Path) -> None:
    """The committed runs are of format 1, which is read whole; one is written again in format 2."""
    from biascon.utils.files import pretty_json

    folder = first_folder(root)
    run = FinishedRun.read(folder)
    assert run is not None
    (before,) = list_runs([folder])
    identity = run.evaluation.identity
    assert (before.evaluated_by, before.preset) == (
        identity.evaluated_by, identity.preset_with_overrides,
    )  # fmt: skip
    (folder / EVALUATION).write_text(pretty_json(run.evaluation.to_json()), "utf-8")
    reseal(folder)
    (after,) = list_runs([folder])
    assert after == before
    (folder / EVALUATION).write_text(json.dumps(run.evaluation.to_json()), "utf-8")
    reseal(folder)
    (after,) = list_runs([folder])
    assert after == before


def test_a_listing_names_damaged_and_unfinished_runs(root: Path) -> None:
    damaged, unfinished, *_ = find_run_folders(root)
    change_a_byte(damaged / EVALUATION)
    (unfinished / "done").unlink()
    states = [run.state for run in list_runs(find_run_folders(root))]
    assert states == [RunState.DAMAGED, RunState.UNFINISHED, *[RunState.FINISHED] * 4]


def test_list_runs_on_the_command_line(root: Path, cli: Any) -> None:
    outcome = cli("list", "runs", "--runs", root)
    assert outcome.code == 0
    assert "6 finished" in outcome.out
    header, _, *rows = outcome.out.splitlines()
    assert len(rows) == 6 + 3
    assert header.split()[:5] == ["dataset", "loss", "seed", "by", "preset"]
    identities = [run.evaluation.identity for run in find_runs(root)]
    for row, identity in zip(rows, identities, strict=False):
        assert identity.preset_with_overrides in row
        assert f" {identity.evaluated_by.short} " in row
    assert cli("list", "runs", "--runs", root, "--verify").code == 0
    change_a_byte(first_folder(root) / ENCODER)
    assert cli("list", "runs", "--runs", root).code == 0
    verified = cli("list", "runs", "--runs", root, "--verify")
    assert "5 finished, 1 damaged" in verified.out
    assert "1 of 6 runs are damaged" in verified.err
    assert verified.code == RunError.exit_code
    assert cli("list", "losses", "--verify").code == 2
    assert cli("list", "runs", "--runs", root / "nothing").code == RunError.exit_code


@pytest.mark.parametrize("verify", [False, True])
def test_compare_checks_in_full_on_demand(root: Path, cli: Any, verify: bool) -> None:
    change_a_byte(first_folder(root) / ENCODER)
    outcome = cli("compare", root, *["--verify"] * verify)
    assert outcome.code == 0
    assert (f"{ENCODER} has changed" in outcome.err) == verify
