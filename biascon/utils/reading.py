"""Read a file of a user: a regular file of a size that its kind has, and nothing without an end.

A pipe, a device or a socket in place of a file would let a command wait forever, or read without an end.
``open_file`` looks before it opens, since opening a device can have effects. It opens without waiting, and
looks again at what it opened, so that a pipe that takes the place of the file in between is refused too.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import stat
import time
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from biascon.errors import DataError
from biascon.utils.text import count_of

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PIPE_SECONDS = 1.0  # in which a process begins to write to a pipe
LINE_LETTERS = MIB  # of a line of a text file
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True)
class FileKind:
    """A kind of file, and the largest size that such a file has.

    Attributes:
        name: What the file is, in messages, such as ``"a TOML file"``.
        max_bytes: The largest size in bytes, of a compressed file also without the compression.
    """

    name: str
    max_bytes: int


TOML = FileKind("a TOML file", MIB)
JSON = FileKind("a JSON file", 64 * MIB)
ALIGNED_VALUES = FileKind("a file of aligned values", 16 * MIB)
NAMES = FileKind("a list of names", 256 * MIB)
TABLE = FileKind("a table", 16 * GIB)
WEIGHTS = FileKind("a file of weights", 16 * GIB)
STUDY_TABLE = FileKind("the table of a study", 2 * GIB)
IMAGE_DATA = FileKind("a file of images", GIB)
PICTURE = FileKind("a picture", 128 * MIB)


def open_file(path: Path | str, kind: FileKind | None = None, *, what: str = "") -> BinaryIO:
    """Open a regular file for reading, without waiting for anything.

    Args:
        path: The file. A link is followed.
        kind: The kind of file, whose size is checked; None for any size.
        what: What the file is for, in messages, such as ``"preset"``.

    Raises:
        DataError: The file is missing or unreadable, is no regular file, or is larger than its kind.
    """
    name = f"{what} {path}" if what else str(path)
    try:
        _check_kind(os.stat(path), name)  # noqa: PTH116 - a path or a text
        handle = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        try:
            status = os.fstat(handle)
            _check_kind(status, name)
            if kind is not None and status.st_size > kind.max_bytes:
                raise _too_large(name, kind)
            return os.fdopen(handle, "rb")
        except BaseException:
            os.close(handle)
            raise
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in the path
        raise DataError(f"cannot read {name}: {error}") from error


def check_file(path: Path | str, *, what: str = "") -> os.stat_result:
    """Return the status of a regular file that a library opens by its path.

    Raises:
        DataError: The file is missing or unreadable, or is no regular file.
    """
    with open_file(path, what=what) as file:
        return os.fstat(file.fileno())


def is_pipe(path: Path) -> bool:
    """Return whether a path is that of a pipe, such as ``<(command)`` of a shell; False if it is missing."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def open_pipe(path: Path) -> BinaryIO:
    """Open a pipe that another process writes to.

    Raises:
        DataError: The pipe is unreadable, or no process writes to it within ``PIPE_SECONDS``.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        first = b""
        try:
            deadline = time.monotonic() + PIPE_SECONDS
            while not first:
                try:
                    first = os.read(handle, 1 << 16)
                except BlockingIOError:
                    break  # a process has the pipe open, and has not written yet
                if not first and time.monotonic() > deadline:
                    raise DataError(
                        f"cannot read {path}: it is empty: no process writes to the pipe"
                    )
                time.sleep(0.0 if first else PIPE_SECONDS / 20)
            os.set_blocking(handle, True)
            return io.BufferedReader(_Pipe(handle, first), MIB)
        except BaseException:
            os.close(handle)
            raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


class _Pipe(io.RawIOBase):
    """A pipe whose first bytes have been read already."""

    def __init__(self, handle: int, first: bytes) -> None:
        self._file, self._first = io.FileIO(handle), first

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, first the bytes that were read before."""
        if not self._first:
            return self._file.readinto(buffer) or 0
        part, self._first = self._first[: len(buffer)], self._first[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Close the pipe."""
        self._file.close()
        super().close()


def read_bytes(path: Path, kind: FileKind, *, what: str = "") -> bytes:
    """Return the bytes of a file.

    Args:
        path: The file.
        kind: The kind of file.
        what: What the file is for, in messages.

    Raises:
        DataError: As ``open_file``.
    """
    name = f"{what} {path}" if what else str(path)
    with open_file(path, kind, what=what) as file:
        try:
            content = file.read(os.fstat(file.fileno()).st_size + 1)
            while len(content) <= kind.max_bytes and (more := file.read(MIB)):
                content += more  # the file grows while it is read, or its system tells no size
        except OSError as error:
            raise DataError(f"cannot read {name}: {error.strerror or error}") from error
    if len(content) > kind.max_bytes:
        raise _too_large(name, kind)
    return content


def read_gzip(path: Path, kind: FileKind) -> tuple[bytes, bytes]:
    """Return the bytes of a file as they are stored, and without their compression by gzip, if they have one.

    Raises:
        DataError: As ``open_file``; or the compressed file is damaged, or too large without its compression.
    """
    stored = read_bytes(path, kind)
    if stored[:2] != b"\x1f\x8b":
        return stored, stored
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(stored)) as file:
            content = file.read(kind.max_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a truncated or corrupt gzip file ({error})") from error
    if len(content) > kind.max_bytes:
        raise _too_large(str(path), kind)
    return stored, content


def read_text(path: Path, kind: FileKind, *, encoding: str = "utf-8", what: str = "") -> str:
    """Return the text of a file in UTF-8.

    Args:
        path: The file.
        kind: The kind of file.
        encoding: ``utf-8``, or ``utf-8-sig`` for a file that may begin with a byte order mark.
        what: What the file is for, in messages.

    Raises:
        DataError: As ``open_file``, or the file is not UTF-8 text.
    """
    return decode(read_bytes(path, kind, what=what), path, encoding)


def decode(content: bytes, path: Path, encoding: str = "utf-8") -> str:
    """Return the text that the bytes of a file hold.

    Raises:
        DataError: They are not UTF-8 text.
    """
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: it is not UTF-8 text") from error


@contextmanager
def open_lines(
    path: Path, kind: FileKind, *, encoding: str = "utf-8-sig"
) -> Iterator[Iterator[str]]:
    """Yield the lines of a text file, with their ends, one after the other. ``csv`` reads them.

    Raises:
        DataError: As ``open_file``; or the file is not UTF-8 text, or a line is longer than ``LINE_LETTERS``.
    """
    with open_file(path, kind) as file, io.TextIOWrapper(file, encoding, newline="") as text:
        try:
            yield _iter_lines(path, text)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"cannot read {path}: it is not UTF-8 text; save it as UTF-8"
            ) from error
        except csv.Error as error:
            raise DataError(f"cannot read {path}: it is not valid CSV ({error})") from error


def _iter_lines(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    number = 0
    while line := text.readline(LINE_LETTERS + 1):
        number += 1
        if len(line) > LINE_LETTERS:
            raise DataError(
                f"cannot read {path}: line {number:,} has more than {LINE_LETTERS:,} characters"
            )
        yield line


def parse_toml(text: bytes, where: str) -> dict[str, Any]:
    """Return TOML as plain data.

    Args:
        text: The text in UTF-8.
        where: Where it comes from, for messages.

    Raises:
        DataError: It is not valid TOML, or is nested too deeply.
    """
    try:
        return tomllib.loads(text.decode())
    except RecursionError as error:
        raise DataError(f"{where} is not valid TOML: it is nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{where} is not valid TOML ({error})") from error


def parse_json(text: bytes, where: str) -> Any:
    """Return JSON as plain data.

    Args:
        text: The text in UTF-8.
        where: Where it comes from, for messages.

    Raises:
        DataError: It is not valid JSON, or is nested too deeply.
    """
    try:
        return json.loads(text.decode())
    except RecursionError as error:
        raise DataError(f"{where} is not valid JSON: it is nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{where} is not valid JSON ({error})") from error


def describe_kind(mode: int) -> str:
    """Return what an entry of a folder is, from the mode of its status; ``""`` for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def _check_kind(status: os.stat_result, name: str) -> None:
    kind = describe_kind(status.st_mode)
    if kind:
        raise DataError(f"cannot read {name}: it is {kind}; expected a file")


def _too_large(name: str, kind: FileKind) -> DataError:
    unit, size = next(
        (u, s) for u, s in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)) if s <= kind.max_bytes
    )
    most = count_of(kind.max_bytes // size, unit, unit)
    return DataError(f"cannot read {name}: it is larger than {most}, the limit for {kind.name}")
