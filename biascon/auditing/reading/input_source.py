"""The bytes of a prediction file or of a pipe, and the format that its first bytes show."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import weakref
from enum import Enum
from pathlib import Path
from typing import IO, Any, BinaryIO

from biascon.auditing.reading.reading_errors import convert_errors
from biascon.errors import DataError
from biascon.utils.files import sha256_file
from biascon.utils.reading import describe_kind, is_pipe, open_file, open_pipe

STANDARD_INPUT = Path("-")
MAX_STREAM_BYTES = 64 << 30  # of a pipe, which is copied to a temporary file
HEAD_BYTES = 1 << 20  # the start of a text file, for its header and its dialect
_COPY_BYTES = 1 << 20

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_UNSUPPORTED = {
    b"PK\x03\x04": "a zip archive (an Excel sheet, perhaps)",
    b"\xd0\xcf\x11\xe0": "an Excel sheet or another Office file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"FEA1": "a Feather file of version 1; write it again with pyarrow 0.17 or later",
    b"\x89HDF": "an HDF5 file",
    b"\xfd7zXZ": "xz-compressed",
    b"\x04\x22\x4d\x18": "lz4-compressed",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x93NUMPY": "a NumPy array; pass arrays to biascon.audit",
    b"\x80\x04": "a pickle, which is never loaded",
    b"SQLite": "a SQLite database",
    b"%PDF": "a PDF file",
    b"<!DOCTYPE": "an HTML page",
    b"<!doctype": "an HTML page",
    b"<html": "an HTML page",
}
EXPECTED = "CSV or JSON lines in UTF-8, Parquet or Arrow"


class Format(Enum):
    """The format of a file of predictions."""

    CSV = "CSV"
    JSON_LINES = "JSON lines"
    PARQUET = "Parquet"
    ARROW_FILE = "Arrow IPC file"
    ARROW_STREAM = "Arrow IPC stream"


_BINARY = {
    b"PAR1": Format.PARQUET,
    b"ARROW1": Format.ARROW_FILE,
    b"\xff\xff\xff\xff": Format.ARROW_STREAM,
}


class InputSource:
    """Bytes that can be read several times: a file, or the copy of a pipe in a temporary file.

    Args:
        path: A file; ``-`` for standard input; or a pipe, such as ``/dev/stdin``.

    Attributes:
        name: What error messages call the source.
        format: The format.

    Raises:
        DataError: The file is missing, a folder, empty or of an unsupported format; or the pipe is too long
            for the temporary folder.
    """

    def __init__(self, path: Path) -> None:
        self.name = "standard input" if path == STANDARD_INPUT else str(path)
        self._path = path
        self._copy: IO[bytes] | None = None
        self._digest: str | None = None
        try:
            if path == STANDARD_INPUT:
                self._copy_stream(_standard_input())
            elif is_pipe(path):
                with open_pipe(path) as stream:
                    self._copy_stream(stream)
            with self.open() as file:
                start = file.read(16)
        except OSError as error:
            raise DataError(f"cannot read {self.name}: {error.strerror or error}") from error
        self._codec = next((c for m, c in _COMPRESSED.items() if start.startswith(m)), None)
        self.format = self._recognize(start)

    def open(self) -> BinaryIO:
        """Return the bytes of the file from its start, as they are stored."""
        if self._copy is None:
            return open_file(self._path)
        os.lseek(self._copy.fileno(), 0, os.SEEK_SET)
        return os.fdopen(os.dup(self._copy.fileno()), "rb")

    def open_arrow(self) -> Any:
        """Return the bytes of the file for pyarrow: a native file, which pyarrow reads without Python."""
        import pyarrow as pa

        return pa.OSFile(str(self._path)) if self._copy is None else pa.PythonFile(self.open())

    def open_text(self) -> Any:
        """Return a stream of the bytes without their compression."""
        import pyarrow as pa

        if self._codec is None:
            return self.open()
        return pa.CompressedInputStream(self.open_arrow(), self._codec)

    def read_head(self) -> bytes:
        """Return the first bytes without compression and byte order mark."""
        with self.open_text() as stream:
            head = bytes(stream.read(HEAD_BYTES))
        return head.removeprefix(b"\xef\xbb\xbf")

    @property
    def sha256(self) -> str:
        """The SHA-256 digest of the bytes."""
        return self._digest or sha256_file(self._path)

    def _copy_stream(self, stream: BinaryIO) -> None:
        """Copy a stream to a temporary file without a name, which the system removes in any case."""
        digest = hashlib.sha256()
        n = 0
        while block := stream.read(_COPY_BYTES):
            digest.update(block)
            n += len(block)
            if n > MAX_STREAM_BYTES:
                raise DataError(
                    f"cannot read {self.name}: expected at most {MAX_STREAM_BYTES:,} bytes from a pipe; "
                    "write them to a file and pass its path"
                )
            self._write_copy(block, n)
        if self._copy is None:
            raise DataError(f"cannot read {self.name}: it is empty")
        self._write_copy(b"", n)
        self._digest = digest.hexdigest()

    def _write_copy(self, block: bytes, n: int) -> None:
        try:
            if self._copy is None:
                self._copy = tempfile.TemporaryFile()  # noqa: SIM115 - the finalizer closes it
                weakref.finalize(self, self._copy.close)
            self._copy.write(block)
            self._copy.flush()
        except OSError as error:
            raise DataError(
                f"cannot copy {self.name} to the temporary folder {tempfile.gettempdir()}: "
                f"{error.strerror or error} after {n / 1e6:,.0f} MB; set TMPDIR to a folder with more space, "
                "or write a file and pass its path"
            ) from error

    def _recognize(self, start: bytes) -> Format:
        """Return the format of the file.

        Raises:
            DataError: The format is not supported, or the file is empty.
        """
        self._refuse_unsupported(start)
        if not start:
            raise DataError(f"cannot read {self.name}: it is empty")
        binary = next((f for magic, f in _BINARY.items() if start.startswith(magic)), None)
        if binary is not None:
            return binary
        with convert_errors(self.name):
            head = self.read_head()
        if self._codec is not None:
            self._refuse_unsupported(head)
            for magic, kind in _BINARY.items():
                if head.startswith(magic):
                    raise DataError(
                        f"cannot read {self.name}: it is a {self._codec}-compressed {kind.value}; "
                        "decompress it first"
                    )
        if b"\0" in head:
            raise DataError(f"cannot read {self.name}: expected {EXPECTED}, but got binary data")
        text = head.lstrip()
        if text.startswith((b"[{", b"[\n", b"[ ", b"[\r")):
            raise DataError(
                f"cannot read {self.name}: it is one JSON array; expected JSON lines, one object a line "
                "(pandas: to_json(path, orient='records', lines=True))"
            )
        return Format.JSON_LINES if text.startswith(b"{") else Format.CSV

    def _refuse_unsupported(self, start: bytes) -> None:
        for magic, kind in _UNSUPPORTED.items():
            if start.startswith(magic):
                raise DataError(f"cannot read {self.name}: expected {EXPECTED}, but it is {kind}")


def _standard_input() -> BinaryIO:
    """Return the bytes of standard input.

    Raises:
        DataError: Standard input is closed, or a terminal.
    """
    stream: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.closed:
        raise DataError("cannot read standard input: it is closed")
    if stream.isatty():
        raise DataError(
            "cannot read standard input: expected a pipe or a file, but it is a terminal"
        )
    kind = _describe_stream(stream)
    if kind in ("a device", "a folder") and (kind == "a folder" or stream.read(1)):
        raise DataError(f"cannot read standard input: expected a pipe or a file, but it is {kind}")
    return stream


def _describe_stream(stream: BinaryIO) -> str:
    """Return what a stream reads, ``""`` for a file, or for a stream that the system does not know."""
    try:
        return describe_kind(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return ""
