"""Several processes that train one network: one a device, started by torchrun or by srun.

Each process holds the same weights and takes its share of every batch; the loss is that of the whole batch
(``biascon.losses.gather``), so that one process and several compute the same, as far as the encoder's
normalization does not see the batch: batch norm is synchronized on CUDA, and on the CPU it is that of a
process's share. The first process writes; the run folder must be on a disk that all of them see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from biascon.errors import UsageError


@dataclass(frozen=True)
class Rank:
    """What the launcher says: which process this is, of how many, and which on its machine."""

    rank: int
    world: int
    local: int


def launcher_environment(environment: Mapping[str, str] = os.environ) -> Rank | None:
    """Return what torchrun or srun set in the environment, None for a process on its own.

    Raises:
        UsageError: srun started several processes without saying where they are to meet.
    """
    if "TORCHELASTIC_RUN_ID" in environment and int(environment["WORLD_SIZE"]) > 1:
        return Rank(*(int(environment[k]) for k in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    # Of the step, not of the job: in a batch script outside of srun it is one.
    world = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if world > 1 and "SLURM_PROCID" in environment:
        if "MASTER_ADDR" not in environment:
            raise UsageError(
                f"srun started {world} processes, but MASTER_ADDR does not say where they meet; set it "
                "to the first node: export MASTER_ADDR=$(scontrol show hostnames | head -1)"
            )
        return Rank(int(environment["SLURM_PROCID"]), world, int(environment["SLURM_LOCALID"]))
    return None


@contextmanager
def distributed_session(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes that were started with this one, and give the device of this one.

    A process on its own gets the device as it is.
    """
    found = launcher_environment()
    if found is None:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", found.local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    os.environ.setdefault("MASTER_PORT", "29500")
    backend = "nccl" if device.type == "cuda" else "gloo"
    # The others wait while the first one evaluates.
    dist.init_process_group(
        backend, rank=found.rank, world_size=found.world, timeout=timedelta(hours=4)
    )
    try:
        yield device
        # None takes its connections down while another still works: a launcher ends all when one fails.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return which process this is, 0 on its own."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    """Whether this process writes."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def wrap_ddp(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the network whose gradients are averaged over the processes; on its own as it is."""
    if not (dist.is_available() and dist.is_initialized()):
        return model
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None
    )


def convert_sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with batch norm over the batch of all processes, where there are several on CUDA."""
    if device.type == "cuda" and dist.is_available() and dist.is_initialized():
        found: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return found
    return model


def world_size() -> int:
    """Return how many processes compute this loss together: 1 outside of ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    """Concatenate along the first dimension in the order of the ranks; backward: W times one's slice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        start = dist.get_rank() * ctx.rows
        return grad[start : start + ctx.rows] * world_size()


def all_gather(x: Tensor) -> Tensor:
    """Return what all ranks hold, in their order; without other ranks ``x`` itself."""
    if world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return gathered
