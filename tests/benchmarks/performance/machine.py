"""What the machine is and what it can do at most, measured: the limits beside the figures."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from biascon.utils.devices import count_cpus


def seconds_of(
    contestants: dict[str, Callable[[], object]], rounds: int, device: torch.device | None = None
) -> dict[str, float]:
    """Return the median seconds of each; they take turns within a round, after one round of warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, call in contestants.items():
            wait(device)
            started = time.perf_counter()
            call()
            wait(device)
            if turn:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in taken.items()}


def best_of(call: Callable[[], object], rounds: int, device: torch.device | None = None) -> float:
    """Return the least seconds of some calls: a limit is what the machine does when nothing disturbs it."""
    taken = []
    for _ in range(rounds):
        wait(device)
        started = time.perf_counter()
        call()
        wait(device)
        taken.append(time.perf_counter() - started)
    return min(taken)


def wait(device: torch.device | None) -> None:
    """Wait until a device has done all its work."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(device: torch.device) -> dict[str, Any]:
    """Return what the figures were measured on."""
    about = {
        "processor": _processor(),
        "cores": count_cpus(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vector": torch.backends.cpu.get_cpu_capability(),
        "device": str(device),
    }
    if device.type == "cuda":
        about["accelerator"] = torch.cuda.get_device_name(device)
    return about


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
        return names[0]
    except (OSError, IndexError):
        return platform.processor()


def load() -> float:
    """Return the load average of the last minute, before a section is measured."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0


def limits(device: torch.device) -> dict[str, float]:
    """Return what a large matrix product and a large copy reach."""
    found = {}
    half = [torch.float32, torch.bfloat16] if device.type == "cuda" else [torch.float32]
    for threads in (1, 2) if device.type == "cpu" else (1,):
        torch.set_num_threads(threads)
        for dtype in half:
            n = 8192 if device.type == "cuda" else 1536
            a = torch.randn(n, n, device=device).to(dtype)
            took = best_of(lambda a=a: a @ a, 15, device)
            name = (
                f"{str(dtype).removeprefix('torch.')} matrix product, {threads} thread(s), GFLOP/s"
            )
            found[name] = round(2 * n**3 / took / 1e9, 1)
        source = torch.empty(1 << 26, device=device)
        target = torch.empty_like(source)
        took = best_of(lambda s=source, t=target: t.copy_(s), 15, device)
        found[f"copy, {threads} thread(s), GB/s read and written"] = round(
            2 * source.nbytes / took / 1e9, 1
        )
    return found
