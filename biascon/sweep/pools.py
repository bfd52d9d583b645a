"""The choice of a pool: this machine or a Ray cluster."""

from __future__ import annotations

from pathlib import Path

from biascon.errors import UsageError
from biascon.sweep.local_pool import LocalPool
from biascon.sweep.ray_pool import RayPool
from biascon.sweep.runner import Pool


def choose_pool(
    root: Path,
    *,
    device: str,
    threads: int,
    workers: int,
    ray_address: str | None = None,
    gpus_per_run: float = 0.0,
    collect: str | None = None,
) -> Pool:
    """Return a Ray pool if there is an address, else a pool of this machine.

    Args:
        root: The folder of runs.
        device: The value of the option ``--device``.
        threads: CPU threads of each run.
        workers: The number of runs at a time on this machine. A Ray cluster does not use it.
        ray_address: The address of the Ray cluster; None for no cluster.
        gpus_per_run: GPUs of each run on the cluster.
        collect: The address from which finished runs of the cluster are collected.

    Raises:
        UsageError: ``collect`` without a Ray cluster.
    """
    if ray_address is not None:
        return RayPool(root, ray_address, threads, gpus_per_run, device, collect)
    if collect is not None:
        raise UsageError("--collect needs a Ray cluster, but got no --ray; pass --ray too")
    return LocalPool(root, workers, threads, device)
