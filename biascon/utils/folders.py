"""Folders that appear complete or not at all, and that replace an old folder without a moment of neither.

Beside a folder ``x`` there are, while a process works on it and after it was killed:

- ``.x.lock``: locked by the process that works on ``x``.
- ``.x.biascon-work``: the new folder until it is complete; then what is left of the old one.
- ``.x.biascon-old``: the old folder, between two renames, where the system cannot exchange two names.

Whoever holds the lock knows that no other process works on ``x``, so the other two are leftovers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from biascon.errors import BiasconError, BusyError, NoFileLocksError, UsageError
from biascon.utils.files import os_error
from biascon.utils.locks import acquire
from biascon.utils.renaming import exchange, follow_link, make_folder, sync_folder, sync_tree

_WORK, _OLD = ".biascon-work", ".biascon-old"
_held: set[tuple[int, int, str]] = set()  # (process, thread, folder) of the locks of lock_target


@contextlib.contextmanager
def lock_target(target: Path) -> Iterator[Path]:
    """Lock a folder that is to be written against other processes, and clear up what killed ones left.

    A thread may lock a folder again that it has locked. A symbolic link is followed.

    Args:
        target: The folder, which need not exist. Missing parents are created.

    Yields:
        The folder, or what it leads to if it is a symbolic link.

    Raises:
        UsageError: The folder has no name of its own, such as the current folder.
        BusyError: Another process, or another thread, works on the folder.
        NoFileLocksError: The file system has no file locks.
        BiasconError: The parent is not writable.
    """
    if not _has_name(target):
        raise UsageError(f"expected a folder with a name of its own, but got {target}")
    real = follow_link(target)
    key = (os.getpid(), threading.get_ident(), str(real.absolute()))
    if key in _held:
        yield real
        return
    try:
        make_folder(real.parent)
        lock = acquire(_lock_path(real))
    except OSError as error:
        raise os_error(error, "create a folder in", real.parent) from error
    if lock is None:
        raise BusyError(f"another process builds {target}; wait for it, or stop it")
    _held.add(key)
    try:
        _clear_up(real)
        yield real
    finally:
        _held.discard(key)
        lock.release(delete=True)


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``, and give it the name ``target`` if the block succeeds.

    If the block fails or the process is killed, ``target`` is what it was. All files are flushed to the disk
    before the rename. An old folder is exchanged with the new one in one step. Where the system has no such
    step, the old folder is renamed first; if the process is killed then, ``recover_folder`` gives it its name
    back, as does the next call for the same target.

    Args:
        target: The folder to create. Missing parents are created. A symbolic link is followed.
        replace: Whether an existing ``target`` is replaced, after the new folder is complete.

    Raises:
        BusyError: Another process works on ``target``.
        NoFileLocksError: The file system has no file locks.
        BiasconError: The parent is not writable, the disk is full, or ``target`` exists.
    """
    with lock_target(target) as real:
        work = _work_path(real)
        try:
            work.mkdir()
        except OSError as error:
            raise os_error(error, "create", work) from error
        try:
            yield work
            if os.path.lexists(real) and not replace:
                raise BiasconError(f"{target} exists already; pass --force to replace it")
            sync_tree(work)
            _publish(work, real)
        except OSError as error:
            raise os_error(error, "write", target) from error
        finally:
            _remove(work)


def recover_folder(target: Path) -> bool:
    """Give the old folder its name back, if a process was killed between the two renames of a replacement.

    Nothing happens if ``target`` exists, or another process works on it.

    Returns:
        Whether the folder was missing and is there now.

    Raises:
        BiasconError: The folder cannot be renamed.
    """
    real = follow_link(target)
    if not _has_name(real) or os.path.lexists(real) or not os.path.lexists(_old_path(real)):
        return False
    with contextlib.suppress(BusyError), lock_target(real):
        pass
    return os.path.lexists(real)


def is_being_written(target: Path) -> bool:
    """Return whether another process holds the lock of a folder."""
    real = follow_link(target)
    if not _has_name(real) or not _lock_path(real).exists():
        return False
    try:
        lock = acquire(_lock_path(real))
    except (OSError, NoFileLocksError):
        return False
    if lock is not None:
        lock.release(delete=True)
    return lock is None


def recover_folders(parent: Path) -> None:
    """Call ``recover_folder`` for every folder in ``parent`` that may need it.

    Raises:
        BiasconError: A folder cannot be renamed.
    """
    suffix = _old_path(Path("x")).name.removeprefix(".x")
    for old in sorted(parent.glob(f".*{suffix}")):
        recover_folder(old.with_name(old.name[1:].removesuffix(suffix)))


@contextlib.contextmanager
def output_folders(*folders: Path) -> Iterator[None]:
    """Create the folders of an output, and remove those again that are empty if the block fails.

    Args:
        folders: The folders, each before those in it. A symbolic link to nothing leads to the new folder.

    Raises:
        BiasconError: A folder cannot be created.
    """
    made: list[Path] = []
    try:
        for folder in map(follow_link, folders):
            made += [part for part in (folder, *folder.parents) if not part.exists()][::-1]
            try:
                make_folder(folder)
            except OSError as error:
                raise os_error(error, "create", folder) from error
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # missing, or not empty
                folder.rmdir()
        raise


def _publish(work: Path, target: Path) -> None:
    """Give the finished folder its name. Afterwards ``work`` is the old folder, or missing."""
    if not os.path.lexists(target):
        work.rename(target)
    elif not exchange(work, target):
        old = _old_path(target)
        target.rename(old)
        try:
            work.rename(target)
        except BaseException:
            old.rename(target)
            raise
        try:
            sync_folder(target.parent)
        finally:
            # Under this name a folder that is half removed is never taken for the old one.
            old.rename(work)
    sync_folder(target.parent)


def _clear_up(target: Path) -> None:
    """Restore or remove what a killed process left. The caller holds the lock."""
    old, work = _old_path(target), _work_path(target)
    try:
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
            sync_folder(target.parent)
        _remove(work)
        if os.path.lexists(old):
            old.rename(work)
            _remove(work)
    except OSError as error:
        raise os_error(error, "restore", target) from error


def _remove(path: Path) -> None:
    """Remove a folder or a file as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _has_name(path: Path) -> bool:
    """Return whether the last part of a path is a name; it is none in ``.``, ``x/..`` and ``/``."""
    return path.name not in ("", "..")


def _lock_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _work_path(target: Path) -> Path:
    return target.with_name(f".{target.name}{_WORK}")


def _old_path(target: Path) -> Path:
    return target.with_name(f".{target.name}{_OLD}")


def is_leftover_folder(path: Path) -> bool:
    """Return whether a path has the name of the temporary or the old folder of a replacement."""
    return path.name[:1] == "." and path.name.endswith((_WORK, _OLD))
