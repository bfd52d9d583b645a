"""Sweeps: what a grid means, what is skipped, what is tried again, and what is told."""

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

from biascon.config.run_config import make_config
from biascon.errors import BiasconError, UsageError
from biascon.runs.folder import DONE, EVALUATION, read_finished
from biascon.sweep import runner
from biascon.sweep.grid import Grid, Job, plan_jobs, read_grid
from biascon.sweep.runner import LocalPool, Result, sweep

SMOKE = """
losses = ["ce", "supcon"]
seeds = [0, 1]
data = ["{data}"]
preset = "smoke"
[settings]
"train.epochs" = [1]
"""


def grid_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(text, encoding="utf-8")
    return path


def jobs_of(grid: Grid, tmp_path: Path, data: Path) -> list[Job]:
    return plan_jobs(grid, [data], tmp_path / "runs", device="cpu", threads=1)


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "small", rho=0.8)


# The grid


def test_a_grid_is_the_product_of_its_lists(data: Path, tmp_path: Path) -> None:
    grid = Grid(
        ("ce", "supcon"), (0, 1, 2), data=("x",), preset="smoke",
        settings={"optimizer.lr": (0.1, 0.2), "augment.grayscale_p": (0.0,)},
    )  # fmt: skip
    jobs = jobs_of(grid, tmp_path, data)
    assert len(jobs) == 2 * 3 * 2
    assert len({job.folder for job in jobs}) == 12
    assert {job.config.optimizer.lr for job in jobs} == {0.1, 0.2}
    assert all(job.config.augment.grayscale_p == 0.0 for job in jobs)
    assert all(job.config.train.threads == 1 for job in jobs)
    assert jobs[0].name == "small ce seed 0 optimizer.lr=0.1 augment.grayscale_p=0.0"


def test_a_run_that_two_settings_mean_is_run_once(data: Path, tmp_path: Path) -> None:
    grid = Grid(("ce",), data=("x",), preset="smoke", settings={"optimizer.lr": (1, 1.0)})
    assert len(jobs_of(grid, tmp_path, data)) == 1


def test_the_folder_that_is_planned_is_the_one_that_evaluate_writes(
    data: Path, tmp_path: Path
) -> None:
    grid = Grid(("ce",), (3,), data=("x",), preset="smoke", settings={"train.epochs": (1,)})
    (job,) = jobs_of(grid, tmp_path, data)
    (result,) = LocalPool(tmp_path / "runs", 1, 1, "cpu").run([job])
    assert (result.state, result.tries, result.message) == ("done", 1, "")
    assert read_finished(job.folder)["seed"] == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("losses = [", "is not valid TOML"),
        ('loses = ["ce"]', "unknown key: 'loses'; did you mean 'losses'"),
        ('losses = "ce"\nrho = [0.9]', "expected losses to be a list"),
        ('losses = ["ce"]\nseeds = ["0"]\nrho = [0.9]', "expected seeds to be a list"),
        ('losses = ["ce"]\nseeds = [true]\nrho = [0.9]', "expected seeds to be a list"),
        ('losses = ["ce"]', "expected losses, seeds, and rho or data"),
        ("losses = []\nrho = [0.9]", "expected losses, seeds, and rho or data"),
        ('losses = ["ce"]\nrho = [0.9]\n[settings]\n"a.b" = 1', "expected .settings. as"),
        ('losses = ["ce"]\nrho = [0.9]\npreset = 3', "expected preset to be a name"),
    ],
)
def test_a_grid_that_is_none_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        read_grid(grid_file(tmp_path, text))


