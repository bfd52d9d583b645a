"""Randomness by purpose: every draw comes from a generator seeded by (seed, purpose), never a global one.

Two purposes never share a stream, so adding a draw for one changes no other, and a position in
training (an epoch, say) is part of the purpose: nothing random has to be kept in a checkpoint.
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

    >>> derive(0, "order/1") == derive(0, "order/1"), derive(0, "order/1") == derive(0, "order/2")
    (True, False)
    """
    digest = hashlib.sha256(f"biascon/{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def permutation(n: int, seed: int, purpose: str) -> npt.NDArray[np.int64]:
    """Return a permutation of ``range(n)``, the same on every machine and NumPy version.

    It sorts raw PCG64 words, whose stream NumPy guarantees, rather than calling
    ``Generator.permutation``, whose algorithm NumPy may change.
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
