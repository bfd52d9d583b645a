"""Sweeps: reading a grid, planning its runs, skipping finished runs, retries, and the result table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from biascon.config.factory import make_config
from biascon.errors import BiasconError, RunBusyError, UsageError
from biascon.runs.folder import DONE, EVALUATION, lock_folder, read_finished
from biascon.sweep import runner
from biascon.sweep.grid import Job, plan_jobs
from biascon.sweep.grid_file import Grid, read_grid
from biascon.sweep.local_pool import LocalPool
from biascon.sweep.runner import Result, State, run_sweep
from tests.run_helpers import sweep_in_process

SMOKE = """
losses = ["ce", "supcon"]
seeds = [0, 1]
data = ["{data}"]
preset = "smoke"
[settings]
"train.epochs" = [1]
"""


def write_grid(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(text, encoding="utf-8")
    return path


def plan(grid: Grid, tmp_path: Path, data: Path) -> list[Job]:
    return plan_jobs(grid, [data], tmp_path / "runs", device="cpu", threads=1)


def smoke_grid(
    losses: tuple[str, ...] = ("ce",), seeds: tuple[int, ...] = (0,), epochs: int = 1
) -> Grid:
    return Grid(losses, seeds, data=("x",), preset="smoke", settings={"train.epochs": (epochs,)})


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "small", rho=0.8)


# The grid


def test_a_grid_is_the_product_of_its_lists(data: Path, tmp_path: Path) -> None:
    grid = Grid(
        ("ce", "supcon"), (0, 1, 2), data=("x",), preset="smoke",
        settings={"optimizer.lr": (0.1, 0.2), "augment.grayscale_p": (0.0,)},
    )  # fmt: skip
    jobs = plan(grid, tmp_path, data)
    assert len(jobs) == 2 * 3 * 2
    assert len({job.folder for job in jobs}) == 12
    assert {job.config.optimizer.lr for job in jobs} == {0.1, 0.2}
    assert all(job.config.augment.grayscale_p == 0.0 for job in jobs)
    assert all(job.config.train.threads == 1 for job in jobs)
    assert jobs[0].name == "small ce seed 0 optimizer.lr=0.1 augment.grayscale_p=0.0"


def test_two_equal_settings_give_one_run(data: Path, tmp_path: Path) -> None:
    grid = Grid(("ce",), data=("x",), preset="smoke", settings={"optimizer.lr": (1, 1.0)})
    assert len(plan(grid, tmp_path, data)) == 1


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep with one worker start no process."""
    sweep_in_process(monkeypatch)


@pytest.mark.usefixtures("in_process")
def test_the_planned_folder_is_the_folder_that_evaluate_writes(data: Path, tmp_path: Path) -> None:
    (job,) = plan(smoke_grid(seeds=(3,)), tmp_path, data)
    (result,) = LocalPool(tmp_path / "runs", ["cpu"], 1).run([job])
    assert (result.state, result.tries, result.message) == ("done", 1, "")
    assert read_finished(job.folder)["seed"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losses = [", "is not valid TOML"),
        ('loses = ["ce"]', "unknown key: 'loses'; did you mean 'losses'"),
        ('losses = "ce"\nrho = [0.9]', "losses to be a list, but got 'ce'"),
        ('losses = ["ce"]\nseeds = ["0"]\nrho = [0.9]', r"seeds to be a list, but got \['0'\]"),
        ('losses = ["ce"]\nseeds = [true]\nrho = [0.9]', r"seeds to be a list, but got \[True\]"),
        ('losses = ["ce"]', "losses, seeds, and rho or data"),
        ("losses = []\nrho = [0.9]", "losses, seeds, and rho or data"),
        ('losses = ["ce"]\nrho = [0.9]\n[settings]\n"a.b" = 1', r"\[settings\]"),
        ('losses = ["ce"]\nrho = [0.9]\npreset = 3', "preset to be a name, but got 3"),
    ],
)
def test_an_invalid_grid_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read_grid(write_grid(tmp_path, text))


def test_a_missing_grid_and_unknown_names_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BiasconError, match=r"nothing\.toml"):
        read_grid(tmp_path / "nothing.toml")
    with pytest.raises(UsageError, match="did you mean 'supcon'"):
        plan(Grid(("supcn",), data=("x",)), tmp_path, data)
    with pytest.raises(UsageError, match=r"train\.epoch'"):
        plan(Grid(("ce",), data=("x",), settings={"train.epoch": (1,)}), tmp_path, data)


# Running it


