"""Freed memory is retained or released, and the peak memory of the process."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from biascon.utils import memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

STEPS = """
import resource, sys, torch
from biascon.utils import memory
torch.set_num_threads(1)
getattr(memory, sys.argv[1])()

def step():
    blocks = [torch.ones(n << 18) for n in (2, 5, 9, 3, 7)]  # megabytes of float32
    return sum(float(block[0]) for block in blocks)

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_page_faults(name: str) -> int:
    """Return the page faults of 40 steps, each of which allocates and frees 26 MiB."""
    command = [sys.executable, "-c", STEPS, name]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return int(result.stdout)


def test_retained_memory_is_not_requested_again() -> None:
    pages = 40 * 26 * 256  # of 4 KiB, if every step requested all its memory
    kept, returned = (
        count_page_faults("retain_freed_memory"),
        count_page_faults("release_freed_memory"),
    )
    assert kept < pages / 20
    assert returned > pages / 2


def test_allocator_without_mallopt_is_left_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library without mallopt."""

        def __init__(self, name: object) -> None:
            pass

    monkeypatch.setattr(memory.ctypes, "CDLL", Other)
    memory.retain_freed_memory.__wrapped__()
    memory.release_freed_memory.__wrapped__()


def test_peak_memory_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = memory.peak_memory_mib()
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    assert memory.peak_memory_mib() >= first
    assert memory.peak_memory_mib() > 64
    monkeypatch.setattr(memory, "Path", lambda name: Path("nowhere"))
    assert memory.peak_memory_mib() > 64  # from getrusage
