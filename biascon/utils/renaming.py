"""What a rename needs to be safe: exchange of two names, symbolic links, and flushing to the disk."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from biascon.errors import BiasconError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}
_NO_FOLDER_SYNC = {
    errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES,
}  # fmt: skip
_MANY_FILES = 256  # above, one flush of the file system is faster than one of each file


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders in one step; return False if the system cannot.

    Both names exist at every moment. Linux has this (``renameat2``) on most local file systems.

    Raises:
        OSError: The exchange fails for another reason. Nothing has changed.
    """
    call = _find_function("renameat2")
    if call is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(one))


def follow_link(path: Path) -> Path:
    """Return what a symbolic link leads to, or the path itself if it is none. Its parents are not followed.

    Raises:
        BiasconError: The link leads to itself.
    """
    if not path.is_symlink():
        return path
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise BiasconError(f"{path} is a symbolic link that leads to itself; choose another path")
    return found


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, and flush their names to the disk.

    Raises:
        OSError: A folder cannot be created.
    """
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for part in missing:
        sync_folder(part.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk: a rename before it survives a power failure.

    Nothing happens where a folder cannot be flushed, as on Windows.

    Raises:
        OSError: The disk fails.
    """
    if sys.platform == "win32":
        return
    handle = -1
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file and every name below a folder to the disk.

    Raises:
        OSError: The disk fails, or is full.
    """
    folders, files = [folder], list[Path]()
    for parent in folders:  # grows while it is read
        for path in sorted(parent.iterdir()):
            if not path.is_symlink():
                (folders if path.is_dir() else files).append(path)
    if len(files) > _MANY_FILES and _sync_file_system(folder):
        return
    for path in files:
        sync_file(path)
    for parent in reversed(folders):
        sync_folder(parent)


def sync_file(path: Path) -> None:
    """Flush the bytes of a file to the disk.

    Raises:
        OSError: The file cannot be opened, or the disk fails.
    """
    # Windows flushes only a file that is open for writing.
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file_system(folder: Path) -> bool:
    """Flush the file system of a folder; return False if the system cannot flush one alone."""
    call = _find_function("syncfs")
    if call is None:
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        if call(handle) == 0:
            return True
        code = ctypes.get_errno()
    finally:
        os.close(handle)
    if code == errno.ENOSYS:
        return False
    raise OSError(code, os.strerror(code), str(folder))


@cache
def _find_function(name: str) -> Any:
    """Return a function of the C library of Linux, or None."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), name, None)
