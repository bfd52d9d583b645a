"""Files that are whole or not there: atomic writes, digests, folders that are renamed into place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from biascon.errors import BiasconError, DataError


def os_error(error: OSError, what: str, path: Path | str) -> BiasconError:
    """Turn an ``OSError`` into one line: what could not be done, where, and why."""
    return BiasconError(f"cannot {what} {path}: {error.strerror or error}")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part.

    The bytes go to a temporary file in the same folder, are flushed to the disk (fsync), and the
    file is renamed over ``path``.

    Raises:
        BiasconError: The folder is missing or unwritable, or the disk is full; nothing is left.
    """
    write_together({path: data})


def write_together(files: Mapping[Path, bytes | str]) -> None:
    """Write several files so that a full disk leaves all the old ones: rename after all are complete.

    Raises:
        BiasconError: A folder is missing or unwritable, or the disk is full; nothing is left.
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
        for temporary, path in staged.items():
            temporary.replace(path)
    except OSError as error:
        raise os_error(error, "write", path) from error
    finally:
        for temporary in staged:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def append(path: Path, line: str) -> None:
    """Add a line to a log.

    Raises:
        BiasconError: The place is not writable, or the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as log:
            log.write(line)
    except OSError as error:
        raise os_error(error, "write", path) from error


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise os_error(error, "read", path) from error


def canonical_json(value: Any) -> str:
    """Serialise to JSON with sorted keys and no spaces: the text that digests are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of ``canonical_json(value)``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def pretty_json(value: Any) -> str:
    """Serialise to indented JSON that ends in a newline."""
    return json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error})") from error


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside ``target`` and rename it to ``target`` when the block ends well.

    If the block fails, or the process is killed, no ``target`` appears; what a killed process left
    is swept away by the next call for the same target.

    Args:
        target: The folder to make; its parents are created.
        replace: Whether an existing ``target`` is replaced (after the new one is complete).

    Raises:
        BiasconError: The place is not writable, the disk is full, or ``target`` exists.
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
    """Remove the temporary folders for this target of processes that are no longer alive."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.[^.]+(?:\.old)?")
    for path in sorted(target.parent.iterdir()):
        found = pattern.fullmatch(path.name)
        if found is not None and not _alive(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
