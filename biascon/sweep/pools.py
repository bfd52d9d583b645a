"""The choice of a pool: this machine, with a device for each run that runs at a time, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biascon.errors import UsageError
from biascon.sweep.local_pool import LocalPool
from biascon.sweep.ray_pool import RayPool
from biascon.sweep.runner import Pool


def choose_pool(
    root: Path,
    *,
    device_type: str,
    accelerators: Sequence[str],
    threads: int,
    cpus: int = 1,
    workers: int | None = None,
    per_gpu: int | None = None,
    ray_address: str | None = None,
    gpus_per_run: float | None = None,
    collect: str | None = None,
) -> Pool:
    """Return a Ray pool if there is an address, else a pool of this machine.

    Args:
        root: The folder of runs.
        device_type: The type of the device that the runs use.
        accelerators: The devices of this machine that the runs use, as values of the option ``--device``;
            empty for the CPU (``biascon.utils.devices.list_accelerators``).
        threads: CPU threads of each run.
        cpus: The usable CPU cores of this machine.
        workers: The number of runs at a time on this machine; None for one for each device, or, on the
            CPU, as many as ``cpus`` allows.
        per_gpu: The number of runs that share a device; None for one.
        ray_address: The address of the Ray cluster; None for no cluster.
        gpus_per_run: GPUs of each run on the cluster; None for one if the runs use CUDA, else none.
        collect: The address from which finished runs of the cluster are collected.

    Raises:
        UsageError: An option that changes nothing here, or more workers than the devices are shared by.
    """
    if ray_address is not None:
        if per_gpu is not None and device_type == "cpu":
            raise UsageError("--per-gpu would change nothing: it is for this machine, not for Ray")
        if per_gpu is not None:
            raise UsageError(
                f"--per-gpu is for this machine; on Ray, pass --gpus-per-run {1 / per_gpu:.3g}"
            )
        # Ray shows each run its own GPUs, so that a run is not told the index of one.
        gpus = gpus_per_run if gpus_per_run is not None else float(device_type == "cuda")
        return RayPool(root, ray_address, threads, gpus, device_type, collect)
    if per_gpu is not None and device_type == "cpu":
        raise UsageError("--per-gpu would change nothing: the runs use the CPU; pass --workers")
    if collect is not None:
        raise UsageError("--collect needs a Ray cluster, but got no --ray; pass --ray too")
    return LocalPool(root, list_slots(accelerators, threads, cpus, workers, per_gpu), threads)


def list_slots(
    accelerators: Sequence[str], threads: int, cpus: int, workers: int | None, per_gpu: int | None
) -> list[str]:
    """Return the device of each run that runs at a time; see ``choose_pool`` for the arguments.

    Raises:
        UsageError: There are more workers than places on the devices.
    """
    if not accelerators:
        return ["cpu"] * (workers or max(1, cpus // threads))
    slots = [*accelerators] * (per_gpu or 1)
    if workers is not None and workers > len(slots):
        runs = -(-workers // len(accelerators))
        raise UsageError(
            f"expected --workers of at most {len(slots)}, a run for each of {', '.join(slots)}; "
            f"pass --per-gpu {runs} to let {runs} runs share a device"
        )
    return slots[:workers]
