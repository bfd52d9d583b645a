"""Random numbers for a batch of images: each image has its own stream."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import ndtri

from biascon.utils.seeds import derive_seed
from biascon.utils.types import Array


class ImageDraws:
    """The random numbers of N images. Image n draws from the stream of (seed, purpose, n-th key) only.

    The numbers are computed from raw words of PCG64, because NumPy guarantees this stream for every version.

    Args:
        seed: Seed of the dataset.
        purpose: Purpose of the streams.
        keys: N different integers, one for each image.
    """

    def __init__(self, seed: int, purpose: str, keys: Iterable[int]) -> None:
        self._streams = [np.random.PCG64(derive_seed(seed, f"{purpose}/{key}")) for key in keys]

    def __len__(self) -> int:
        return len(self._streams)

    def uniform(self, *shape: int) -> Array:
        """Return float64 ``(N, *shape)``, uniform in (0, 1), with 32 random bits."""
        size = int(np.prod(shape))
        words = np.empty((len(self._streams), size), dtype=np.uint64)
        for row, stream in zip(words, self._streams, strict=True):
            row[:] = stream.random_raw(size)
        values: Array = ((words >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32
        return values.reshape(len(self._streams), *shape)

    def between(self, low: float, high: float, *shape: int) -> Array:
        """Return float64 ``(N, *shape)``, uniform in (low, high)."""
        return low + (high - low) * self.uniform(*shape)

    def normal(self, mean: float, deviation: float, *shape: int) -> Array:
        """Return float64 ``(N, *shape)``, normal, by the inverse of the distribution function."""
        values: Array = mean + deviation * ndtri(self.uniform(*shape))
        return values

    def integers(self, high: int, *shape: int) -> Array:
        """Return int64 ``(N, *shape)``, uniform in 0..high-1."""
        return (self.uniform(*shape) * high).astype(np.int64)
