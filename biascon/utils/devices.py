"""The device to compute on, and the number of usable CPU cores."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from biascon.errors import UsageError

if TYPE_CHECKING:
    import torch


def pick_device(name: str = "auto") -> torch.device:
    """Return a device by name. ``auto`` is CUDA if available, else MPS if available, else the CPU.

    ``auto`` leaves MPS out if PyTorch cannot draw views there.

    Raises:
        UsageError: The name is unknown, this machine has no such device, or PyTorch cannot draw views on it.
    """
    import torch  # imported here, so that count_cpus does not import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        available["mps"] = available["mps"] and can_draw_views("mps")
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{name}' (known: auto, cpu, cuda, mps)") from error
    no_such_index = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if no_such_index or not available.get(device.type, False):
        raise UsageError(f"there is no {device} device here; pass --device auto")
    if device.type == "mps" and not can_draw_views("mps"):
        raise UsageError(
            f"PyTorch {torch.__version__} cannot draw views on MPS (its grid_sample has no border padding "
            "there); install a newer PyTorch (2.11 has it), or pass --device cpu"
        )
    return device


@cache
def can_draw_views(kind: str) -> bool:
    """Return whether PyTorch computes ``grid_sample`` with border padding on a kind of device, by trying it.

    Views of images are drawn with it. PyTorch 2.11 has it on MPS, PyTorch 2.8 has not.
    """
    import torch

    try:
        image = torch.ones(1, 1, 2, 2, device=kind)
        grid = torch.full((1, 1, 1, 2), 2.0, device=kind)
        view = torch.nn.functional.grid_sample(
            image, grid, padding_mode="border", align_corners=False
        )
        return float(view.item()) == 1.0
    except (RuntimeError, NotImplementedError):
        return False


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