class FakePool:
    """A pool that ends every run in the same state, without a process."""

    def __init__(self, state: State) -> None:
        self.state, self.names = state, []

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        self.names = [job.name for job in jobs]
        for job in reversed(jobs):
            yield Result(job, self.state, 1, 1.0)


@pytest.mark.usefixtures("in_process")
def test_a_finished_run_is_skipped_and_a_damaged_run_is_not_overwritten(
    data: Path, tmp_path: Path
) -> None:
    jobs = plan(smoke_grid(seeds=(0, 1, 2)), tmp_path, data)
    list(LocalPool(tmp_path / "runs", ["cpu"], 1).run(jobs[:2]))
    (jobs[1].folder / EVALUATION).write_text("{}")
    pool, reported = FakePool("done"), []
    results = run_sweep(jobs, pool, reported.append)
    assert [result.state for result in results] == ["skipped", "failed", "done"]
    assert str(jobs[1].folder / EVALUATION) in results[1].message
    assert pool.names == [jobs[2].name]
    assert len(reported) == 3


def test_a_killed_run_is_retried_and_gives_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = smoke_grid(("supcon",), epochs=6)
    (whole,) = plan_jobs(grid, [data], tmp_path / "whole", device="cpu", threads=1)
    with monkeypatch.context() as patch:
        sweep_in_process(patch)
        list(LocalPool(tmp_path / "whole", ["cpu"], 1).run([whole]))
    (job,) = plan(grid, tmp_path, data)
    processes: list[subprocess.Popen[str]] = []

    class RecordedPopen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            processes.append(self)

    def kill_after_two_epochs() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            log = job.folder / "metrics.jsonl"
            if log.exists() and len(log.read_text().splitlines()) >= 2:
                break
            time.sleep(0.02)
        processes[0].kill()

    monkeypatch.setattr(subprocess, "Popen", RecordedPopen)
    killer = threading.Thread(target=kill_after_two_epochs)
    killer.start()
    (result,) = LocalPool(tmp_path / "runs", ["cpu"], 1).run([job])
    killer.join()
    assert (result.state, result.tries) == ("done", 2)
    names = ("encoder.safetensors", "predictions.parquet", "evaluation.json")
    assert all((job.folder / n).read_bytes() == (whole.folder / n).read_bytes() for n in names)


@pytest.mark.usefixtures("in_process")
def test_wrong_usage_is_not_retried_and_its_message_is_kept(data: Path, tmp_path: Path) -> None:
    grid = Grid(("ce",), data=("x",), preset="smoke", settings={"train.batch_size": (5000,)})
    (result,) = LocalPool(tmp_path / "runs", ["cpu"], 1).run(plan(grid, tmp_path, data))
    assert (result.state, result.tries) == ("failed", 1)
    assert "batch_size of at most 900" in result.message


def fake_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: int) -> tuple[Job, Path]:
    """Return a job whose process exits ``busy`` times with 75, then with 0, and the file of its starts."""
    starts = tmp_path / "starts"
    program = (
        "import pathlib, sys; path = pathlib.Path(sys.argv[1]);"
        "count = len(path.read_text()) if path.exists() else 0;"
        "path.write_text('x' * (count + 1));"
        f"sys.exit(75 if count < {busy} else 0)"
    )
    monkeypatch.setattr(runner, "BUSY_INTERVAL", 0.0)
    monkeypatch.setattr(Job, "command", lambda *_: [sys.executable, "-c", program, str(starts)])
    return Job(make_config("ce", preset="smoke"), tmp_path, tmp_path, ()), starts


def test_a_busy_run_is_waited_for_and_its_attempts_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, starts = fake_run(tmp_path, monkeypatch, busy=5)
    result = runner.run_with_retries(job, tmp_path, 1, "cpu")
    assert (result.state, result.tries) == ("done", 1)
    assert len(starts.read_text()) == 6


def test_a_run_that_stays_busy_fails_after_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, starts = fake_run(tmp_path, monkeypatch, busy=5)
    monkeypatch.setattr(runner, "BUSY_TIMEOUT", 0.0)
    result = runner.run_with_retries(job, tmp_path, 1, "cpu")
    assert (result.state, result.message) == ("failed", "exit code 75")
    assert len(starts.read_text()) == 3


def test_a_locked_run_folder_ends_the_command_with_exit_code_75(data: Path, tmp_path: Path) -> None:
    (job,) = plan(smoke_grid(), tmp_path, data)
    with lock_folder(job.folder):
        process = subprocess.run(
            job.command(tmp_path / "runs", "cpu"), capture_output=True, text=True, check=False
        )
        with pytest.raises(RunBusyError, match=job.folder.name), lock_folder(job.folder):
            pass
    assert process.returncode == 75
    assert str(job.folder) in process.stderr


