"""Locks on files. The system frees a lock when its process ends, so a lock tells whether its owner lives.

A process number does not tell it: another container and another machine have process numbers of their own.
The locks are those of ``flock``; Linux passes them on to an NFS server.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from biascon.errors import NoFileLocksError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


@dataclass(frozen=True)
class HeldLock:
    """A lock that this process holds.

    Attributes:
        path: The locked file.
        handle: The open file.
    """

    path: Path
    handle: int

    def release(self, *, delete: bool = False) -> None:
        """Free the lock.

        Args:
            delete: Whether the file is deleted too, if it is empty. ``acquire`` of others notices it.
        """
        if delete:
            with contextlib.suppress(OSError):
                if os.fstat(self.handle).st_size == 0:
                    self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self.handle)


def acquire(path: Path, *, wait: bool = False) -> HeldLock | None:
    """Lock a file, which is created if it is missing; return None if another process holds its lock.

    Args:
        path: The file.
        wait: Whether to wait until the lock is free.

    Raises:
        NoFileLocksError: The file system has no file locks.
        OSError: The file cannot be opened.
    """
    while True:
        lock = HeldLock(path, os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            if not lock_handle(lock.handle, path, wait=wait):
                lock.release()
                return None
            # The last owner may have deleted the file after it was opened here.
            if is_same_file(lock.handle, path):
                return lock
            lock.release()
        except BaseException as error:
            lock.release(delete=isinstance(error, NoFileLocksError))
            raise


def lock_handle(handle: int, path: Path, *, wait: bool = False) -> bool:
    """Lock an open file until it is closed; return False if another process holds its lock.

    Args:
        handle: The open file, open for writing.
        path: The file, for the error.
        wait: Whether to wait until the lock is free.

    Raises:
        NoFileLocksError: The file system has no file locks.
        OSError: The lock fails for another reason.
    """
    try:
        _lock(handle, wait=wait)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoFileLocksError(
                f"the file system of {path.parent} has no file locks (flock: {error.strerror}); "
                "choose a folder on a local disk, or mount it with locks"
            ) from error
        if error.errno in _BUSY and not wait:
            return False
        raise
    return True


def is_same_file(handle: int, path: Path) -> bool:
    """Return whether a path still leads to an open file: it was neither deleted nor replaced."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int, *, wait: bool) -> None:
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError as error:  # LK_LOCK gives up after 10 s
                if not wait or error.errno not in _BUSY:
                    raise
            else:
                return

else:
    import fcntl

    def _lock(handle: int, *, wait: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
