"""Safetensors files whose large arrays stay on the disk: mapped, and read as rows are asked for."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.errors import DataError

Array = npt.NDArray[Any]
LARGE = 1 << 20  # bytes from which an array is mapped
HEAVY = 1 << 30  # bytes from which what was read of a mapped array is given back now and then


def read(path: Path) -> dict[str, Array]:
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


def release(array: Array) -> None:
    """Give the pages of a heavy mapped array back to the system; they are read again when needed."""
    mapping = getattr(array, "_mmap", None)
    if isinstance(mapping, mmap.mmap) and array.nbytes >= HEAVY and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
