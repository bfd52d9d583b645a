"""The test predictions of runs: each file is read once, however many tests and figures use it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.data.split import ATTRIBUTE
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import PREDICTIONS
from biascon.utils.types import Array

_ROWS = ("index", "label", "bias")
_MAX_RUNS = 16_384  # whose predictions are kept, at a few bytes an image


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a run on its test images.

    Attributes:
        rows: ``(index, label, bias)``, int64 ``(N,)`` each. Runs on the same images in the same order share
            the arrays.
        predicted: int ``(N,)``, of the smallest type that holds the values.
    """

    rows: tuple[Array, ...]
    predicted: Array


def read_predictions(run: FinishedRun) -> Predictions | None:
    """Return the predictions of a run, None if its folder has none."""
    path = run.folder / PREDICTIONS
    try:
        status = path.stat()
    except OSError:
        return None
    return _read(path, status.st_size, status.st_mtime_ns)


def read_aligned_cells(run: FinishedRun, n_labels: int, n_bias: int) -> Array:
    """Return bool ``(K, M)``: the cells whose test images the dataset calls bias-aligned.

    Args:
        run: A run whose folder has predictions.
        n_labels: K.
        n_bias: M.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(
        run.folder / PREDICTIONS, columns=["label", "bias", "aligned"], use_threads=False
    )
    labels, bias, aligned = (table[name].to_numpy() for name in ("label", "bias", "aligned"))
    cells = np.zeros((n_labels, n_bias), dtype=bool)
    cells[labels[aligned], bias[aligned]] = True
    return cells


def read_attributes(run: FinishedRun, names: Sequence[str]) -> Mapping[str, Array] | None:
    """Return the values of attributes of the test images, int64 ``(N,)`` by name.

    Args:
        run: A run whose folder has predictions.
        names: The names of the attributes.

    Returns:
        The values; None where the predictions do not have every attribute (runs of earlier versions).
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(run.folder / PREDICTIONS)
    columns = [f"{ATTRIBUTE}{name}" for name in names]
    if not set(columns) <= set(file.schema_arrow.names):
        return None
    table = file.read(columns=columns, use_threads=False)
    return {name: table[column].to_numpy() for name, column in zip(names, columns, strict=True)}


@functools.lru_cache(maxsize=_MAX_RUNS)
def _read(path: Path, size: int, mtime_ns: int) -> Predictions:
    """Read a file; a file that is written again has another size or time and is read again."""
    del size, mtime_ns
    import pyarrow.parquet as pq

    # One thread: the tables are small, and the caller may use several.
    table = pq.read_table(path, columns=[*_ROWS, "prediction"], use_threads=False)
    columns = [table[name].to_numpy() for name in (*_ROWS, "prediction")]
    *rows, predicted = columns
    dtype = np.min_scalar_type(-1 - int(abs(predicted).max())) if len(predicted) else np.int8
    return Predictions(_share(rows), predicted.astype(dtype))


_SHARED: dict[tuple[bytes, ...], tuple[Array, ...]] = {}


def _share(rows: list[Array]) -> tuple[Array, ...]:
    """Return equal arrays as the same objects: 1,000 runs on the same images keep them once."""
    import hashlib

    key = tuple(
        hashlib.sha256(str(column.dtype).encode() + np.ascontiguousarray(column).data).digest()
        for column in rows
    )
    return _SHARED.setdefault(key, tuple(rows))
