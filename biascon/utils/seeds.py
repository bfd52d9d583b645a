"""Random generators by purpose: every draw comes from a generator of (seed, purpose).

No draw comes from a global generator. Two purposes never share a stream, so that a new draw for one purpose
does not change the draws for another. A position in training, such as the epoch, is part of the purpose. A
checkpoint therefore holds no random state.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, purpose: str) -> int:
    """Return a 63-bit seed: the first eight bytes of SHA-256 of ``"biascon/<seed>/<purpose>"``.

    >>> derive_seed(0, "order/1") == derive_seed(0, "order/1")
    True
    >>> derive_seed(0, "order/1") == derive_seed(0, "order/2")
    False
    """
    digest = hashlib.sha256(f"biascon/{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def permutation(n: int, seed: int, purpose: str) -> npt.NDArray[np.int64]:
    """Return a permutation of ``range(n)``, equal on every machine and for every NumPy version.

    The permutation sorts raw words of PCG64, because NumPy guarantees their stream. The algorithm of
    ``Generator.permutation`` may change.
    """
    words = np.random.PCG64(derive_seed(seed, purpose)).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64)


def numpy_generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a NumPy generator for one purpose."""
    return np.random.default_rng(derive_seed(seed, purpose))


def torch_generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator on ``device`` for one purpose."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose))
