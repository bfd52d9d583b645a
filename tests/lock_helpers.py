"""Locks that tests hold, as another process would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biascon.utils.locks import acquire


@contextmanager
def held_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file; its owner counts as another process."""
    lock = acquire(path)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()
