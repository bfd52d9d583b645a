"""Training of one network by several processes, one for each device. torchrun or srun starts the processes.

Every process holds the same weights and computes its share of every batch. The loss is that of the whole
batch (``biascon.losses.gather``). The number of processes therefore does not change the training, except for
batch norm on a CPU: it uses the statistics of the share of a process, while on CUDA it is synchronized. The
main process writes the files. All processes must be able to read the run folder.
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
    """The rank of a process, as set by the launcher.

    Attributes:
        rank: The rank among all processes, from 0.
        world: The number of processes.
        local: The rank among the processes of the machine, from 0.
    """

    rank: int
    world: int
    local: int


def launcher_environment(environment: Mapping[str, str] = os.environ) -> Rank | None:
    """Return the rank that torchrun or srun set in the environment, None for a single process.

    Raises:
        UsageError: srun started several processes, and MASTER_ADDR is not set.
    """
    if "TORCHELASTIC_RUN_ID" in environment and int(environment["WORLD_SIZE"]) > 1:
        return Rank(*(int(environment[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    # The tasks of the step, not of the job: a batch script outside srun has one task.
    world = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if world > 1 and "SLURM_PROCID" in environment:
        if "MASTER_ADDR" not in environment:
            raise UsageError(
                f"srun started {world} processes, but MASTER_ADDR is not set; set it to the first node: "
                "export MASTER_ADDR=$(scontrol show hostnames | head -1)"
            )
        return Rank(int(environment["SLURM_PROCID"]), world, int(environment["SLURM_LOCALID"]))
    return None


@contextmanager
def distributed_session(device: torch.device) -> Iterator[torch.device]:
    """Connect the processes of the launcher, and yield the device of this process.

    A single process gets ``device`` itself.

    Raises:
        UsageError: srun started several processes, and MASTER_ADDR is not set.
    """
    own_rank = launcher_environment()
    if own_rank is None:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", own_rank.local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    os.environ.setdefault("MASTER_PORT", "29500")
    backend = "nccl" if device.type == "cuda" else "gloo"
    # The timeout is long because the other processes wait while the main process evaluates.
    dist.init_process_group(
        backend, rank=own_rank.rank, world_size=own_rank.world, timeout=timedelta(hours=4)
    )
    try:
        yield device
        # No process closes its connections while another process works. If one process fails, the launcher
        # stops the others.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the rank of this process, 0 for a single process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    """Whether this process writes the files of the run."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def wrap_ddp(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a network whose gradients are averaged over the processes. A single process gets ``model``."""
    if not (dist.is_available() and dist.is_initialized()):
        return model
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None
    )


def convert_sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with batch norm over the batches of all processes, if several processes use CUDA."""
    if device.type == "cuda" and dist.is_available() and dist.is_initialized():
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    return model


def world_size() -> int:
    """Return the number of processes, 1 outside ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    """Concatenate the tensors of W ranks; the gradient is W times the slice of the own rank."""

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
    """Return the tensors of all ranks concatenated along the first dimension; a single process gets ``x``.

    The backward pass multiplies the gradient of the own tensor by the number of ranks, see
    ``biascon.losses.gather``.
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return gathered
