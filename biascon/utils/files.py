"""Atomic writes of files, JSON, and SHA-256 digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from biascon.errors import BiasconError
from biascon.utils.reading import JSON, parse_json, read_bytes
from biascon.utils.renaming import follow_link, sync_folder
from biascon.utils.temporary_files import TemporaryFile, remove_temporary_files


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
    temporary file is renamed to ``path``, and the folder is flushed.

    Raises:
        BiasconError: The folder is missing or not writable, or the disk is full. No temporary file remains.
    """
    write_together({path: data})


def write_output(files: Mapping[Path, bytes | str]) -> None:
    """Write files that the user named, like ``write_together``. A link stays, and its target is replaced.

    Raises:
        BiasconError: A folder is missing or not writable, or the disk is full. No temporary file remains.
    """
    write_together({follow_link(path): data for path, data in files.items()})


def write_together(
    files: Mapping[Path, bytes | str], *, before_rename: Callable[[], None] = lambda: None
) -> None:
    """Write several files atomically. No file is replaced before all new files are complete.

    A symbolic link is replaced by a file. If a file cannot be replaced, those before it get their old bytes
    back, where the file system can exchange two names. The temporary files that killed processes left in the
    same folders are removed first.

    Args:
        files: The content of each file.
        before_rename: Called when all new files are complete on the disk, before one is renamed.

    Raises:
        BiasconError: A folder is missing or not writable, or the disk is full. No temporary file remains.
    """
    staged: list[TemporaryFile] = []
    path = Path()
    try:
        for folder in sorted({path.parent for path in files}):
            remove_temporary_files(folder)
        for path, data in files.items():
            staged.append(TemporaryFile.create(path))
            staged[-1].write(data.encode() if isinstance(data, str) else data)
        before_rename()
        for temporary in staged:
            path = temporary.target
            temporary.publish(keep_old=len(staged) > 1)
        for folder in sorted({path.parent for path in files}):
            sync_folder(folder)
    except BaseException as error:
        for temporary in reversed(staged):
            temporary.take_back()
        if isinstance(error, OSError):
            raise os_error(error, "write", path) from error
        raise
    finally:
        for temporary in staged:
            temporary.discard()


def append_durably(path: Path, lines: str) -> None:
    """Append whole lines to a file, and flush them to the disk. A last line without its end is dropped first.

    Lines that cannot be written leave no part of them.

    Raises:
        BiasconError: The file is not writable, or the disk is full.
    """
    try:
        is_new = not path.exists()
        with path.open("ab+", buffering=0) as handle:
            handle.seek(0)
            content = b"" if is_new else handle.read()
            size = content.rfind(b"\n") + 1
            if size < len(content):
                handle.truncate(size)
            try:
                rest = memoryview(lines.encode())
                while rest:
                    rest = rest[handle.write(rest) :]
                os.fsync(handle.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    handle.truncate(size)
                raise
        if is_new:
            sync_folder(path.parent)
    except OSError as error:
        raise os_error(error, "write", path) from error


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
