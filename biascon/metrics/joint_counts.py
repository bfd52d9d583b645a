"""Joint counts of the predictions of two classifiers on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.metrics.counts import check_range
from biascon.utils.types import Array


@dataclass(frozen=True, eq=False)
class JointCounts:
    """The number of rows for each label, bias value and pair of predictions.

    Only combinations with rows are stored.

    Attributes:
        cells: int64 ``(C, 4)``, the combinations (label, bias, prediction of a, prediction of b).
        n: int64 ``(C,)``, the number of rows of each combination, at least 1.
        n_labels: K.
        n_bias: M.
    """

    cells: npt.NDArray[np.int64]
    n: npt.NDArray[np.int64]
    n_labels: int
    n_bias: int

    @property
    def discordant(self) -> tuple[int, int]:
        """The number of rows that only a predicts correctly, and that only b predicts correctly."""
        a_is_correct = self.cells[:, 0] == self.cells[:, 2]
        b_is_correct = self.cells[:, 0] == self.cells[:, 3]
        only_a = self.n[a_is_correct & ~b_is_correct].sum()
        only_b = self.n[b_is_correct & ~a_is_correct].sum()
        return int(only_a), int(only_b)

    @property
    def discordant_cells(self) -> tuple[Array, Array, Array]:
        """The rows of each cell: those that only a predicts correctly, only b does, and all of them.

        Returns:
            float64 ``(K, M)`` three times.
        """
        label, bias, a, b = self.cells.T
        index = label * self.n_bias + bias
        only_a, only_b, rows = (
            np.bincount(index, self.n * is_counted, self.n_labels * self.n_bias)
            for is_counted in ((a == label) & (b != label), (b == label) & (a != label), a == a)
        )
        shape = (self.n_labels, self.n_bias)
        return only_a.reshape(shape), only_b.reshape(shape), rows.reshape(shape)

    def tables(self, n: Array) -> tuple[Array, Array]:
        """Return the table of counts of a and the table of counts of b.

        Args:
            n: int ``(..., C)``, the number of rows of each combination.

        Returns:
            int64 ``(..., K, M, K)`` twice: label x bias x prediction.
        """
        return self._table(n, 2), self._table(n, 3)

    def _table(self, n: Array, prediction: int) -> Array:
        """Return the table of counts of the predictions in a column of ``cells``."""
        shape = (self.n_labels, self.n_bias, self.n_labels)
        table = np.zeros((*n.shape[:-1], int(np.prod(shape))), np.int64)
        if len(self.cells):
            label, bias, predicted = self.cells[:, 0], self.cells[:, 1], self.cells[:, prediction]
            index = np.ravel_multi_index((label, bias, predicted), shape)
            order = np.argsort(index, kind="stable")
            entries, starts = np.unique(index[order], return_index=True)
            table[..., entries] = np.add.reduceat(n[..., order], starts, axis=-1)
        return table.reshape(*n.shape[:-1], *shape)


def count_jointly(
    labels: Array, bias: Array, a: Array, b: Array, *, n_labels: int, n_bias: int
) -> JointCounts:
    """Return the joint counts of the predictions of two classifiers on the same rows.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        bias: int ``(N,)`` in 0..M-1.
        a: int ``(N,)`` in 0..K-1, the predictions of classifier a.
        b: int ``(N,)`` in 0..K-1, the predictions of classifier b, in the same order of rows.
        n_labels: K.
        n_bias: M.

    Raises:
        UsageError: The columns differ in length, or a value is out of range.
    """
    shape = (n_labels, n_bias, n_labels, n_labels)
    columns = {"labels": labels, "bias": bias, "predictions a": a, "predictions b": b}
    if len({len(column) for column in columns.values()}) != 1:
        lengths = [len(column) for column in columns.values()]
        raise UsageError(f"expected equally long columns, but got {lengths}")
    for (name, column), size in zip(columns.items(), shape, strict=True):
        check_range(name, column, size)
    index = np.ravel_multi_index([np.asarray(c).astype(np.int64) for c in columns.values()], shape)
    occurring, n = np.unique(index, return_counts=True)
    cells = np.stack(np.unravel_index(occurring, shape), axis=1).astype(np.int64)
    return JointCounts(cells, n.astype(np.int64), n_labels, n_bias)
