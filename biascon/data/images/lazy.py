"""Images that are decoded when they are asked for: a dataset too large to be kept as pixels.

The split's file then holds an index instead of ``images``: ``files`` uint8 (N, 32 + W), in each row the
SHA-256 of a picture's file and its path, in UTF-8, filled up with zeros. A row is decoded by the rules that
would have made its pixels, in threads; a file that has changed since is refused, so that the pixels are those
of the build.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data.images.decoding import (
    ImageFolder,
    ImageSpec,
    UnusableImageError,
    decode,
)
from biascon.errors import BiasconError, DataError
from biascon.utils.devices import count_cpus
from biascon.utils.types import Array

DIGEST_BYTES = 32  # bytes of a SHA-256


class LazyImages:
    """An array-like of uint8 ``(N, 3, S, S)`` whose rows are decoded when they are read.

    It has ``shape``, ``ndim``, ``dtype``, ``nbytes`` and a length, and is indexed by a row, a slice, or
    integers ``(B,)``.

    Args:
        folder: The folder of pictures.
        table: uint8 ``(N, 32 + W)``: the rows of ``files``.
        shape: How a picture becomes an array.

    Raises:
        DataError: The folder is not there.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, folder: Path, table: Array, shape: ImageSpec) -> None:
        if not folder.is_dir():
            raise DataError(
                f"the pictures of this dataset are decoded from {folder}, which is not there; "
                "put them back, or build the dataset again"
            )
        self.folder, self.table, self.spec = ImageFolder(folder), table, shape
        self.shape = (len(table), *shape.array_shape)
        self.nbytes = int(np.prod(self.shape))
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Any) -> Array:
        if isinstance(rows, int | np.integer):
            return self._decode_row(int(rows))
        chosen = np.arange(len(self))[np.asarray(rows) if not isinstance(rows, slice) else rows]
        found = np.empty((len(chosen), *self.spec.array_shape), dtype=np.uint8)
        for k, image in enumerate(self._get_pool().map(self._decode_row, chosen.tolist())):
            found[k] = image
        return found

    def _get_pool(self) -> ThreadPoolExecutor:
        """Return the threads of this process; those of the process that it was forked from are gone."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (
                os.getpid(),
                ThreadPoolExecutor(count_cpus() or 1, thread_name_prefix="biascon"),
            )
        return self._pool[1]

    def get_path(self, row: int) -> str:
        """Return the path of a row's picture, relative to the folder."""
        return (
            bytes(self.table[row, DIGEST_BYTES:]).rstrip(b"\0").decode("utf-8", "surrogateescape")
        )

    def _decode_row(self, row: int) -> Array:
        path = self.get_path(row)
        try:
            data = self.folder.read(self.folder.find(path))
            if hashlib.sha256(data).digest() != bytes(self.table[row, :DIGEST_BYTES]):
                raise UnusableImageError("changed since the dataset was built")
            return decode(data, self.spec)
        except UnusableImageError as error:
            raise DataError(
                f"{Path(self.folder.raw) / path} cannot be used: {error}; "
                "build the dataset again with --force"
            ) from error


def compute_index_width(paths: Sequence[str]) -> int:
    """Return the length of the rows of an index: 32 and the longest path, a multiple of 8."""
    longest = max((len(path.encode("utf-8", "surrogateescape")) for path in paths), default=0)
    return -(-(DIGEST_BYTES + longest) // 8) * 8


def encode_index_row(digest: str, path: str, size: int) -> Array:
    """Return uint8 ``(size,)``: a picture's row of the index, from its SHA-256 in hexadecimal digits."""
    data = bytes.fromhex(digest) + path.encode("utf-8", "surrogateescape")
    return np.frombuffer(data.ljust(size, b"\0"), dtype=np.uint8)


def open_lazy_images(path: Path, table: Array | None, manifest: Mapping[str, Any]) -> LazyImages:
    """Return the images of a split that holds an index.

    Raises:
        DataError: The index or what the manifest says of it is damaged, or the pictures are not there.
    """
    store, folder = manifest["store"], manifest["source"].get("folder")
    if (
        table is None
        or table.dtype != np.uint8
        or table.ndim != 2
        or table.shape[1] <= DIGEST_BYTES
    ):
        raise DataError(f"{path}: expected 'files' as uint8 (N, 32 + W)")
    try:
        shape = ImageSpec(int(store["size"]), int(store["resize"]), str(store["decode"]))
    except (KeyError, TypeError, ValueError, BiasconError) as error:
        raise DataError(
            f"{path.parent / 'manifest.json'} is damaged: it has no proper store"
        ) from error
    if not isinstance(folder, str):
        raise DataError(f"{path.parent / 'manifest.json'} does not say where the pictures are")
    return LazyImages(Path(folder), table, shape)
