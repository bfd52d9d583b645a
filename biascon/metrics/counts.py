"""Table of counts by label, bias and prediction: the input of every count metric.

Tables of two sets of rows add up to the table of all rows, so rows may be counted in batches of any
size and order, and in several processes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.utils.types import Array


def count(
    labels: Array, bias: Array, predictions: Array, *, n_labels: int, n_bias: int
) -> npt.NDArray[np.int64]:
    """Return the number of rows for each label, bias value and prediction.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        bias: int ``(N,)`` in 0..M-1.
        predictions: int ``(N,)`` in 0..K-1.
        n_labels: K.
        n_bias: M.

    Returns:
        int64 ``(K, M, K)``: entry [y, b, p] is the number of rows with label y, bias b and prediction p.

    Raises:
        UsageError: The columns differ in length, or a value is out of range.

    >>> count(np.array([0, 1]), np.array([0, 0]), np.array([0, 0]), n_labels=2, n_bias=1).tolist()
    [[[1, 0]], [[1, 0]]]
    """
    shape = (n_labels, n_bias, n_labels)
    columns = (labels, bias, predictions)
    if len({len(column) for column in columns}) != 1:
        lengths = [len(column) for column in columns]
        raise UsageError(f"expected equally long columns, but got {lengths}")
    for name, column, size in zip(("labels", "bias", "predictions"), columns, shape, strict=True):
        check_range(name, column, size)
    cells = np.ravel_multi_index([column.astype(np.int64) for column in columns], shape)
    return np.bincount(cells, minlength=n_labels * n_bias * n_labels).reshape(shape)


def divide(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator as float64, NaN where the denominator is 0.

    Args:
        numerator: Numbers of any shape.
        denominator: Numbers of a shape that broadcasts with ``numerator``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        # np.true_divide keeps the memory layout of its operands. Replicates that are adjacent in
        # memory stay adjacent, which keeps later sums over cells fast.
        quotient = np.asarray(np.true_divide(numerator, denominator, dtype=np.float64))
    np.copyto(quotient, np.nan, where=np.equal(denominator, 0))
    return quotient


def check_range(name: str, column: Array, size: int) -> None:
    """Check that every value of a column is in 0..size-1.

    Args:
        name: The name of the column in the error message.
        column: int ``(N,)``.
        size: The number of allowed values.

    Raises:
        UsageError: A value is out of range.
    """
    if len(column) and not (column.min() >= 0 and column.max() < size):
        value_range = f"{column.min()}..{column.max()}"
        raise UsageError(f"expected {name} in 0..{size - 1}, but got {value_range}")
