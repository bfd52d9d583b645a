"""Temporary files: each is locked by the process that writes it, so one of a killed process can be told.

The name of a temporary file is ``.<8 hexadecimal digits>.biascon.tmp``. A file of this name that nobody has
locked was left by a killed process. On a file system without locks, and on Windows, such files stay.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from biascon.errors import NoFileLocksError
from biascon.utils.locks import is_same_file, lock_handle
from biascon.utils.renaming import exchange

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_NAME = re.compile(r"\.[0-9a-f]{8}\.biascon\.tmp")


@dataclass
class TemporaryFile:
    """A file that is written under a temporary name, in the folder of its target.

    Attributes:
        path: The temporary file.
        target: The file that it becomes.
        handle: The open and locked file; -1 once it is closed.
        is_published: Whether the target is the new file.
        has_old: Whether the temporary name leads to the old file, after an exchange.
        is_first: Whether the target did not exist before.
    """

    path: Path
    target: Path
    handle: int
    is_published: bool = False
    has_old: bool = False
    is_first: bool = False

    @classmethod
    def create(cls, target: Path) -> TemporaryFile:
        """Create and lock a temporary file in the folder of its target.

        Raises:
            OSError: The folder is missing or not writable.
        """
        while True:
            path = target.with_name(f".{secrets.token_hex(4)}.biascon.tmp")
            try:
                handle = os.open(path, _FLAGS, 0o666)
            except FileExistsError:
                continue
            temporary = cls(path, target, handle)
            try:
                with contextlib.suppress(NoFileLocksError):  # then nobody removes it after a kill
                    lock_handle(handle, path)
                if is_same_file(handle, path):  # otherwise another process took it for a leftover
                    return temporary
                temporary.close()
            except BaseException:
                temporary.discard()
                raise

    def write(self, data: bytes, *, flush: bool = True) -> None:
        """Write all bytes.

        Args:
            data: The bytes.
            flush: Whether they are flushed to the disk.

        Raises:
            OSError: The disk is full, or fails.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.handle, rest) :]
        if flush:
            os.fsync(self.handle)

    def publish(self, *, keep_old: bool) -> None:
        """Rename the file to its target.

        Args:
            keep_old: Whether an old file is kept until ``discard``, so that ``take_back`` can restore it.

        Raises:
            OSError: The rename fails. The target is unchanged.
        """
        if sys.platform == "win32":  # an open file cannot be renamed there
            self.close()
        self.is_first = keep_old and not os.path.lexists(self.target)
        self.has_old = keep_old and _is_file(self.target) and exchange(self.path, self.target)
        if not self.has_old:
            self.path.replace(self.target)
        self.is_published = True

    def take_back(self) -> None:
        """Undo ``publish``, where the old file was kept or there was none."""
        with contextlib.suppress(OSError):
            if self.has_old:
                exchange(self.path, self.target)
            elif self.is_published and self.is_first:
                self.target.unlink()

    def discard(self) -> None:
        """Delete what has the temporary name, and close the file."""
        if self.has_old or not self.is_published:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the file, which frees its lock."""
        if self.handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self.handle)
            self.handle = -1


def is_temporary_name(name: str) -> bool:
    """Return whether a name is one of a temporary file."""
    return _NAME.fullmatch(name) is not None


def remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files in a folder that killed processes left behind."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if is_temporary_name(path.name):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    handle = -1
    with contextlib.suppress(OSError, NoFileLocksError):
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        # Whoever holds the lock of a file that still has this name is the only one who may rename it.
        if lock_handle(handle, path) and is_same_file(handle, path):
            path.unlink()
    if handle >= 0:
        os.close(handle)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
