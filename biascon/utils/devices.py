"""The device to compute on, and the number of usable CPU cores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from biascon.errors import UsageError

if TYPE_CHECKING:
    import torch


def pick_device(name: str = "auto") -> torch.device:
    """Return a device by name. ``auto`` is CUDA if available, else MPS if available, else the CPU.

    Raises:
        UsageError: The name is unknown, or this machine has no such device.
    """
    import torch  # imported here, so that count_cpus does not import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{name}' (known: auto, cpu, cuda, mps)") from error
    no_such_index = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if no_such_index or not available.get(device.type, False):
        raise UsageError(f"there is no {device} device here; pass --device auto")
    return device


def list_accelerators(device: torch.device) -> list[str]:
    """Return the devices of this machine that a device stands for, as names; empty for the CPU.

    ``cuda`` stands for every GPU, ``cuda:1`` for one.
    """
    import torch

    if device.type == "cpu":
        return []
    if str(device) == "cuda":
        return [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    return [str(device)]


def count_cpus() -> int | None:
    """Return the number of CPU cores that this process may use, or None if the system does not report it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def free_memory(device: torch.device) -> int:
    """Return the free memory of a CUDA device in bytes; a large number for other devices."""
    import torch

    if device.type != "cuda":
        return 1 << 62
    free, _ = torch.cuda.mem_get_info(device)
    return int(free)
