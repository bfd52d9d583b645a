"""A sweep on a Ray cluster: the same runs, as tasks with resources, on any number of machines.

The folder of runs is shared by all machines, or each run is copied to a place that all of them reach
(``collect``, any address that fsspec knows) and from there to the folder of runs. A task whose worker dies is
started again by Ray, elsewhere if need be, and goes on from the run's last epoch if the folder is shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.errors import BiasconError, RunError
from biascon.runs.folder import DONE, read_finished
from biascon.sweep.grid import Job
from biascon.sweep.runner import TRIES, Result, run_with_retries


@dataclass(frozen=True)
class RayPool:
    """Tasks of a Ray cluster.

    Attributes:
        root: The folder of runs.
        address: Of the cluster; ``""`` starts one on this machine, ``"auto"`` joins the one that is there.
        threads: CPUs of a run.
        gpus: GPUs of a run, a share or more.
        device: As ``--device``.
        collect: Where runs are copied to and collected from, None for a shared ``root``.
    """

    root: Path
    address: str
    threads: int
    gpus: float
    device: str
    collect: str | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Run all jobs, as many at a time as the cluster has room for.

        Raises:
            BiasconError: Ray is not installed, or the cluster is out of reach.
        """
        ray = _ray()
        mine = not ray.is_initialized()
        try:
            if mine:
                ray.init(address=self.address or None, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BiasconError(f"cannot reach the Ray cluster '{self.address}': {first}") from error
        try:
            task = ray.remote(num_cpus=self.threads, num_gpus=self.gpus, max_retries=TRIES - 1)(
                _task
            )
            there = self.root.absolute()
            waiting = {
                task.remote(job, there, self.threads, self.device, self.collect): job
                for job in jobs
            }
            while waiting:
                (reference,), _ = ray.wait(list(waiting), num_returns=1)
                job = waiting.pop(reference)
                try:
                    result: Result = ray.get(reference)
                except ray.exceptions.RayError as error:
                    told = str(error).strip().splitlines()[0]
                    yield Result(job, "failed", message=f"the worker was lost: {told}")
                    continue
                if self.collect is not None and result.state == "done":
                    result = download_run(self.collect, result, self.root)
                yield result
        finally:
            if mine:
                ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise BiasconError(
            "Ray is not installed; install it with: pip install 'biascon[ray]'"
        ) from error
    return ray


def _task(job: Job, root: Path, threads: int, device: str, collect: str | None) -> Result:
    """One run, on a worker."""
    result = run_with_retries(job, root, threads, device)
    if collect is not None and result.state == "done":
        upload_run(root, job.folder, collect)
    return result


def upload_run(root: Path, folder: Path, collect: str) -> None:
    """Copy a finished run to a place; the marker that it is finished goes last."""
    import fsspec

    files, where = fsspec.core.url_to_fs(collect)
    part = folder.absolute().relative_to(root.absolute()).as_posix()
    names = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
    files.makedirs(f"{where}/{part}", exist_ok=True)
    for name in sorted(names, key=lambda name: name == DONE):
        files.put_file(str(folder / name), f"{where}/{part}/{name}")


def download_run(collect: str, result: Result, root: Path) -> Result:
    """Copy a finished run from a place into the folder of runs, and check it there."""
    import fsspec

    files, where = fsspec.core.url_to_fs(collect)
    folder = result.job.folder
    part = folder.absolute().relative_to(root.absolute()).as_posix()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(files.ls(f"{where}/{part}", detail=False))
        names = [str(name).rstrip("/").rpartition("/")[2] for name in found]
        for name in sorted(names, key=lambda name: name == DONE):
            files.get_file(f"{where}/{part}/{name}", str(folder / name))
        read_finished(folder)
    except (OSError, RunError) as error:
        return Result(
            result.job, "failed", result.tries, result.seconds, f"cannot collect: {error}"
        )
    return result
