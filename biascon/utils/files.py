"""Atomic writes of files and folders, JSON, and SHA-256 digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from biascon.errors import BiasconError
from biascon.utils.reading import JSON, parse_json, read_bytes


def os_error(error: OSError, action: str, path: Path | str) -> BiasconError:
    """Return an ``OSError`` as an error of one line: what failed, the path, and the reason.

    Args:
        error: The error of the system.
        action: What failed, as a verb such as "write".
        path: The file or folder.
    """
    return BiasconError(f"cannot {action} {path}: {error.strerror or error}")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file atomically: a reader sees the old bytes or all the new bytes.

    The bytes are written to a temporary file in the same folder and flushed to the disk (fsync). Then the
    temporary file is renamed to ``path``.

    Raises:
        BiasconError: The folder is missing or not writable, or the disk is full. No temporary file remains.
    """
    write_together({path: data})


def write_together(
    files: Mapping[Path, bytes | str], *, before_rename: Callable[[], None] = lambda: None
) -> None:
    """Write several files atomically. No file is replaced before all new files are complete.

    Args:
        files: The content of each file.
        before_rename: Called when all new files are complete on the disk, before one is renamed.

    Raises:
        BiasconError: A folder is missing or not writable, or the disk is full. No temporary file remains.
    """
    staged: dict[Path, Path] = {}
    path = Path()
    try:
        for path, data in files.items():
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            staged[temporary] = path
            with temporary.open("wb") as handle:
                handle.write(data.encode() if isinstance(data, str) else data)
                handle.flush()
                os.fsync(handle.fileno())
        before_rename()
        for temporary, path in staged.items():
            temporary.replace(path)
        for parent in {path.parent for path in files}:
            sync_folder(parent)
    except OSError as error:
        raise os_error(error, "write", path) from error
    finally:
        for temporary in staged:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def append(path: Path, line: str) -> None:
    """Append a line to a file.

    Raises:
        BiasconError: The file is not writable, or the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as log:
            log.write(line)
    except OSError as error:
        raise os_error(error, "write", path) from error


def append_durably(path: Path, lines: str) -> None:
    """Append whole lines to a file, and flush them to the disk. A last line without its end is dropped first.

    Raises:
        BiasconError: The file is not writable, or the disk is full.
    """
    try:
        is_new = not path.exists()
        with path.open("ab+") as handle:
            handle.seek(0)
            content = b"" if is_new else handle.read()
            if not content.endswith(b"\n"):
                handle.truncate(content.rfind(b"\n") + 1)
            handle.write(lines.encode())
            handle.flush()
            os.fsync(handle.fileno())
        if is_new:
            sync_folder(path.parent)
    except OSError as error:
        raise os_error(error, "write", path) from error


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, so that its new names survive a loss of power.

    Nothing happens on a system that cannot open a folder (Windows), or cannot flush one (some file systems
    of a network).
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the bytes of a file as 64 hexadecimal digits.

    Raises:
        BiasconError: The file cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise os_error(error, "read", path) from error


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and without spaces. Digests are computed from this text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of ``canonical_json(value)``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def pretty_json(value: Any) -> str:
    """Return indented JSON that ends in a newline."""
    return json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: The file is missing, not readable, no regular file, too large, or not JSON.
    """
    return parse_json(read_bytes(path, JSON), str(path))


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``, and rename it to ``target`` if the block succeeds.

    If the block fails or the process is killed, ``target`` does not appear. The temporary folder of a killed
    process is removed by the next call for the same target.

    Args:
        target: The folder to create. Missing parents are created.
        replace: Whether an existing ``target`` is replaced, after the new folder is complete.

    Raises:
        BiasconError: The parent is not writable, the disk is full, or ``target`` exists.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", dir=target.parent))
    except OSError as error:
        raise os_error(error, "create a folder in", target.parent) from error
    try:
        yield work
        work.chmod(0o777 & ~_umask())
        if target.exists():
            if not replace:
                raise BiasconError(f"{target} exists already; pass --force to replace it")
            old = work.with_name(work.name + ".old")
            target.rename(old)
            try:
                work.rename(target)
            except OSError:
                old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            work.rename(target)
    except OSError as error:
        raise os_error(error, "write", target) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove_stale(target: Path) -> None:
    """Remove temporary folders for this target whose processes have ended."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.[^.]+(?:\.old)?")
    for path in sorted(target.parent.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is not None and not _is_alive(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
