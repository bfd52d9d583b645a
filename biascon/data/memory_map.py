"""Safetensors files whose large arrays stay on the disk: memory-mapped reading, writing in parts."""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from biascon.errors import DataError
from biascon.utils.types import Array

MAP_FROM_BYTES = 1 << 20  # smaller arrays are read into memory
# The pages of a mapped array of this size or more are released after use, so that memory stays bounded.
RELEASE_FROM_BYTES = 1 << 30


def read_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of a safetensors file; uint8 arrays of a megabyte or more are memory-mapped.

    The mapping is copy-on-write: writing to a mapped array does not change the file.

    Raises:
        DataError: The file is unreadable or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:  # checks the header and every offset
            names = list(file.keys())
            with path.open("rb") as raw:
                start = int.from_bytes(raw.read(8), "little")
                header = json.loads(raw.read(start))
            arrays: dict[str, Array] = {}
            for name in names:
                entry = header[name]
                low, high = entry["data_offsets"]
                if entry["dtype"] == "U8" and high - low >= MAP_FROM_BYTES:
                    shape, offset = tuple(entry["shape"]), 8 + start + low
                    arrays[name] = np.memmap(path, np.uint8, "c", offset, shape)
                else:
                    arrays[name] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return arrays


@dataclass(frozen=True)
class MappedFile:
    """Where a memory-mapped array is on the disk, so that another process can map it instead of copying it.

    Attributes:
        path: The file.
        offset: The position of the first byte.
        shape: The shape of the uint8 array.
        stamp: The size, the modification time and the number of the file when it was described.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    stamp: tuple[int, int, int]

    def open(self) -> Array:
        """Map the array, copy-on-write.

        Raises:
            DataError: The file is missing, or has changed since it was described.
        """
        try:
            if _read_stamp(self.path) != self.stamp:
                raise DataError(f"{self.path} has changed since it was read")
            return np.memmap(self.path, np.uint8, "c", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {self.path}: {error}") from error


def map_file(array: Any) -> MappedFile | None:
    """Describe the file of a memory-mapped uint8 array; None for another array, or a part of a mapped one."""
    base: Any = getattr(array, "base", None)
    path: Any = getattr(array, "filename", None)
    if not isinstance(base, mmap.mmap) or path is None or array.dtype != np.uint8:
        return None
    path = os.fspath(path)
    try:
        return MappedFile(path, array.offset, array.shape, _read_stamp(path))
    except OSError:  # the file is gone: only this process can read the array
        return None


def _read_stamp(path: str) -> tuple[int, int, int]:
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def release_pages(array: Array) -> None:
    """Release the memory pages of a large mapped array. The system reads them again when they are needed."""
    mapping = getattr(array, "_mmap", None)
    if (
        isinstance(mapping, mmap.mmap)
        and array.nbytes >= RELEASE_FROM_BYTES
        and hasattr(mmap, "MADV_DONTNEED")
    ):
        mapping.madvise(mmap.MADV_DONTNEED)


class SafetensorsWriter:
    """A safetensors file that is written row by row, if the number of rows is known only at the end.

    The rows of the large array come first. ``finish`` appends the small arrays and writes the header, for
    which space was reserved. The bytes do not depend on how many rows are appended at a time.

    Args:
        path: The file. It is cut after ``rows`` rows.
        capacity: The largest number of rows.
        row: Shape of a row of uint8. Its size is a multiple of 8, so that the arrays after it are aligned.
        small: The dtype of each small array by name. A small array has one value per row.
        rows: Number of rows that the file already holds.
        large: Name of the large array.

    Raises:
        OSError: The file cannot be opened.
    """

    _NAMES: ClassVar = {"int64": "I64", "bool": "BOOL"}

    def __init__(
        self,
        path: Path,
        capacity: int,
        row: tuple[int, ...],
        small: Mapping[str, Any],
        rows: int = 0,
        large: str = "images",
    ) -> None:
        self.row, self.large = row, large
        self.bytes = math.prod(row)
        # The arrays with the widest dtype come first, so that each array is aligned.
        sizes = {name: np.dtype(dtype).itemsize for name, dtype in small.items()}
        self.small = {
            name: np.dtype(small[name]) for name in sorted(sizes, key=lambda n: -sizes[n])
        }
        self.start = 8 + -(-len(self._build_header(capacity)) // 8) * 8
        self.file = path.open("r+b" if path.exists() else "w+b")
        self.cut(rows)

    def cut(self, rows: int) -> None:
        """Keep the first ``rows`` rows."""
        self.rows = rows
        self.file.truncate(self.start + rows * self.bytes)
        self.file.seek(0, 2)

    def _build_header(self, n: int) -> bytes:
        """Return the header of a file with n rows."""
        arrays = {self.large: ("U8", (n, *self.row), n * self.bytes)}
        for name, dtype in self.small.items():
            arrays[name] = (self._NAMES[dtype.name], (n,), n * dtype.itemsize)
        header, offset = {}, 0
        for name, (kind, shape, size) in arrays.items():
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": (offset, offset + size)}
            offset += size
        return json.dumps(header, separators=(",", ":")).encode()

    def read(self, first: int, last: int) -> bytes:
        """Return the bytes of the rows first..last-1, or fewer if the file is shorter."""
        self.file.seek(self.start + first * self.bytes)
        rows = self.file.read((last - first) * self.bytes)
        self.file.seek(0, 2)
        return rows

    def append(self, images: Array) -> None:
        """Append rows to the large array, uint8 ``(n, *row)``."""
        self.file.write(np.ascontiguousarray(images).data)
        self.file.flush()
        self.rows += len(images)

    def finish(self, small: Mapping[str, Array]) -> None:
        """Write the small arrays and the header, and close the file.

        Args:
            small: The small arrays by name, each ``(rows,)``.
        """
        with self.file as file:
            for name, dtype in self.small.items():
                file.write(np.ascontiguousarray(small[name], dtype=dtype).data)
            header = self._build_header(self.rows)
            file.seek(0)
            file.write((self.start - 8).to_bytes(8, "little"))
            file.write(header.ljust(self.start - 8))

    def close(self) -> None:
        """Close the file without the small arrays and the header."""
        self.file.close()
