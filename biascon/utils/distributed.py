"""Training of one network by several processes, one for each device. torchrun or srun starts the processes.

Every process holds the same weights and computes its share of every batch. The loss is that of the whole
batch (``biascon.losses.gather``). The number of processes therefore does not change the training, except for
batch norm on a CPU: it uses the statistics of the share of a process, while on CUDA it is synchronized. The
main process writes the files and evaluates; the other processes end before. All processes must be able to
read the run folder.

If a process fails with an error, all of them end (``biascon.utils.failures``). A process that is killed by
SIGKILL leaves no record. If it is the main process, the others lose the connection to it and end with exit
code 1. If it is another one, gloo notices; NCCL may wait until ``TIMEOUT``, unless the launcher ends the job.
torchrun does so, and srun with ``--kill-on-bad-exit``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from biascon.errors import BiasconError, UsageError
from biascon.utils.collectives import gather_rows
from biascon.utils.failures import FailureWatch, ProcessFailedError


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


# The main process may wait for the lock of a first-stage network, or measure an epoch, while the others wait.
TIMEOUT = timedelta(hours=4)
TIMEOUT_OF_START = timedelta(minutes=10)


@dataclass
class _Session:
    """The session of this process.

    Attributes:
        rank: The rank of this process.
        watch: Its watch for failures of the others; None for a single process, or after the session.
    """

    rank: int = 0
    watch: FailureWatch | None = None


_session = _Session()


@contextmanager
def distributed_session(device: torch.device) -> Iterator[torch.device]:
    """Connect the processes of the launcher, and yield the device of this process.

    A single process gets ``device`` itself. If a process fails, all of them end with its exit code.

    Raises:
        UsageError: srun started several processes, and MASTER_ADDR is not set.
        ProcessFailedError: Another process failed.
    """
    own_rank = launcher_environment()
    if own_rank is None:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", own_rank.local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    watch = _connect(own_rank, "nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        release_others()
    except BaseException as error:
        first = watch.report(error) if _session.watch is watch else None
        if first is not None and not isinstance(error, BiasconError):
            # The connection broke because the other process ended.
            raise ProcessFailedError(first) from error
        raise


def _connect(own: Rank, backend: str) -> FailureWatch:
    """Connect this process to the others, and start to look for failures."""
    os.environ.setdefault("MASTER_PORT", "29500")
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    start = rendezvous("env://", own.rank, own.world, timeout=TIMEOUT_OF_START)
    store, _, _ = next(start)
    store.set_timeout(TIMEOUT)
    dist.init_process_group(
        backend,
        store=PrefixStore("training", store),
        rank=own.rank,
        world_size=own.world,
        timeout=TIMEOUT,
    )
    watch = FailureWatch(PrefixStore("failures", store), own.rank, own.world)
    watch.start()
    _session.rank, _session.watch = own.rank, watch
    return watch


def release_others() -> bool:
    """Close the connections between the processes, when all of them have trained.

    The main process then goes on alone, as a single process. The others have nothing more to do. They end
    with exit code 0, whatever happens to the main process. A single process needs no release.

    Returns:
        Whether this is the main process.
    """
    watch = _session.watch
    if watch is not None and _is_initialized():
        dist.barrier()
        watch.stop()
        dist.barrier()  # no process closes its connections while another one looks for failures
        dist.destroy_process_group()
        _session.watch = None
    return rank() == 0


def _is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return the rank of this process, 0 for a single process. It stays after ``release_others``."""
    return dist.get_rank() if _is_initialized() else _session.rank


def is_main_process() -> bool:
    """Whether this process writes the files of the run."""
    return rank() == 0


def world_size() -> int:
    """Return the number of processes, 1 outside ``torch.distributed``."""
    return dist.get_world_size() if _is_initialized() else 1


def barrier() -> None:
    """Wait for all processes."""
    if _is_initialized():
        dist.barrier()


def from_main_process(x: Tensor) -> Tensor:
    """Return the tensor of the main process; ``x`` has its shape and dtype. A single process gets ``x``."""
    if world_size() == 1:
        return x
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    message = x.to(device, copy=True).contiguous()
    dist.broadcast(message, src=0)
    return message.to(x.device)


def decide(value: bool) -> bool:
    """Return the value of the main process.

    Processes that read the state of a folder by themselves may see different states of it.
    """
    return value if world_size() == 1 else bool(from_main_process(torch.tensor(value)))


def wrap_ddp(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a network whose gradients are averaged over the processes. A single process gets ``model``.

    Each process keeps its own buffers, such as the running statistics of batch norm, until ``share_buffers``.
    """
    if not _is_initialized():
        return model
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
    )


def share_buffers(model: nn.Module) -> None:
    """Set the buffers of the network to those of the main process, in every process."""
    if world_size() > 1:
        for buffer in model.buffers():
            buffer.copy_(from_main_process(buffer))


def convert_sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with batch norm over the batches of all processes, if several processes use CUDA."""
    if device.type == "cuda" and _is_initialized():
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    return model


def all_gather(x: Tensor) -> Tensor:
    """Return the tensors of all ranks concatenated along the first dimension; a single process gets ``x``.

    The backward pass multiplies the gradient of the own tensor by the number of ranks, see
    ``biascon.losses.gather``.
    """
    return x if world_size() == 1 else gather_rows({"x": x})[0]["x"]
