"""Memory: that of the machine, the peak of the process, and whether glibc keeps freed blocks.

A training step allocates and frees dozens of large blocks. By default, glibc returns freed memory at the end
of its heap to the system and requests it again in the next step. A step then spends a tenth of its time on
new pages. ``retain_freed_memory`` and ``release_freed_memory`` change this for the whole process. Without
glibc they do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from pathlib import Path

# Constants of malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MIB = 1 << 20


@functools.cache
def retain_freed_memory() -> None:
    """Keep up to a gigabyte of freed memory in the process, for the next step."""
    _set({M_MMAP_THRESHOLD: 32 * MIB, M_TRIM_THRESHOLD: 1024 * MIB, M_TOP_PAD: 64 * MIB})


@functools.cache
def release_freed_memory() -> None:
    """Return blocks of a quarter of a megabyte or more to the system as soon as they are freed.

    A loop over blocks of rows allocates its small results between freed blocks and so fragments the heap.
    Without this function, the memory of such a loop grows with N^2, although the loop holds one block at a
    time.
    """
    _set({M_MMAP_THRESHOLD: MIB // 4})


def peak_memory_mib() -> int:
    """Return the peak memory of this process in MiB, 0 on a system that does not report it."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        # The peak of getrusage includes the memory of the process from which this process was forked.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        peak = next((line for line in lines if line.startswith("VmHWM")), "")
        return int(peak.split()[1]) >> 10
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size >> (20 if sys.platform == "darwin" else 10)


def total_memory() -> int | None:
    """Return the bytes of memory and swap that this process may use; None where the system does not tell.

    A limit of a control group, such as that of a container, counts.
    """
    sizes = _read_meminfo()
    if "MemTotal" not in sizes:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return None
    return min([sizes["MemTotal"], *_group_limits()]) + sizes.get("SwapTotal", 0)


def available_memory() -> int | None:
    """Return the bytes of memory that are free or freed on demand; None where the system does not tell."""
    return _read_meminfo().get("MemAvailable")


def _read_meminfo() -> dict[str, int]:
    """Return the sizes of ``/proc/meminfo`` in bytes."""
    sizes = {}
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            sizes[name] = int(value.split()[0]) << 10
    return sizes


def _group_limits() -> list[int]:
    """Return the limits of memory of the control groups of this process, in bytes."""
    files = [
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ]
    with contextlib.suppress(OSError, IndexError):
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()[-1]
        group = Path("/sys/fs/cgroup") / own.split(":", 2)[2].lstrip("/")
        files += [folder / "memory.max" for folder in (group, *group.parents)]
    limits = []
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: there is no limit
            limits.append(int(file.read_text(encoding="ascii")))
    return [limit for limit in limits if limit > 0]


def _set(options: dict[int, int]) -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in options.items():
            mallopt(option, value)
