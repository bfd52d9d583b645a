"""What every pairwise loss shares: the anchors of a batch, and exact sums over their pairs.

N = B * V anchors have N x N similarities s_ij = z_i . z_j / T. Up to ``DENSE`` anchors the whole matrix is
computed. Beyond that, everything runs by blocks of rows that are computed again in the backward pass
(``biascon.losses.blockwise``), so memory grows linearly with N. On a CPU the log-sum-exps are faster by
blocks for every N. On other devices blocks would wait for the device; up to ``PLAIN`` anchors, and whenever
``torch.compile`` traces, they are therefore plain operations on the matrix. All ways give the same numbers.
Half-precision embeddings are raised to float32 before the first product, so that sums over thousands of pairs
keep their digits; float64 stays float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from biascon.errors import UsageError
from biascon.losses import blockwise
from biascon.utils.memory import release_freed_memory

DENSE = {"cpu": 1024, "mps": 1024, "cuda": 4096}  # most anchors whose similarities are kept whole
PLAIN = {"cpu": 0, "mps": 1024, "cuda": 4096}  # and whose log-sum-exps are plain operations on them

Key = Literal["labels", "bias", "image"]
Rows = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LogSums:
    """Log-sum-exps of an anchor's similarities, each ``(N,)``, and the sizes of the sets.

    Attributes:
        same: log sum exp s_ij over the other anchors of i's group; 0 where there is none.
        other: The same over the anchors of other groups.
        every: The same over all other anchors, A(i).
        n_same: How many other anchors i's group has.
        n_other: How many anchors are in other groups.
    """

    positives: Tensor
    negatives: Tensor
    all: Tensor
    n_positives: Tensor
    n_negatives: Tensor


@dataclass(frozen=True)
class Anchors:
    """The N = B * V anchors of a batch.

    Attributes:
        z: ``(N, D)`` embeddings, float32 or float64.
        temperature: T.
        image: ``(N,)`` the image that each anchor is a view of.
        labels: ``(N,)`` or None.
        bias: ``(N,)`` or None.
        dense: Whether the N x N similarities may be kept.
        plain: Whether log-sum-exps are plain operations on them.
    """

    z: Tensor
    temperature: float
    image: Tensor
    labels: Tensor | None
    bias: Tensor | None
    dense: bool
    plain: bool

    def __len__(self) -> int:
        return self.z.shape[0]

    def ids_of(self, name: Key) -> Tensor:
        """Return ``(N,)`` integers by which anchors are grouped.

        Raises:
            UsageError: The batch lacks them.
        """
        found: Tensor | None = getattr(self, name)
        if found is None:
            noun = "labels" if name == "labels" else "the bias attribute"
            raise UsageError(f"this loss needs {noun}, but got None")
        return found

    def similarities(self) -> Tensor:
        """Return ``(N, N)`` s_ij."""
        return _similarities(self.z, self.z, self.temperature)

    def same_mask(self, *keys: Key) -> Tensor:
        """Return bool ``(N, N)``: j is another anchor than i with the same value of every key."""
        n = len(self)
        mask = ~torch.eye(n, dtype=torch.bool, device=self.z.device)
        for name in keys:
            ids = self.ids_of(name)
            mask = mask & (ids[:, None] == ids[None, :])
        return mask

    def log_sums(self, *keys: Key) -> LogSums:
        """Return log-sum-exps over the anchors of the same group and of the others.

        Without keys all anchors are one group.
        """
        n = len(self)
        if not self.plain:
            same, other, every, n_same = blockwise.log_sums(
                self.z, self.ids(*keys), self.temperature
            )
            return LogSums(same, other, every, n_same, n - 1 - n_same)
        s, mask = self.similarities(), self.same_mask(*keys)
        off = ~torch.eye(n, dtype=torch.bool, device=self.z.device)
        n_same = mask.sum(dim=1)
        return LogSums(
            positives=log_sum_exp(s, mask),
            negatives=log_sum_exp(s, off & ~mask),
            all=log_sum_exp(s, off),
            n_positives=n_same,
            n_negatives=n - 1 - n_same,
        )

    def similarity_sums(self, *keys: Key) -> tuple[Tensor, Tensor]:
        """Return ``(N,)`` the sum of s_ij over the other anchors of i's group, and how many they are.

        The sum is linear in z_j, so that one vector a group is enough: no pair is visited.
        """
        if self.plain:
            mask = self.same_mask(*keys)
            return torch.where(mask, self.similarities(), 0.0).sum(dim=1), mask.sum(dim=1)
        return blockwise.group_sums(self.z, self.ids(*keys), self.temperature)

    def ids(self, *keys: Key) -> Tensor:
        """Return ``(N,)`` group numbers 0..G-1: two anchors share one if they share every key."""
        if not keys:
            return torch.zeros_like(self.image)
        found = torch.zeros_like(self.image)
        for name in keys:
            values, number = torch.unique(self.ids_of(name), return_inverse=True)
            # Of a pair of numbers, one; renumbered, so that it stays below N squared.
            _, found = torch.unique(found * len(values) + number, return_inverse=True)
        return found

    def map_rows(self, function: Rows, *keys: Key) -> Tensor:
        """Return ``(N, ...)``: a function of each anchor's similarities to its group.

        Args:
            function: ``function(s, mask, rows, columns)`` with similarities ``(R, C)``, bool ``(R, C)``
                that is true where the column is another anchor of the row's group, and the numbers of
                the anchors in rows and columns; it returns ``(R, ...)``. It is called with all
                anchors, or with a block of rows at a time, and then once more for the gradient.
            keys: What makes a group; without keys the columns are all anchors.
        """
        everyone = torch.arange(len(self), device=self.z.device)
        if self.dense:
            return function(self.similarities(), self.same_mask(*keys), everyone, everyone)
        if self.z.device.type == "cpu":
            release_freed_memory()
        ids = self.ids(*keys)
        parts, order = [], torch.argsort(ids, stable=True)
        for rows, columns in blockwise.iter_blocks(ids[order], self.z):
            here, there = order[rows], order[columns]

            def part(here: Tensor = here, there: Tensor = there) -> Tensor:
                s = _similarities(self.z[here], self.z[there], self.temperature)
                mask = (ids[here][:, None] == ids[there][None, :]) & (
                    here[:, None] != there[None, :]
                )
                return function(s, mask, here, there)

            parts.append(checkpoint(part, use_reentrant=False, preserve_rng_state=False))
        result = torch.cat(parts)
        return result[torch.argsort(order)]


def make_anchors(
    z: Tensor, labels: Tensor | None, temperature: float = 1.0, bias: Tensor | None = None
) -> Anchors:
    """Flatten a batch to its anchors.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings, any floating dtype.
        labels: ``(B,)`` integers, or None for a loss without labels.
        temperature: T > 0.
        bias: ``(B,)`` integers, or None for a loss without the bias attribute.

    Raises:
        UsageError: A shape or dtype that does not fit.
    """
    check_batch(z, labels, bias)
    b, v, d = z.shape
    flat, n = upcast_half(z).reshape(b * v, d), b * v
    dense = n <= DENSE.get(z.device.type, 1024)
    plain = n <= PLAIN.get(z.device.type, 1024) or (dense and torch.compiler.is_compiling())
    return Anchors(
        z=flat,
        temperature=temperature,
        image=torch.arange(b, device=z.device).repeat_interleave(v),
        labels=None if labels is None else labels.repeat_interleave(v),
        bias=None if bias is None else bias.repeat_interleave(v),
        dense=dense,
        plain=plain,
    )


def upcast_half(z: Tensor) -> Tensor:
    """Return half precision as float32, and everything else as it is."""
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def check_batch(
    z: Tensor, labels: Tensor | None, bias: Tensor | None = None, last: str = "D"
) -> None:
    """Refuse a batch whose shapes or dtypes do not fit, with what was got and what is expected."""
    check_shape("z", z, "B", "V", last)
    if not z.is_floating_point():
        raise UsageError(f"expected z to be floating point, but got {z.dtype}")
    for name, ids in (("labels", labels), ("bias", bias)):
        if ids is None:
            continue
        check_shape(name, ids, len(z))
        if ids.is_floating_point() or ids.is_complex():
            raise UsageError(f"expected {name} to be integers, but got {ids.dtype}")


def check_shape(name: str, values: Tensor, *sides: int | str) -> None:
    """Refuse a tensor whose shape differs; a side given by a letter may have any length.

    Raises:
        UsageError: With the shape that is expected and the one that was got.
    """
    got = tuple(values.shape)
    fits = len(got) == len(sides) and all(
        isinstance(side, str) or side == n for side, n in zip(sides, got, strict=True)
    )
    if not fits:
        want = ", ".join(map(str, sides)) + "," * (len(sides) == 1)
        raise UsageError(f"expected {name} of shape ({want}), but got {got}")


def can_read_without_sync(device: torch.device) -> bool:
    """Whether a number can be read from a tensor there without waiting for a queue of work."""
    return device.type == "cpu" and not torch.compiler.is_compiling()


def log_sum_exp(s: Tensor, mask: Tensor) -> Tensor:
    """Return ``(N,)`` log sum over the mask of exp s, row by row.

    A row whose mask is empty gives 0, without a NaN in the value or in the gradient.

    Args:
        s: ``(N, N)``.
        mask: ``(N, N)`` bool.
    """
    filled = mask.any(dim=1)
    inside = mask | ~filled[:, None]
    return torch.where(filled, s.masked_fill(~inside, -torch.inf).logsumexp(dim=1), 0.0)


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``(R,)`` the mean of each row over its mask, 0 where that is empty."""
    return torch.where(mask, values, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def mean_of_anchors(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over the counted anchors: a scalar, 0 with a zero gradient if none counts."""
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)


def _similarities(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    with torch.autocast(device_type=a.device.type, enabled=False):
        return a @ b.T / temperature
