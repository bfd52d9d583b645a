"""Partners and shares of mixed images: LISA (Yao et al., ICML 2022), LC (Liu et al., ICLR 2023).

An image x is mixed with its partner as mix * x + (1 - mix) * x_partner. All draws use raw words of PCG64,
because NumPy guarantees their stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biascon.errors import UsageError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Candidates:
    """The candidates of each row: the rows with its key, without those of one cell of that key.

    Rows are sorted by key and cell. A key is then one block, and the left-out cell is one block inside it.

    Attributes:
        order: ``(N,)`` the sorted rows.
        start: ``(N,)`` for each row, where the block of its key starts in ``order``.
        n: ``(N,)`` the number of candidates.
        cell_start: ``(N,)`` where the left-out cell starts.
        cell_size: ``(N,)`` the number of rows in the left-out cell.
    """

    order: Integers
    start: Integers
    n: Integers
    cell_start: Integers
    cell_size: Integers

    @classmethod
    def build(cls, key: Integers, cell: Integers, left_out: Integers) -> _Candidates:
        """Return the candidates of rows with keys and cells ``(N,)`` in 0..; ``left_out`` are cells."""
        n_cells = 1 + max(int(cell.max(initial=0)), int(left_out.max(initial=0)))
        codes = key * n_cells + cell
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        start, stop = (np.searchsorted(codes, (key + end) * n_cells) for end in (0, 1))
        cell_start, cell_stop = (
            np.searchsorted(codes, key * n_cells + left_out + end) for end in (0, 1)
        )
        cell_size = cell_stop - cell_start
        return cls(order, start, stop - start - cell_size, cell_start, cell_size)

    def draw(self, rows: Integers, uniform: Floats) -> Integers:
        """Return a candidate of each row, or the row itself where it has none."""
        place = self.start[rows] + (uniform * self.n[rows]).astype(np.int64)
        place += np.where(place >= self.cell_start[rows], self.cell_size[rows], 0)
        has_candidates = self.n[rows] > 0
        return np.where(has_candidates, self.order[np.where(has_candidates, place, 0)], rows)


class PartnerIndex:
    """The partners that each image of a training split may get. It is built once per training."""

    def __init__(self, labels: Integers, bias: Integers) -> None:
        """Sort the images by (label, bias) cell.

        Args:
            labels: ``(N,)`` integers.
            bias: ``(N,)`` integers: values of the bias attribute, or predictions of a first-stage network.

        Raises:
            UsageError: The two have other shapes.
        """
        labels, bias = np.asarray(labels), np.asarray(bias)
        if labels.ndim != 1 or labels.shape != bias.shape:
            raise UsageError(
                "expected labels and bias of one shape (N,), "
                f"but got {labels.shape} and {bias.shape}"
            )
        y, b = (np.unique(ids, return_inverse=True)[1].reshape(-1) for ids in (labels, bias))
        conflicting = (labels != bias).astype(np.int64)
        self._across_bias = _Candidates.build(y, b, b)
        self._across_labels = _Candidates.build(b, y, y)
        self._conflicting = _Candidates.build(y, conflicting, np.zeros_like(y))
        self._same_label = _Candidates.build(y, np.zeros_like(y), np.ones_like(y))

    def choose(self, rows: Tensor, p_label: float, bits: np.random.PCG64) -> Tensor:
        """Return a partner of each row as LISA draws it, int64 ``(B,)``.

        With probability ``p_label`` it is uniform over the images with the same label and another bias value,
        else over those with the same bias value and another label. A row without an image of the drawn kind
        is its own partner.

        Args:
            rows: int64 ``(B,)`` on the CPU.
            p_label: In [0, 1].
            bits: The source of the draws. It advances by 2 B words.
        """
        own = rows.numpy()
        kind, uniform = _uniform(bits, 2, len(own))
        across_bias = self._across_bias.draw(own, uniform)
        across_labels = self._across_labels.draw(own, uniform)
        return torch.from_numpy(np.where(kind < p_label, across_bias, across_labels))

    def choose_conflicting(self, rows: Tensor, bits: np.random.PCG64) -> Tensor:
        """Return a partner of each row as the authors of logit correction draw it, int64 ``(B,)``.

        It is uniform over the images with the label of the row that the first-stage network misclassifies,
        the row itself among them. If there is none, it is uniform over the images of the label.

        Args:
            rows: int64 ``(B,)`` on the CPU.
            bits: The source of the draws. It advances by B words.
        """
        own = rows.numpy()
        (uniform,) = _uniform(bits, 1, len(own))
        conflicting = self._conflicting.draw(own, uniform)
        same_label = self._same_label.draw(own, uniform)
        chosen = np.where(self._conflicting.n[own] > 0, conflicting, same_label)
        return torch.from_numpy(chosen)


def draw_mix(alpha: float, n: int, bits: np.random.PCG64) -> Tensor:
    """Return float32 ``(n,)`` shares from Beta(alpha, alpha), as LISA draws them.

    Args:
        alpha: Greater than 0.
        n: Number of shares.
        bits: The source of the draws. It advances by n words.

    Raises:
        UsageError: ``alpha`` is not greater than 0.
    """
    from scipy.special import betaincinv

    if not alpha > 0:
        raise UsageError(f"expected alpha greater than 0, but got {alpha}")
    (uniform,) = _uniform(bits, 1, n)
    return torch.from_numpy(betaincinv(alpha, alpha, uniform)).float()


def draw_group_mix(alpha: float, n: int, bits: np.random.PCG64) -> Tensor:
    """Return float32 ``(n,)`` shares, uniform in [1 - 2 alpha, 1 - alpha], as logit correction draws them.

    Args:
        alpha: In (0, 0.5]. With 0.5, the partner has at least half of the mixed image.
        n: Number of shares.
        bits: The source of the draws. It advances by n words.

    Raises:
        UsageError: ``alpha`` is not in (0, 0.5].
    """
    if not 0 < alpha <= 0.5:
        raise UsageError(f"expected alpha greater than 0 and at most 0.5, but got {alpha}")
    (uniform,) = _uniform(bits, 1, n)
    return torch.from_numpy(1 - 2 * alpha + alpha * uniform).float()


def _uniform(bits: np.random.PCG64, rows: int, n: int) -> Floats:
    """Return float64 ``(rows, n)`` in [0, 1)."""
    words = bits.random_raw(rows * n).reshape(rows, n)
    return np.asarray((words >> np.uint64(11)) * 2.0**-53)
