"""A sweep on a Ray cluster: the same runs, as tasks with resources, on any number of machines.

Either all machines share the folder of runs, or each worker uploads its finished run to an address that all
machines reach (``collect``, any address that fsspec reads), and the run is downloaded from there. If a worker
dies, its training ends with it (on Linux), and Ray starts the task again, if necessary on another machine, up
to ``TRIES`` times in all. On a shared folder the run resumes from its last epoch. If the sweep stops early,
its tasks are cancelled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.errors import BiasconError, RunError
from biascon.runs.folder import DONE, read_finished
from biascon.sweep.grid import Job
from biascon.sweep.runner import TRIES, Result, run_with_retries
from biascon.utils.interruption import signal_handlers_kept
from biascon.utils.parent import VARIABLE as PARENT_VARIABLE


@dataclass(frozen=True)
class RayPool:
    """A pool of tasks on a Ray cluster.

    Attributes:
        root: The folder of runs.
        address: The address of the cluster. ``""`` starts a cluster on this machine; ``"auto"`` joins the
            cluster that runs on this machine.
        threads: CPUs of each run.
        gpus: GPUs of each run; a fraction is allowed.
        device: The value of the option ``--device``.
        collect: The address to which workers upload finished runs; None if all machines share ``root``.
    """

    root: Path
    address: str
    threads: int
    gpus: float
    device: str
    collect: str | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Run all jobs, as many at a time as the cluster has resources for.

        Raises:
            BiasconError: Ray is not installed, or the cluster cannot be reached.
        """
        ray = _import_ray()
        starts_ray = not ray.is_initialized()
        try:
            if starts_ray:
                with signal_handlers_kept():  # Ray has a handler of SIGTERM of its own
                    ray.init(
                        address=self.address or None, log_to_driver=False, logging_level="ERROR"
                    )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BiasconError(
                f"cannot reach the Ray cluster '{self.address}': {reason}"
            ) from error
        pending: dict[Any, Job] = {}
        try:
            task = ray.remote(num_cpus=self.threads, num_gpus=self.gpus, max_retries=TRIES - 1)(
                _run_task
            )
            root = self.root.absolute()
            pending |= {
                task.remote(job, root, self.threads, self.device, self.collect): job for job in jobs
            }
            while pending:
                (reference,), _ = ray.wait(list(pending), num_returns=1)
                job = pending.pop(reference)
                try:
                    result: Result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    cause = " ".join(str(error.cause).split())
                    message = f"the worker failed: {type(error.cause).__name__}: {cause}"
                    yield Result(job, "failed", message=message)
                    continue
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().splitlines()[0]
                    yield Result(job, "failed", TRIES, message=f"the worker was lost: {reason}")
                    continue
                if self.collect is not None and result.state == "done":
                    result = download_run(self.collect, result, self.root)
                yield result
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
            if starts_ray:
                ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise BiasconError(
            "Ray is not installed; install it with: pip install 'biascon[ray]'"
        ) from error
    return ray


def _run_task(job: Job, root: Path, threads: int, device: str, collect: str | None) -> Result:
    """Run a job on a worker, and upload the run if it is to be collected."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    result = run_with_retries(job, root, threads, device)
    if collect is not None and result.state == "done":
        upload_run(root, job.folder, collect)
    return result


def upload_run(root: Path, folder: Path, collect: str) -> None:
    """Upload a finished run; the file ``done``, which marks it as finished, is uploaded last.

    Args:
        root: The folder of runs.
        folder: The run folder.
        collect: The address to upload to.
    """
    filesystem, target = _resolve_address(collect, root, folder)
    names = [path.name for path in folder.iterdir() if path.name[0] != "."]
    filesystem.makedirs(target, exist_ok=True)
    for name in _done_last(names):
        filesystem.put_file(str(folder / name), f"{target}/{name}")


def download_run(collect: str, result: Result, root: Path) -> Result:
    """Download a finished run into the folder of runs, and verify it there.

    Args:
        collect: The address to download from.
        result: The result of the run.
        root: The folder of runs.

    Returns:
        The result, with the state ``"failed"`` if the run cannot be downloaded or is damaged.
    """
    folder = result.job.folder
    filesystem, source = _resolve_address(collect, root, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = filesystem.ls(source, detail=False)
        for name in _done_last([str(path).rstrip("/").rpartition("/")[2] for path in paths]):
            filesystem.get_file(f"{source}/{name}", str(folder / name))
        read_finished(folder)
    except (OSError, RunError) as error:
        return Result(
            result.job, "failed", result.tries, result.seconds, f"cannot collect: {error}"
        )
    return result


def _resolve_address(collect: str, root: Path, folder: Path) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path of a run folder on it."""
    import fsspec

    filesystem, base = fsspec.core.url_to_fs(collect)
    return filesystem, f"{base}/{folder.absolute().relative_to(root.absolute()).as_posix()}"


def _done_last(names: Sequence[str]) -> list[str]:
    """Sort file names by name, with ``done`` at the end."""
    return sorted(names, key=lambda name: (name == DONE, name))
