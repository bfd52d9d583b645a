"""Safetensors files whose large arrays stay on the disk: mapped, and written in parts."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from biascon.errors import DataError
from biascon.utils.types import Array

LARGE = 1 << 20  # bytes from which an array is mapped
RELEASE_FROM_BYTES = (
    1 << 30
)  # bytes from which what was read of a mapped array is given back now and then


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a safetensors file; uint8 arrays of a megabyte or more are mapped.

    A mapped array may be written to: the file does not change.

    Raises:
        DataError: The file is unreadable or not of that format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:  # checks the header and every offset
            names = list(file.keys())
            with path.open("rb") as raw:
                start = int.from_bytes(raw.read(8), "little")
                header = json.loads(raw.read(start))
            found: dict[str, Array] = {}
            for name in names:
                about = header[name]
                low, high = about["data_offsets"]
                if about["dtype"] == "U8" and high - low >= LARGE:
                    shape, offset = tuple(about["shape"]), 8 + start + low
                    found[name] = np.memmap(path, np.uint8, "c", offset, shape)
                else:
                    found[name] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return found


def release_pages(array: Array) -> None:
    """Give the pages of a heavy mapped array back to the system; they are read again when needed."""
    mapping = getattr(array, "_mmap", None)
    if (
        isinstance(mapping, mmap.mmap)
        and array.nbytes >= RELEASE_FROM_BYTES
        and hasattr(mmap, "MADV_DONTNEED")
    ):
        mapping.madvise(mmap.MADV_DONTNEED)


class SafetensorsWriter:
    """A safetensors file written from front to back, whose large array's length is known only at the end.

    The images come first, row after row; ``close`` adds the small arrays and fills in the header, for which
    room was left. The same rows give the same bytes, whatever was appended at a time.

    Args:
        path: The file; what it holds beyond ``rows`` is cut off.
        capacity: At most as many rows are appended.
        row: Shape of a row of uint8, whose size is a multiple of 8 so that the arrays behind are aligned.
        small: The dtypes of the small arrays by name, each with one value a row.
        rows: Rows that the file holds already.
        large: Name of the large array.

    Raises:
        OSError: It cannot be opened.
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
        # The widest arrays first, behind images whose size is a multiple of 8, so that each is aligned.
        sizes = {name: np.dtype(dtype).itemsize for name, dtype in small.items()}
        self.small = {
            name: np.dtype(small[name]) for name in sorted(sizes, key=lambda n: -sizes[n])
        }
        self.start = 8 + -(-len(self._header(capacity)) // 8) * 8
        self.file = path.open("r+b" if path.exists() else "w+b")
        self.cut(rows)

    def cut(self, rows: int) -> None:
        """Keep the first ``rows`` rows."""
        self.rows = rows
        self.file.truncate(self.start + rows * self.bytes)
        self.file.seek(0, 2)

    def _header(self, n: int) -> bytes:
        found = {self.large: ("U8", (n, *self.row), n * self.bytes)}
        for name, dtype in self.small.items():
            found[name] = (self._NAMES[dtype.name], (n,), n * dtype.itemsize)
        header, at = {}, 0
        for name, (kind, shape, size) in found.items():
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": (at, at + size)}
            at += size
        return json.dumps(header, separators=(",", ":")).encode()

    def read(self, first: int, last: int) -> bytes:
        """Return the bytes of rows ``first``..``last`` (not included); fewer where the file is shorter."""
        self.file.seek(self.start + first * self.bytes)
        found = self.file.read((last - first) * self.bytes)
        self.file.seek(0, 2)
        return found

    def append(self, images: Array) -> None:
        """Write rows, uint8 ``(n, *row)``."""
        self.file.write(np.ascontiguousarray(images).data)
        self.file.flush()
        self.rows += len(images)

    def finish(self, small: Mapping[str, Array]) -> None:
        """Write the small arrays and the header, and close the file.

        Args:
            small: Each ``(rows,)`` by name.
        """
        with self.file as file:
            for name, dtype in self.small.items():
                file.write(np.ascontiguousarray(small[name], dtype=dtype).data)
            header = self._header(self.rows)
            file.seek(0)
            file.write((self.start - 8).to_bytes(8, "little"))
            file.write(header.ljust(self.start - 8))

    def close(self) -> None:
        """Close the file as it is."""
        self.file.close()
