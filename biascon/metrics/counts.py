"""The counts that every metric is a function of: how often label y with bias b was predicted as p."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError

Array = npt.NDArray[Any]


def count(
    labels: Array, bias: Array, predictions: Array, *, n_labels: int, n_bias: int
) -> npt.NDArray[np.int64]:
    """Return int64 ``(K, M, K)``: entry [y, b, p] is the number of rows (label y, bias b, prediction p).

    Counts of parts add up to the counts of the whole.

    Args:
        labels: ``(N,)`` integers in 0..K-1.
        bias: ``(N,)`` integers in 0..M-1.
        predictions: ``(N,)`` integers in 0..K-1.
        n_labels: K.
        n_bias: M.

    Raises:
        UsageError: Arrays of different length, or values out of range.

    >>> count(np.array([0, 1]), np.array([0, 0]), np.array([0, 0]), n_labels=2, n_bias=1).tolist()
    [[[1, 0]], [[1, 0]]]
    """
    shape = (n_labels, n_bias, n_labels)
    columns = (labels, bias, predictions)
    if len({len(column) for column in columns}) != 1:
        raise UsageError(f"expected equally long columns, but got {[len(c) for c in columns]}")
    for name, column, size in zip(("labels", "bias", "predictions"), columns, shape, strict=True):
        if len(column) and not (column.min() >= 0 and column.max() < size):
            got = f"{column.min()}..{column.max()}"
            raise UsageError(f"expected {name} in 0..{size - 1}, but got {got}")
    flat = np.ravel_multi_index([c.astype(np.int64) for c in columns], shape)
    return np.bincount(flat, minlength=n_labels * n_bias * n_labels).reshape(shape)


def divide(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator as float64, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out
