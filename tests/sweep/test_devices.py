"""Sweeps on GPUs: the default preset, a device for each run, the order of the runs, a lack of memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.config.factory import make_config
from biascon.errors import UsageError
from biascon.sweep import local_pool, runner
from biascon.sweep.grid import Job, plan_jobs
from biascon.sweep.grid_file import Grid
from biascon.sweep.local_pool import LocalPool
from biascon.sweep.pools import choose_pool, list_slots
from biascon.sweep.ray_pool import RayPool
from biascon.sweep.runner import Result
from biascon.training import stages
from biascon.utils.devices import list_accelerators
from tests.run_helpers import sweep_in_process

GPUS = ["cuda:0", "cuda:1"]


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "small", rho=0.8)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def pool(**options: Any) -> Any:
    return choose_pool(
        Path("runs"),
        **{"device_type": "cuda", "accelerators": GPUS, "threads": 1, "cpus": 8, **options},
    )


def test_cuda_stands_for_every_gpu_and_an_index_for_one(two_gpus: None) -> None:
    names = {
        name: list_accelerators(torch.device(name)) for name in ("cuda", "cuda:1", "mps", "cpu")
    }
    assert names == {"cuda": GPUS, "cuda:1": ["cuda:1"], "mps": ["mps"], "cpu": []}


@pytest.mark.parametrize(
    ("accelerators", "workers", "per_gpu", "expected"),
    [
        ([], None, None, ["cpu"] * 4),
        ([], 3, None, ["cpu"] * 3),
        (GPUS, None, None, GPUS),
        (GPUS, None, 2, [*GPUS, *GPUS]),
        (GPUS, 1, None, ["cuda:0"]),
        (GPUS, 3, 2, [*GPUS, "cuda:0"]),
        (["mps"], None, None, ["mps"]),
    ],
)
def test_a_device_has_one_run_at_a_time_by_default(
    accelerators: list[str], workers: int | None, per_gpu: int | None, expected: list[str]
) -> None:
    assert list_slots(accelerators, 2, 8, workers, per_gpu) == expected


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"at most 2.*--per-gpu 3"):
        pool(workers=5)
    with pytest.raises(UsageError, match="--per-gpu would change nothing"):
        pool(device_type="cpu", accelerators=[], per_gpu=2)
    with pytest.raises(UsageError, match=r"--gpus-per-run 0\.5"):
        pool(ray_address="auto", per_gpu=2)
    with pytest.raises(UsageError, match="--per-gpu would change nothing") as caught:
        pool(ray_address="auto", per_gpu=2, device_type="cpu", accelerators=[])
    assert "--workers" not in str(caught.value)


@pytest.mark.parametrize(
    ("device_type", "gpus_per_run", "expected"),
    [("cuda", None, 1.0), ("cuda", 0.5, 0.5), ("cpu", None, 0.0)],
)
def test_a_run_on_ray_has_a_gpu_of_its_own_by_default(
    device_type: str, gpus_per_run: float | None, expected: float
) -> None:
    chosen = pool(
        device_type=device_type, accelerators=[], ray_address="auto", gpus_per_run=gpus_per_run
    )
    assert isinstance(chosen, RayPool)
    assert (chosen.gpus, chosen.device) == (expected, device_type)


def test_no_device_has_two_runs_at_a_time_and_every_device_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running: dict[str, int] = dict.fromkeys(GPUS, 0)
    runs: list[str] = []
    lock = threading.Lock()
    both = threading.Barrier(2, timeout=30)

    def fake_run(job: Job, root: Path, threads: int, device: str) -> Result:
        with lock:
            running[device] += 1
            runs.append(device)
            assert running[device] == 1
        if len(runs) <= 2:
            both.wait()  # the first two runs are on two devices at the same time
        time.sleep(0.002)
        with lock:
            running[device] -= 1
        return Result(job, "done", 1)

    monkeypatch.setattr(local_pool, "run_with_retries", fake_run)
    config = make_config("ce", preset="smoke")
    jobs = [Job(config, Path("x"), Path(f"run{k}"), ()) for k in range(12)]
    results = list(LocalPool(Path("runs"), GPUS, 1).run(jobs))
    assert [result.state for result in results] == ["done"] * 12
    assert set(runs[:2]) == set(GPUS)


def test_all_runs_of_a_seed_come_before_those_of_the_next_seed(data: Path, tmp_path: Path) -> None:
    grid = Grid(("ce", "supcon"), (1, 0), preset="smoke", settings={"optimizer.lr": (0.1, 0.2)})
    jobs = plan_jobs(grid, [data], tmp_path, device="cpu", threads=1)
    assert [job.config.seed for job in jobs] == [1] * 4 + [0] * 4
    assert [job.config.loss for job in jobs[:4]] == ["ce", "ce", "supcon", "supcon"]


@pytest.mark.parametrize(("device", "preset"), [("cpu", "cpu"), ("cuda", "gpu"), ("mps", "cpu")])
def test_the_default_preset_is_that_of_evaluate(
    data: Path, tmp_path: Path, device: str, preset: str
) -> None:
    (job,) = plan_jobs(Grid(("ce",)), [data], tmp_path, device=device, threads=None)
    assert (job.config.preset, job.config.train.device) == (preset, device)
    command = job.command(tmp_path, f"{device}:1")
    assert command[command.index("--preset") + 1] == preset
    assert command[command.index("--device") + 1] == f"{device}:1"


def test_the_command_names_the_file_of_a_preset_with_its_folder(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("[train]\nepochs = 1\n")
    (job,) = plan_jobs(Grid(("ce",), preset=str(file)), [data], tmp_path, device="cpu", threads=1)
    assert str(file) in job.command(tmp_path, "cpu")


def test_the_command_plans_for_the_gpus_of_the_machine(
    data: Path, tmp_path: Path, cli: Callable[..., Any], two_gpus: None
) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(f'losses = ["ce"]\ndata = ["{data}"]\n')
    outcome = cli("sweep", grid, "--dry-run", "--device", "cuda")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1].split()[:4] == ["small", "ce", "seed", "0"]
    refused = cli("sweep", grid, "--dry-run", "--workers", "3", "--device", "cuda")
    assert refused.code == 2
    assert "--per-gpu 2" in refused.err


def test_a_run_without_enough_memory_is_not_tried_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to ...")

    sweep_in_process(monkeypatch)
    monkeypatch.setattr(stages, "train", fail)
    grid = Grid(("ce",), preset="smoke")
    (job,) = plan_jobs(grid, [data], tmp_path / "runs", device="cpu", threads=1)
    result = runner.run_with_retries(job, tmp_path / "runs", 1, "cpu")
    assert (result.state, result.tries) == ("failed", 1)
    assert "pass --set train.micro_batch=32" in result.message