def test_a_grid_that_is_not_there_and_names_that_are_wrong_are_told(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(BiasconError, match="cannot read"):
        read_grid(tmp_path / "nothing.toml")
    with pytest.raises(UsageError, match="did you mean 'supcon'"):
        jobs_of(Grid(("supcn",), data=("x",)), tmp_path, data)
    with pytest.raises(UsageError, match="unknown setting"):
        jobs_of(Grid(("ce",), data=("x",), settings={"train.epoch": (1,)}), tmp_path, data)


# Running it


class Fake:
    """A pool that ends every run as it is told to."""

    def __init__(self, state: str) -> None:
        self.state, self.asked = state, []

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        self.asked = [job.name for job in jobs]
        for job in reversed(jobs):
            yield Result(job, self.state, 1, 1.0)


def test_what_is_done_is_skipped_and_what_is_damaged_is_not_computed_over(
    data: Path, tmp_path: Path
) -> None:
    grid = Grid(("ce",), (0, 1, 2), data=("x",), preset="smoke", settings={"train.epochs": (1,)})
    jobs = jobs_of(grid, tmp_path, data)
    list(LocalPool(tmp_path / "runs", 2, 1, "cpu").run(jobs[:2]))
    (jobs[1].folder / EVALUATION).write_text("{}")
    fake, said = Fake("done"), []
    results = sweep(jobs, fake, said.append)
    assert [result.state for result in results] == ["there", "failed", "done"]
    assert "has changed since the run ended" in results[1].message
    assert fake.asked == [jobs[2].name]
    assert len(said) == 3


def test_a_run_that_is_killed_is_tried_again_and_gives_the_same_bytes(
    data: Path, tmp_path: Path
) -> None:
    grid = Grid(("supcon",), data=("x",), preset="smoke", settings={"train.epochs": (6,)})
    (whole,) = plan_jobs(grid, [data], tmp_path / "whole", device="cpu", threads=1)
    list(LocalPool(tmp_path / "whole", 1, 1, "cpu").run([whole]))
    (job,) = jobs_of(grid, tmp_path, data)

    def kill() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            log = job.folder / "metrics.jsonl"
            if log.exists() and len(log.read_text().splitlines()) >= 2:
                break
            time.sleep(0.02)
        subprocess.run(["pkill", "-KILL", "-f", f"runs {tmp_path / 'runs'}"], check=False)

    killer = threading.Thread(target=kill)
    killer.start()
    (result,) = LocalPool(tmp_path / "runs", 1, 1, "cpu").run([job])
    killer.join()
    assert (result.state, result.tries) == ("done", 2)
    names = ("encoder.safetensors", "predictions.parquet", "evaluation.json")
    assert all((job.folder / n).read_bytes() == (whole.folder / n).read_bytes() for n in names)


def test_wrong_usage_is_not_tried_again_and_its_line_is_told(data: Path, tmp_path: Path) -> None:
    grid = Grid(("ce",), data=("x",), preset="smoke", settings={"train.batch_size": (5000,)})
    (result,) = LocalPool(tmp_path / "runs", 1, 1, "cpu").run(jobs_of(grid, tmp_path, data))
    assert (result.state, result.tries) == ("failed", 1)
    assert "expected batch_size of at most 900 images" in result.message


def test_the_command_runs_a_grid_and_a_second_time_only_reads_it(
    data: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    path = grid_file(tmp_path, SMOKE.format(data=data))
    dry = cli("sweep", path, "--dry-run")
    assert dry.code == 0
    assert dry.out.count("small ") == 4
    assert not (tmp_path / "runs").exists()
    first = cli("sweep", path, "--workers", "2")
    assert first.code == 0, first.err
    assert "[4/4]" in first.err
    assert first.out.count("done") == 4
    again = cli("sweep", path)
    assert again.out.count("there") == 4
    assert [line.split()[-2:] for line in again.out.splitlines()] == [
        line.split()[-2:] for line in first.out.splitlines()
    ]
    report = cli("report")
    assert report.code == 0


def test_a_failed_run_fails_the_command_and_spares_the_others(
    data: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    text = f'losses = ["ce"]\ndata = ["{data}"]\npreset = "smoke"\n[settings]\n'
    text += '"train.epochs" = [1]\n"train.batch_size" = [64, 5000]\n'
    done = cli("sweep", grid_file(tmp_path, text))
    assert done.code == 1
    assert "1 of 2 runs failed; the same command tries them again" in done.err
    assert "batch_size=64: done" in done.err
    assert "batch_size=5000: failed" in done.err
    assert cli("sweep", tmp_path / "grid.toml", "--collect", "memory://x").code == 2


# Ray


def test_ray_that_is_not_installed_is_told(
    data: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = cli("sweep", grid_file(tmp_path, SMOKE.format(data=data)), "--ray")
    assert done.code == 1
    assert "pip install 'biascon[ray]'" in done.err


def test_runs_are_collected_whole_through_another_place(data: Path, tmp_path: Path) -> None:
    from biascon.sweep.ray_pool import download_run, upload_run

    grid = Grid(("ce",), data=("x",), preset="smoke", settings={"train.epochs": (1,)})
    (job,) = jobs_of(grid, tmp_path, data)
    list(LocalPool(tmp_path / "runs", 1, 1, "cpu").run([job]))
    place = f"file://{tmp_path / 'bucket'}"
    upload_run(tmp_path / "runs", job.folder, place)
    there = Job(
        job.config, job.data, tmp_path / "here" / job.folder.relative_to(tmp_path / "runs"), ()
    )
    result = download_run(place, Result(there, "done", 1), tmp_path / "here")
    assert result.state == "done"
    assert read_finished(there.folder) == read_finished(job.folder)
    lost = download_run(
        f"file://{tmp_path / 'nothing'}", Result(there, "done", 1), tmp_path / "here"
    )
    assert lost.state == "failed"
    assert "cannot collect" in lost.message


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each, in processes of this machine."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra biascon[ray])")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_of_two_nodes_runs_a_grid_and_survives_a_killed_worker(
    cluster: Any, data: Path, tmp_path: Path
) -> None:
    from biascon.sweep.ray_pool import RayPool

    grid = Grid(
        ("ce", "supcon"), (0, 1), data=("x",), preset="smoke", settings={"train.epochs": (4,)}
    )
    jobs = jobs_of(grid, tmp_path, data)
    place = f"file://{tmp_path / 'bucket'}"

    def kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if list((tmp_path / "runs").glob("*/*/*/checkpoint.pt")):
                break
            time.sleep(0.05)
        done = subprocess.run(
            ["pgrep", "-f", "ray::_task"], capture_output=True, text=True, check=False
        )
        for pid in done.stdout.split()[:1]:
            os.kill(int(pid), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    pool = RayPool(tmp_path / "runs", cluster.address, 1, 0, "cpu", place)
    results = sweep(jobs, pool)
    killer.join()
    assert [result.state for result in results] == ["done"] * 4
    names = [json.loads((job.folder / EVALUATION).read_text())["loss"] for job in jobs]
    assert names == ["ce", "ce", "supcon", "supcon"]
    assert len(list((tmp_path / "bucket").rglob(DONE))) == 4


def test_a_run_whose_folder_is_held_is_waited_for_and_counts_no_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "times"
    program = (
        "import pathlib, sys; p = pathlib.Path(sys.argv[1]); n = len(p.read_text()) if p.exists() else 0;"
        "p.write_text('x' * (n + 1));"
        "sys.exit(n < 5 and 'error: another process works on runs/x; wait for it, or stop it')"
    )
    monkeypatch.setattr(runner, "PAUSE", 0.0)
    monkeypatch.setattr(Job, "command", lambda *_: [sys.executable, "-c", program, str(marker)])
    config = make_config("ce", preset="smoke")
    job = Job(config, tmp_path, tmp_path, ())
    found = runner.run_with_retries(job, tmp_path, 1, "cpu")
    assert (found.state, found.tries) == ("done", 1)
    assert len(marker.read_text()) == 6
    marker.unlink()
    monkeypatch.setattr(runner, "PATIENCE", 0.0)
    assert runner.run_with_retries(job, tmp_path, 1, "cpu").state == "failed"
    assert len(marker.read_text()) == 3
