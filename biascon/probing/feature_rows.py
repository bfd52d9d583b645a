"""Rows of features for the linear probe: standardized, in blocks, on the device, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biascon.data.memory_map import release_pages
from biascon.utils.devices import free_memory
from biascon.utils.types import Array

# Numbers of a block: 2 MiB of float64, which stay in the cache of a CPU, and 128 MiB on a GPU.
BLOCK_NUMBERS = {"cpu": 1 << 18}
GPU_BLOCK_NUMBERS = 1 << 24
MIN_BLOCK_ROWS = 256
RELEASE_NUMBERS = 1 << 25  # numbers that are read before the pages of a mapped file are released


@dataclass(frozen=True)
class Moments:
    """The mean and the standard deviation of every feature.

    Attributes:
        mean: float64 ``(D,)``.
        scale: float64 ``(D,)``: the standard deviation (divisor N), 1 for a constant feature.
    """

    mean: Tensor
    scale: Tensor


def solver_device(device: torch.device) -> torch.device:
    """Return the device on which float64 is computed for features of a device: MPS has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


class FeatureRows:
    """Features ``(N, D)`` that are read in blocks of rows as float64 on a device.

    The features stay on the device if they take at most half of its free memory. Otherwise every block is
    copied when it is read.

    Args:
        features: float32 or float16 ``(N, D)``; a memory-mapped file is never read as a whole.
        device: The device to compute on; one that has float64.
        moments: Mean and deviation of the features; None computes them from these rows.
    """

    def __init__(
        self, features: Array, device: torch.device, moments: Moments | None = None
    ) -> None:
        self.array, self.device = features, device
        self.rows, self.dim = features.shape
        self.tensor = torch.from_numpy(features)
        if device.type != "cpu" and features.nbytes <= free_memory(device) // 2:
            self.tensor = self.tensor.to(device)
        numbers = BLOCK_NUMBERS.get(device.type, GPU_BLOCK_NUMBERS)
        self.block_rows = max(MIN_BLOCK_ROWS, numbers // max(self.dim, 1))
        self.moments = moments or self._measure()

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield rows and their features, float64 ``(B, D)``, not standardized, in order."""
        read = 0
        for start in range(0, self.rows, self.block_rows):
            rows = slice(start, min(start + self.block_rows, self.rows))
            yield rows, self.tensor[rows].to(self.device, torch.float64, copy=True)
            read += self.block_rows * self.dim
            if read >= RELEASE_NUMBERS:
                release_pages(self.array)
                read = 0
        release_pages(self.array)

    def take(self, rows: Tensor) -> Tensor:
        """Return standardized features of some rows with a column of ones, float32 ``(R, D + 1)``.

        Args:
            rows: int64 ``(R,)`` on the device, in ascending order.
        """
        taken = torch.ones(len(rows), self.dim + 1, device=self.device)
        mean, scale = self.moments.mean.float(), self.moments.scale.float()
        size = max(self.block_rows, RELEASE_NUMBERS // max(self.dim, 1))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            chosen = self.tensor[rows[part].to(self.tensor.device)].to(self.device).float()
            taken[part, :-1] = chosen.sub_(mean).div_(scale)
            release_pages(self.array)
        return taken

    def squared_lengths(self) -> Tensor:
        """Return float32 ``(N,)``: 1 + the squared length of every standardized row."""
        lengths = torch.empty(self.rows, device=self.device)
        for rows, x in self.blocks():
            x.sub_(self.moments.mean).div_(self.moments.scale)
            lengths[rows] = torch.einsum("nd,nd->n", x, x).float()
        return lengths.add_(1)

    def _measure(self) -> Moments:
        """Return the moments of the rows, by the update of Chan, Golub and LeVeque (1983) for blocks."""
        mean = torch.zeros(self.dim, dtype=torch.float64, device=self.device)
        squares = torch.zeros_like(mean)
        n = 0
        for _, x in self.blocks():
            block_mean = x.mean(dim=0)
            shift, total = block_mean - mean, n + len(x)
            squares += x.sub_(block_mean).square_().sum(dim=0)
            squares += shift.square() * (n * len(x) / total)
            mean = mean + shift * (len(x) / total)
            n = total
        variance = squares / max(n, 1)
        # A constant feature has rounding errors of this size at most; it is not scaled up to them.
        eps = float(np.finfo(np.float64).eps)
        is_constant = variance <= (n * eps * mean).square() + eps * eps
        return Moments(mean, torch.where(is_constant, 1.0, variance.sqrt()))
