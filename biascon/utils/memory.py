"""The process's memory: its peak, and how glibc's allocator treats large blocks.

A step of training takes and frees large blocks by the dozen.

By itself glibc gives freed memory at the end of its heap back to the system, to ask for it again in the
next step: a tenth of a step is then spent on fresh pages. Both functions act on the whole process; where
there is no glibc, nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from pathlib import Path

# Of malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MIB = 1 << 20


@functools.cache
def retain_freed_memory() -> None:
    """Keep freed memory for the next step: up to a gigabyte of it stays with the process."""
    _set({M_MMAP_THRESHOLD: 32 * MIB, M_TRIM_THRESHOLD: 1024 * MIB, M_TOP_PAD: 64 * MIB})


@functools.cache
def release_freed_memory() -> None:
    """Give memory of a megabyte or more back to the system as soon as it is freed.

    Kept in the heap, freed blocks get holes where the small results of a loop over rows come to lie between
    them: a loop that never holds more than one block then grows with N^2.
    """
    _set({M_MMAP_THRESHOLD: MIB})


def peak_memory_mib() -> int:
    """Return the largest memory that this process had so far in MiB, 0 where the system does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        # Not of getrusage: that starts with what the process had from which this one was forked.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next((x for x in lines if x.startswith("VmHWM")), "").split()[1]) >> 10
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size >> (20 if sys.platform == "darwin" else 10)


def _set(options: dict[int, int]) -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in options.items():
            mallopt(option, value)