@pytest.mark.usefixtures("in_process")
def test_the_command_runs_a_grid_and_a_second_time_only_reads_it(
    data: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    path = write_grid(tmp_path, SMOKE.format(data=data))
    dry = cli("sweep", path, "--dry-run")
    assert dry.code == 0
    assert dry.out.count("small ") == 4
    assert not (tmp_path / "runs").exists()
    first = cli("sweep", path, "--workers", "1")
    assert first.code == 0, first.err
    assert "[4/4]" in first.err
    assert first.out.count("done") == 4
    again = cli("sweep", path)
    assert again.out.count("skipped") == 4
    assert [line.split()[-2:] for line in again.out.splitlines()] == [
        line.split()[-2:] for line in first.out.splitlines()
    ]
    report = cli("report")
    assert report.code == 0


@pytest.mark.usefixtures("in_process")
def test_a_failed_run_fails_the_command_after_the_other_runs(
    data: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    text = f'losses = ["ce"]\ndata = ["{data}"]\npreset = "smoke"\n[settings]\n'
    text += '"train.epochs" = [1]\n"train.batch_size" = [64, 5000]\n'
    outcome = cli("sweep", write_grid(tmp_path, text), "--workers", "1")
    assert outcome.code == 1
    assert "1 of 2 runs failed" in outcome.err
    assert "batch_size=64: done" in outcome.err
    assert "batch_size=5000: failed" in outcome.err


def test_collect_without_a_ray_cluster_is_refused(tmp_path: Path, cli: Callable[..., Any]) -> None:
    grid = write_grid(tmp_path, 'losses = ["ce"]\nrho = [0.9]')
    outcome = cli("sweep", grid, "--collect", "memory://x")
    assert outcome.code == 2
    assert "--collect" in outcome.err
    assert "--ray" in outcome.err


# Ray


def test_a_missing_ray_package_fails_with_the_install_command(
    data: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = cli("sweep", write_grid(tmp_path, SMOKE.format(data=data)), "--ray")
    assert outcome.code == 1
    assert "pip install 'biascon[ray]'" in outcome.err


@pytest.mark.usefixtures("in_process")
def test_a_run_is_uploaded_and_downloaded_whole(data: Path, tmp_path: Path) -> None:
    from biascon.sweep.ray_pool import download_run, upload_run

    (job,) = plan(smoke_grid(), tmp_path, data)
    list(LocalPool(tmp_path / "runs", ["cpu"], 1).run([job]))
    address = f"file://{tmp_path / 'bucket'}"
    upload_run(tmp_path / "runs", job.folder, address)
    copy = tmp_path / "here" / job.folder.relative_to(tmp_path / "runs")
    copied_job = Job(job.config, job.data, copy, ())
    result = download_run(address, Result(copied_job, "done", 1), tmp_path / "here")
    assert result.state == "done"
    assert read_finished(copy) == read_finished(job.folder)
    lost = download_run(
        f"file://{tmp_path / 'nothing'}", Result(copied_job, "done", 1), tmp_path / "here"
    )
    assert lost.state == "failed"
    assert lost.message.startswith("cannot collect")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each, in processes of this machine."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra biascon[ray])")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_of_two_nodes_runs_a_grid_and_survives_a_killed_worker(
    cluster: Any, data: Path, tmp_path: Path
) -> None:
    from biascon.sweep.ray_pool import RayPool

    jobs = plan(smoke_grid(("ce", "supcon"), (0, 1), epochs=4), tmp_path, data)
    address = f"file://{tmp_path / 'bucket'}"

    def kill_a_worker() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if list((tmp_path / "runs").glob("*/*/*/checkpoint.pt")):
                break
            time.sleep(0.05)
        listing = subprocess.run(
            ["pgrep", "-f", "ray::_run_task"], capture_output=True, text=True, check=False
        )
        for pid in listing.stdout.split()[:1]:
            os.kill(int(pid), signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    pool = RayPool(tmp_path / "runs", cluster.address, 1, 0, "cpu", address)
    results = run_sweep(jobs, pool)
    killer.join()
    assert [result.state for result in results] == ["done"] * 4
    names = [json.loads((job.folder / EVALUATION).read_text())["loss"] for job in jobs]
    assert names == ["ce", "supcon", "ce", "supcon"]
    assert len(list((tmp_path / "bucket").rglob(DONE))) == 4
