"""``biascon prune``, and runs that keep no features."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.evaluation.pipeline import evaluate
from biascon.report.experiments import find_runs
from biascon.runs.folder import (
    ENCODER,
    EVALUATION,
    FEATURES,
    PREDICTIONS,
)
from biascon.runs.listing import find_run_folders
from biascon.runs.prune import PruneState, prune_runs
from tests.lock_helpers import held_lock
from tests.run_helpers import reseal

SETTINGS = ["train.epochs=1", "probe.max_iterations=200", "probe.tolerance=1e-2"]


GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "runs"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of four committed runs, with made features."""
    for loss in ("biasbal", "contex"):
        source = GOLDEN / "bmnist5k-0.9" / loss
        shutil.copytree(
            source,
            tmp_path / "runs" / "bmnist5k-0.9" / loss,
            ignore=shutil.ignore_patterns(".cache"),
        )
    for folder in find_run_folders(tmp_path / "runs"):
        for size, name in enumerate(FEATURES, 1):
            (folder / name).write_bytes(bytes(1000 * size))
        reseal(folder)
    return tmp_path / "runs"


def feature_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("features-*") if path.is_file()]


def test_pruned_runs_stay_readable(root: Path, cli: Any) -> None:
    before = [run.evaluation for run in find_runs(root)]
    size = sum(path.stat().st_size for path in feature_files(root))
    assert len(feature_files(root)) == 12
    dry = cli("prune", "--runs", root, "--features", "--dry-run")
    assert dry.code == 0
    assert f"would free {size / 2**20:,.1f} MiB; runs: would be pruned: 4\n" in dry.out
    assert len(feature_files(root)) == 12
    outcome = cli("prune", "--runs", root, "--features")
    assert f"freed {size / 2**20:,.1f} MiB; runs: pruned: 4\n" in outcome.out
    assert not feature_files(root)
    assert [run.evaluation for run in find_runs(root)] == before
    assert "nothing to delete: 4" in cli("prune", "--runs", root, "--features").out


def test_prune_leaves_unfinished_busy_and_damaged_runs(root: Path) -> None:
    unfinished, busy, bad_encoder, bad_evaluation = folders = find_run_folders(root)
    (unfinished / "done").unlink()
    for path in (bad_encoder / ENCODER, bad_evaluation / EVALUATION):
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    with held_lock(busy / ".lock"):
        states = [run.state for run in prune_runs(folders, features=True, checkpoints=True)]
    assert states == [
        PruneState.UNFINISHED, PruneState.BUSY, PruneState.DAMAGED, PruneState.DAMAGED,
    ]  # fmt: skip
    assert len(feature_files(root)) == 12


def test_the_summary_names_the_runs_that_are_left(root: Path, cli: Any) -> None:
    unfinished, damaged, *_ = find_run_folders(root)
    (unfinished / "done").unlink()
    (damaged / ENCODER).write_bytes(b"x")
    outcome = cli("prune", "--runs", root, "--features")
    assert outcome.out.endswith(
        "; runs: pruned: 2; unfinished, left as they are: 1; damaged, left as they are: 1\n"
    )
    assert f"{damaged}: left as it is: damaged (" in outcome.err


def test_checkpoints_of_finished_runs_only_are_pruned(root: Path) -> None:
    finished, unfinished, *_ = folders = find_run_folders(root)
    (unfinished / "done").unlink()
    for folder in (finished, unfinished):
        (folder / "checkpoint.pt").write_bytes(b"0123456789")
    pruned = list(prune_runs(folders, features=False, checkpoints=True))
    assert [run.freed for run in pruned] == [10, 0, 0, 0]
    assert not (finished / "checkpoint.pt").exists()
    assert (unfinished / "checkpoint.pt").exists()
    assert len(feature_files(root)) == 12


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_shared_file_is_freed_with_its_last_link(root: Path, dry_run: bool) -> None:
    a, b, *_ = find_run_folders(root)
    name = FEATURES[0]
    (b / name).unlink()
    os.link(a / name, b / name)
    sizes = [sum((folder / each).stat().st_size for each in FEATURES) for folder in (a, b)]
    shared = (a / name).stat().st_size
    pruned = list(prune_runs([a, b], features=True, checkpoints=False, dry_run=dry_run))
    assert [run.freed for run in pruned] == [sizes[0] - shared, sizes[1]]


def test_prune_needs_to_know_what_to_delete(root: Path, cli: Any) -> None:
    assert cli("prune", "--runs", root).code == 2
    assert cli("prune", "--runs", root / "nothing", "--features").code == 1


def test_a_run_without_features_is_the_same_run(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data, device = load(make_dataset(tmp_path / "data")), torch.device("cpu")
    config = make_config("ce", seed=0, preset="smoke", settings=SETTINGS)
    kept = evaluate(config, data, root=tmp_path / "kept", device=device)
    done = evaluate(config, data, root=tmp_path / "runs", device=device, keep_features=False)
    assert done.folder.name == kept.folder.name
    assert done.evaluation == kept.evaluation
    assert feature_files(kept.folder)
    assert not feature_files(done.folder)
    for name in (EVALUATION, PREDICTIONS, ENCODER):
        assert (done.folder / name).read_bytes() == (kept.folder / name).read_bytes()
    assert evaluate(config, data, root=tmp_path / "runs", device=device).reused


def test_a_sweep_passes_the_option_on() -> None:
    from biascon.sweep.grid import Job

    job = Job(make_config("ce", preset="smoke"), Path("data"), Path("runs"), ())
    assert "--no-features" not in job.command(Path("runs"), "cpu")
    without = Job(job.config, job.data, job.folder, (), keep_features=False)
    assert without.command(Path("runs"), "cpu")[-1] == "--no-features"
