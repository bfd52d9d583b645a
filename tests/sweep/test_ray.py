"""Sweeps on a Ray cluster of two nodes on this machine, with workers that are killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data import dataset
from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits
from biascon.runs.folder import lock_folder, read_finished
from biascon.sweep.grid import Job, plan_jobs
from biascon.sweep.grid_file import Grid
from biascon.sweep.runner import Result, run_sweep
from biascon.utils.parent import VARIABLE

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each, in processes of this machine."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra biascon[ray])")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest dataset that every run accepts."""
    n, labels = 400, np.arange(400, dtype=np.int64) % 10
    i, row, column = np.ogrid[:n, :28, :28]
    images = ((i * 37 + row * 11 + column * 5) % 256).astype(np.uint8)
    digits = Digits(
        kind="mnist5k", origin="made for the tests", sha256={"made": "0" * 64},
        train_images=images[:200], train_labels=labels[:200], train_index=np.arange(200),
        test_images=images[200:], test_labels=labels[200:], test_index=np.arange(200),
    )  # fmt: skip
    folder, spec = tmp_path_factory.mktemp("data") / "tiny", BiasedMNISTSpec(rho=0.8)
    splits = biased_mnist.build_splits(digits, spec)
    dataset.save(folder, splits, biased_mnist.describe_biased_mnist(digits, spec), replace=False)
    return folder


def plan(data: Path, root: Path, seeds: int, epochs: int = 1) -> list[Job]:
    grid = Grid(
        ("ce",), tuple(range(seeds)), data=("x",), preset="smoke",
        settings={"train.epochs": (epochs,)},
    )  # fmt: skip
    return plan_jobs(grid, [data], root, device="cpu", threads=1)


def list_processes(*words: str) -> list[int]:
    """Return the descendants of this process whose command line has all of some words."""
    parents, lines = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(
                (entry / "stat").read_text().rpartition(")")[2].split()[1]
            )
            lines[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError, IndexError):
            continue  # the process has ended

    def is_own(pid: int) -> bool:
        while pid > 1 and pid != os.getpid():
            pid = parents.get(pid, 0)
        return pid == os.getpid()

    return [pid for pid in lines if is_own(pid) and all(word in lines[pid] for word in words)]


def list_workers() -> list[int]:
    return list_processes("ray::_run_task")


def list_trainings(root: Path) -> list[int]:
    return list_processes("biascon", "evaluate", str(root))


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Killer:
    """Kills processes between the results of a sweep, as ``on_result`` of ``run_sweep``.

    Attributes:
        root: The folder of runs.
        every: One process is killed after this number of results.
        workers: The workers that were killed, each with the training that it had started.
        trainings: The trainings that were killed themselves.
    """

    root: Path
    every: int
    n: int = 0
    workers: list[int] = field(default_factory=list)
    trainings: list[int] = field(default_factory=list)

    def __call__(self, result: Result) -> None:
        self.n += 1
        if self.n % self.every:
            return
        kills_training = self.n // self.every % 4 == 0
        pids = list_trainings(self.root) if kills_training else list_workers()
        if pids:
            (self.trainings if kills_training else self.workers).append(pids[0])
            os.kill(pids[0], signal.SIGKILL)


def run_with_kills(cluster: Any, data: Path, root: Path, runs: int, every: int) -> Killer:
    """Run a grid while workers are killed; check that every run ended and that nothing is left."""
    from biascon.sweep.ray_pool import RayPool

    jobs, killer = plan(data, root, runs), Killer(root, every)
    results = run_sweep(jobs, RayPool(root, cluster.address, 1, 0, "cpu"), killer)
    assert [result.state for result in results] == ["done"] * runs, [r.message for r in results]
    for job in jobs:
        evaluation = read_finished(job.folder)  # compares every file with the digests of the seal
        assert evaluation is not None
        assert evaluation["seed"] == job.config.seed
    wait_until(lambda: not list_trainings(root))
    assert killer.workers
    return killer


def test_a_sweep_ends_although_a_worker_is_killed(cluster: Any, data: Path, tmp_path: Path) -> None:
    run_with_kills(cluster, data, tmp_path / "runs", runs=4, every=2)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_200_runs_end_although_workers_are_killed(cluster: Any, data: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    killer = run_with_kills(cluster, data, tmp_path / "runs", runs=200, every=8)
    print(
        f"\n200 runs in {time.monotonic() - started:.0f} s; {len(killer.workers)} workers and "
        f"{len(killer.trainings)} trainings were killed"
    )
    assert len(killer.workers) >= 10


@pytest.mark.slow
def test_a_killed_worker_takes_its_training_with_it(
    cluster: Any, data: Path, tmp_path: Path
) -> None:
    from biascon.sweep.ray_pool import RayPool

    root = tmp_path / "runs"
    jobs = plan(data, root, 1, epochs=100_000)
    results = RayPool(root, cluster.address, 1, 0, "cpu").run(jobs)

    def kill_workers() -> None:
        for _ in range(3):
            wait_until(lambda: (jobs[0].folder / "checkpoint.pt").exists() and list_workers())
            (training,), (worker,) = list_trainings(root), list_workers()
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda pid=training: pid not in list_trainings(root))
            wait_until(lambda: list_trainings(root) or done)

    done: list[Result] = []
    killer = threading.Thread(target=kill_workers)
    killer.start()
    done += results
    killer.join()
    # No worker is left to try the run again: the number of tries is bounded.
    (result,) = done
    assert (result.state, result.tries) == ("failed", 3)
    assert "worker" in result.message
    with lock_folder(jobs[0].folder):  # nothing holds the folder
        assert not list_trainings(root)


def test_a_sweep_that_stops_early_leaves_no_training(
    cluster: Any, data: Path, tmp_path: Path
) -> None:
    from biascon.sweep.ray_pool import RayPool

    root = tmp_path / "runs"
    jobs = plan(data, root, 4, epochs=100_000)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):

            def alarm() -> None:
                wait_until(lambda: list_trainings(root))
                os.kill(os.getpid(), signal.SIGALRM)

            threading.Thread(target=alarm).start()
            run_sweep(jobs, RayPool(root, cluster.address, 1, 0, "cpu"))
    finally:
        signal.signal(signal.SIGALRM, before)
    wait_until(lambda: not list_trainings(root))


def test_a_process_ends_with_the_parent_that_its_environment_names() -> None:
    child = "from biascon.cli import main; import time; main(['--version'])"
    done = subprocess.run(
        [sys.executable, "-c", child],
        env={**os.environ, VARIABLE: "1"},  # the parent is another process: it has ended
        check=False,
    )
    assert done.returncode == 128 + signal.SIGTERM
    done = subprocess.run(
        [sys.executable, "-c", child],
        env={**os.environ, VARIABLE: str(os.getpid())}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert "version" in done.stdout
