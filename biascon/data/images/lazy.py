"""Images that are decoded when they are read, for datasets that are too large to store as pixels.

The file of a split then holds an index instead of ``images``: ``files`` uint8 (N, 32 + W). Each row holds the
SHA-256 of an image file and its path in UTF-8, padded with zeros. Threads decode the rows by the same rules
as a build of pixels. A file that has changed since the build is an error, so the pixels are those of the
build.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data.images.decoding import (
    ImageFolder,
    ImageSpec,
    UnusableImageError,
    decode,
)
from biascon.data.manifest import Manifest
from biascon.data.memory_map import MappedFile, map_file
from biascon.errors import BiasconError, DataError
from biascon.utils.devices import count_cpus
from biascon.utils.progress import report_progress
from biascon.utils.types import Array

DIGEST_BYTES = 32  # length of a SHA-256
VERIFIED_AT_ONCE = 1024  # rows that wait for a thread


class LazyImages:
    """An array-like of uint8 ``(N, 3, S, S)`` whose rows are decoded when they are read.

    It has ``shape``, ``ndim``, ``dtype``, ``nbytes`` and a length. An index is a row, a slice, or integers
    ``(B,)``.

    Args:
        folder: The folder of images.
        table: uint8 ``(N, 32 + W)``: the rows of ``files``.
        spec: How an image becomes an array.

    Raises:
        DataError: The folder does not exist.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, folder: Path, table: Array, image_spec: ImageSpec) -> None:
        if not folder.is_dir():
            raise DataError(
                f"the images of this dataset are read from {folder}, which does not exist; "
                "put the folder back, or build the dataset again"
            )
        self.folder, self.table, self.image_spec = ImageFolder(folder), table, image_spec
        self.shape = (len(table), *image_spec.array_shape)
        self.nbytes = int(np.prod(self.shape))
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the file of the index again; threads and caches are not copied.
        table = map_file(self.table) or np.array(self.table)
        return _open_again, (self.folder.raw, table, self.image_spec)

    def __getitem__(self, rows: Any) -> Array:
        if isinstance(rows, int | np.integer):
            return self._decode_row(int(rows))
        chosen = np.arange(len(self))[np.asarray(rows) if not isinstance(rows, slice) else rows]
        images = np.empty((len(chosen), *self.image_spec.array_shape), dtype=np.uint8)
        for k, image in enumerate(self._get_pool().map(self._decode_row, chosen.tolist())):
            images[k] = image
        return images

    def _get_pool(self) -> ThreadPoolExecutor:
        """Return the thread pool of this process; threads do not survive a fork."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (
                os.getpid(),
                ThreadPoolExecutor(count_cpus() or 1, thread_name_prefix="biascon"),
            )
        return self._pool[1]

    def get_path(self, row: int) -> str:
        """Return the path of a row's image, relative to the folder."""
        return (
            bytes(self.table[row, DIGEST_BYTES:]).rstrip(b"\0").decode("utf-8", "surrogateescape")
        )

    def verify(self) -> None:
        """Compare every file with its SHA-256, and report the progress.

        Raises:
            DataError: A file is missing, unreadable or has changed.
        """
        n = len(self)
        for start in range(0, n, VERIFIED_AT_ONCE):
            stop = min(start + VERIFIED_AT_ONCE, n)
            list(self._get_pool().map(self._verify_row, range(start, stop)))
            report_progress("verifying", stop, n, "images")

    def _verify_row(self, row: int) -> None:
        with self._naming(row):
            self._read_row(row)

    def _decode_row(self, row: int) -> Array:
        with self._naming(row):
            return decode(self._read_row(row), self.image_spec)

    def _read_row(self, row: int) -> bytes:
        data = self.folder.read(self.folder.find(self.get_path(row)))
        if hashlib.sha256(data).digest() != bytes(self.table[row, :DIGEST_BYTES]):
            raise UnusableImageError("changed since the dataset was built")
        return data

    @contextmanager
    def _naming(self, row: int) -> Iterator[None]:
        """Name the file in the message of an error."""
        try:
            yield
        except UnusableImageError as error:
            raise DataError(
                f"{Path(self.folder.raw) / self.get_path(row)} cannot be used: {error}; "
                "build the dataset again with --force"
            ) from error


def _open_again(folder: str, table: Array | MappedFile, image_spec: ImageSpec) -> LazyImages:
    """Return the images in another process."""
    rows = table.open() if isinstance(table, MappedFile) else table
    return LazyImages(Path(folder), rows, image_spec)


def compute_index_width(paths: Sequence[str]) -> int:
    """Return the row length of an index: 32 bytes and the longest path, rounded up to a multiple of 8."""
    longest = max((len(path.encode("utf-8", "surrogateescape")) for path in paths), default=0)
    return -(-(DIGEST_BYTES + longest) // 8) * 8


def encode_index_row(digest: str, path: str, size: int) -> Array:
    """Return the row of an image in the index, uint8 ``(size,)``.

    Args:
        digest: SHA-256 of the file, in hexadecimal digits.
        path: Path relative to the folder of images.
        size: Length of the row in bytes.
    """
    data = bytes.fromhex(digest) + path.encode("utf-8", "surrogateescape")
    return np.frombuffer(data.ljust(size, b"\0"), dtype=np.uint8)


def open_lazy_images(path: Path, table: Array | None, manifest: Manifest) -> LazyImages:
    """Open the images of a split that holds an index.

    Args:
        path: The file of the split.
        table: Its array ``files``, or None if it has none.
        manifest: The manifest of the dataset.


    Raises:
        DataError: The index or its entry in the manifest is damaged, or the folder of images does not exist.
    """
    store, folder = manifest.store or {}, manifest.source.get("folder")
    if (
        table is None
        or table.dtype != np.uint8
        or table.ndim != 2
        or table.shape[1] <= DIGEST_BYTES
    ):
        raise DataError(f"{path}: expected 'files' as uint8 (N, 32 + W)")
    try:
        spec = ImageSpec(int(store["size"]), int(store["resize"]), str(store["decode"]))
    except (KeyError, TypeError, ValueError, BiasconError) as error:
        raise DataError(
            f"{path.parent / 'manifest.json'} is damaged: its entry 'store' is not valid"
        ) from error
    if not isinstance(folder, str):
        raise DataError(f"{path.parent / 'manifest.json'} has no folder of images")
    return LazyImages(Path(folder), table, spec)
