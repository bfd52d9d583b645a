"""Features of any encoder: from a file (.npy, .parquet, .safetensors) or an array, checked, as float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.errors import DataError
from biascon.utils.reading import open_file
from biascon.utils.text import quote_some
from biascon.utils.types import Array

SUFFIXES = (".npy", ".parquet", ".safetensors")
NAME = "features"  # of the array of a safetensors file that has several
MAX_VALUES = 1 << 27  # 512 MiB of float32; the probes need about three times as much
_NPY = b"\x93NUMPY"
_NOT_IN_NUMPY = {"BF16", "F8_E4M3", "F8_E5M2"}  # types of safetensors
_BLOCK_ROWS = 4096  # rows that are converted and checked at a time

Features = npt.NDArray[np.float32]


def read_features(path: Path) -> Features:
    """Return the features in a file.

    Args:
        path: A NumPy file with an array ``(N, D)``; a Parquet file whose columns are the features, or that
            has one column of lists of equal length; or a safetensors file with one array ``(N, D)``, or with
            one of the name ``features``. Nothing is unpickled.

    Returns:
        float32 ``(N, D)``.

    Raises:
        DataError: The file is missing, damaged or of another format, or ``convert_features`` refuses its
            array.
    """
    readers = {".npy": _read_npy, ".parquet": _read_parquet, ".safetensors": _read_safetensors}
    if path.suffix.lower() not in readers:
        raise DataError(f"cannot read {path}: expected features in {', '.join(SUFFIXES)}")
    with open_file(path) as file:
        start = file.read(8)
    if not start:
        raise DataError(f"cannot read {path}: it is empty")
    return convert_features(readers[path.suffix.lower()](path, start), f"{path}: ")


def convert_features(values: Any, prefix: str = "") -> Features:
    """Return features as a contiguous float32 array, after checking each value.

    Args:
        values: Numbers ``(N, D)``: an array, a tensor, a DataFrame or a list of rows.
        prefix: The file and a colon, in front of error messages; empty for arrays.

    Raises:
        DataError: The array has another shape, no numbers, more than ``MAX_VALUES`` values, or a value that
            is not finite as float32.
    """
    if hasattr(values, "detach"):  # a tensor of PyTorch
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise DataError(
            f"{prefix}expected features (N, D), but the rows differ in length"
        ) from error
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{prefix}expected features of a numeric type, but got {array.dtype} {array.shape}"
        )
    if array.ndim != 2:
        remedy = "; flatten or pool each row to one vector" if array.ndim > 2 else ""
        raise DataError(
            f"{prefix}expected features (N, D), but got an array of shape {array.shape}{remedy}"
        )
    if not array.size:
        raise DataError(f"{prefix}expected features (N, D), but got an empty array {array.shape}")
    if array.size > MAX_VALUES:
        raise DataError(
            f"{prefix}expected at most {MAX_VALUES:,} values, but got {array.shape[0]:,} x "
            f"{array.shape[1]:,}; audit a random part of the rows"
        )
    return _to_float32(array, prefix)


def _to_float32(array: Array, prefix: str) -> Features:
    result = np.empty(array.shape, np.float32)
    n_bad, rows_bad, first = 0, 0, 0
    for start in range(0, len(array), _BLOCK_ROWS):
        block = result[start : start + _BLOCK_ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            block[:] = array[start : start + _BLOCK_ROWS]
        is_bad = ~np.isfinite(block)
        if is_bad.any():
            in_row = is_bad.any(axis=1)
            first = first or start + int(in_row.argmax()) + 1
            n_bad, rows_bad = n_bad + int(is_bad.sum()), rows_bad + int(in_row.sum())
    if n_bad:
        raise DataError(
            f"{prefix}{n_bad:,} value{'s are' if n_bad > 1 else ' is'} not finite as float32 (NaN or "
            f"infinite) in {rows_bad:,} of {len(array):,} rows, row {first:,} first"
        )
    return result


def _read_npy(path: Path, start: bytes) -> Array:
    if not start.startswith(_NPY[: len(start)]):
        raise DataError(
            f"cannot read {path}: it is no NumPy array file; a pickle is not read. Write it with "
            "numpy.save(FILE, features)"
        )
    try:
        with np.errstate(over="ignore"):  # the product of an absurd shape
            array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (
        ValueError,
        OSError,
        EOFError,
        SyntaxError,
        TypeError,
        OverflowError,
        MemoryError,
    ) as error:
        message = " ".join(str(error).split())
        if "Object arrays" in message or "Python objects" in message:
            message = "it has an array of Python objects, which would need a pickle"
        elif not message or "pickle" in message:  # numpy's advice is to unpickle
            message = "its header is damaged"
        raise DataError(f"cannot read {path}: {message[:200]}") from error
    return array


def _read_safetensors(path: Path, start: bytes) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            name = names[0] if len(names) == 1 else NAME
            if name not in names:
                raise DataError(
                    f"{path}: expected one array, or one named '{NAME}', but it has "
                    f"{quote_some(names) or 'none'}"
                )
            if file.get_slice(name).get_dtype() not in _NOT_IN_NUMPY:
                return file.get_tensor(name)
        with safe_open(path, framework="pt") as file:  # a tensor of PyTorch
            return file.get_tensor(name)
    except (SafetensorError, OSError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error


def _read_parquet(path: Path, start: bytes) -> Array:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, n = file.schema_arrow, file.metadata.num_rows
            lists = [field.name for field in schema if _is_list(field.type)]
            if len(schema) == 1 and lists:
                return _stack(path, file.read().column(0))
            wrong = [f for f in schema if not _is_number(f.type)]
            if wrong:
                raise DataError(
                    f"{path}: expected numeric columns only, or one column of lists, but the column "
                    f"'{wrong[0].name}' is {wrong[0].type}"
                )
            if n * len(schema) > MAX_VALUES:
                return np.empty((n, len(schema)), np.bool_)  # refused for its size
            columns = np.empty((n, len(schema)), np.float32)
            at = 0
            for batch in file.iter_batches():
                for k in range(batch.num_columns):
                    values = batch.column(k).cast(pa.float64(), safe=False)  # null is NaN
                    with np.errstate(over="ignore"):
                        columns[at : at + len(batch), k] = values.to_numpy(zero_copy_only=False)
                at += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error
    return columns


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _stack(path: Path, column: Any) -> Array:
    """Return a column of lists of equal length as an array ``(N, D)``."""
    import pyarrow.compute as pc

    if column.null_count:
        raise DataError(f"{path}: {column.null_count:,} of {len(column):,} rows have no features")
    if not _is_number(column.type.value_type):
        raise DataError(f"{path}: expected lists of numbers, but got {column.type}")
    lengths = pc.list_value_length(column).unique().to_pylist()
    if len(lengths) > 1:
        raise DataError(
            f"{path}: expected lists of equal length, but got {min(lengths)} to {max(lengths)} values"
        )
    flat = pc.list_flatten(column).to_numpy()
    array: Array = flat.reshape(len(column), -1)
    return array
