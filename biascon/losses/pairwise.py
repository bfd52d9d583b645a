"""The anchors of a batch, and exact sums over pairs of anchors. Every pairwise loss is built on them.

N = B * V anchors have N x N similarities s_ij = z_i . z_j / T. Up to ``DENSE`` anchors the full matrix is
computed. Beyond, blocks of rows are computed, and computed again in the backward pass
(``biascon.losses.blockwise``), so that memory grows linearly with N.

Log-sum-exps have three implementations that give the same numbers up to rounding. On a CPU, up to ``DENSE``
anchors are one block with its own backward pass (``biascon.losses.dense``), and more anchors are blocks of
rows. On other devices, both would wait for the device. Plain operations on the full matrix are therefore used
there up to ``PLAIN`` anchors, and up to ``DENSE`` anchors while ``torch.compile`` traces.

Half-precision embeddings are cast to float32 before the first product, so that sums over thousands of pairs
keep their digits. float64 stays float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from biascon.errors import UsageError
from biascon.losses import blockwise, dense
from biascon.utils.memory import release_freed_memory

DENSE = {"cpu": 1024, "mps": 1024, "cuda": 4096}  # largest N whose full similarity matrix is kept
TINY = 1e-6  # vectors of a norm that is not larger have no direction
PLAIN = {"cpu": 0, "mps": 1024, "cuda": 4096}  # largest N whose log-sum-exps are plain operations

Key = Literal["labels", "bias", "image"]
Rows = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LogSums:
    """Log-sum-exps of an anchor's similarities, each ``(N,)``, and the sizes of the sets.

    Attributes:
        positives: log sum exp s_ij over the other anchors with i's key; 0 if there is none.
        negatives: log sum exp s_ij over the anchors with another key; 0 if there is none.
        all: log sum exp s_ij over all other anchors, A(i); 0 if there is none.
        similarity_sum: Sum of s_ij over the other anchors with i's key.
        n_positives: Number of other anchors with i's key.
        n_negatives: Number of anchors with another key.
    """

    positives: Tensor
    negatives: Tensor
    all: Tensor
    similarity_sum: Tensor
    n_positives: Tensor
    n_negatives: Tensor


@dataclass(frozen=True)
class Anchors:
    """The N = B * V anchors of a batch.

    Attributes:
        z: ``(N, D)`` embeddings, float32 or float64.
        temperature: T.
        image: ``(N,)`` the index of the image of each anchor.
        labels: ``(N,)`` integers, or None.
        bias: ``(N,)`` integers, or None.
        dense: Whether the N x N similarities may be kept.
        plain: Whether log-sum-exps are plain operations on the N x N similarities.
    """

    z: Tensor
    temperature: float
    image: Tensor
    labels: Tensor | None
    bias: Tensor | None
    dense: bool
    plain: bool
    _ids: dict[tuple[Key, ...], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return self.z.shape[0]

    def ids_of(self, name: Key) -> Tensor:
        """Return the ``(N,)`` integers of one key.

        Raises:
            UsageError: The batch has no such integers.
        """
        ids: Tensor | None = getattr(self, name)
        if ids is None:
            noun = "labels" if name == "labels" else "the bias attribute"
            raise UsageError(f"this loss needs {noun}, but got None")
        return ids

    def similarities(self) -> Tensor:
        """Return ``(N, N)`` s_ij."""
        return _similarities(self.z, self.z, self.temperature)

    def same_mask(self, *keys: Key) -> Tensor:
        """Return bool ``(N, N)``: whether j is another anchor than i and has the same value of every key."""
        n = len(self)
        mask = ~torch.eye(n, dtype=torch.bool, device=self.z.device)
        for name in keys:
            ids = self.ids_of(name)
            mask = mask & (ids[:, None] == ids[None, :])
        return mask

    def log_sums(self, *keys: Key) -> LogSums:
        """Return log-sum-exps over the anchors with the same keys and over those with other keys.

        Without keys, all anchors count as the same.
        """
        n = len(self)
        if not self.plain:
            return self._log_sums_by_key(self.ids(*keys))
        s, mask = self.similarities(), self.same_mask(*keys)
        off_diagonal = ~torch.eye(n, dtype=torch.bool, device=self.z.device)
        n_positives = mask.sum(dim=1)
        return LogSums(
            positives=log_sum_exp(s, mask),
            negatives=log_sum_exp(s, off_diagonal & ~mask),
            all=log_sum_exp(s, off_diagonal),
            similarity_sum=torch.where(mask, s, 0.0).sum(dim=1),
            n_positives=n_positives,
            n_negatives=n - 1 - n_positives,
        )

    def _log_sums_by_key(self, ids: Tensor) -> LogSums:
        arguments, n = (self.z, ids, self.temperature), len(self)
        if self.dense and can_read_without_sync(self.z.device):
            sums = dense.pair_sums(*arguments)
            if sums is not None:
                return LogSums(*sums, n_negatives=n - 1 - sums[-1])
        positives, negatives, both, n_positives = blockwise.log_sums(*arguments)
        total, _ = blockwise.group_sums(*arguments)
        return LogSums(positives, negatives, both, total, n_positives, n - 1 - n_positives)

    def similarity_sums(self, *keys: Key) -> tuple[Tensor, Tensor]:
        """Return ``(N,)`` the sum of s_ij over the other anchors with i's keys, and ``(N,)`` their number.

        The sum is linear in z_j. One sum of vectors for each value of the keys is therefore enough, and no
        pair is visited.
        """
        if self.plain:
            mask = self.same_mask(*keys)
            return torch.where(mask, self.similarities(), 0.0).sum(dim=1), mask.sum(dim=1)
        return blockwise.group_sums(self.z, self.ids(*keys), self.temperature)

    def ids(self, *keys: Key) -> Tensor:
        """Return ``(N,)`` int64 in 0..G-1. Two anchors have the same number if all their keys are equal."""
        if keys not in self._ids:
            ids = self.image if keys == ("image",) else torch.zeros_like(self.image)
            for k, name in enumerate(() if keys == ("image",) else keys):
                values, codes = torch.unique(self.ids_of(name), return_inverse=True)
                # One number for each pair, numbered again so that products stay below N squared.
                pairs = ids * len(values) + codes
                ids = torch.unique(pairs, return_inverse=True)[1] if k else codes
            self._ids[keys] = ids
        return self._ids[keys]

    def map_rows(self, function: Rows, *keys: Key) -> Tensor:
        """Return ``(N, ...)``: a function of the similarities of each anchor to the anchors with its keys.

        Args:
            function: ``function(s, mask, rows, columns)`` returns ``(R, ...)``. ``s`` are the similarities
                ``(R, C)``. ``mask`` is bool ``(R, C)``: whether the column is another anchor with the keys of
                the row. ``rows`` ``(R,)`` and ``columns`` ``(C,)`` are the indices of the anchors. The
                function is called once with all anchors, or once for each block of rows and again for the
                gradient.
            keys: The keys that must be equal. Without keys, the columns are all anchors.
        """
        if self.dense:
            anchors = torch.arange(len(self), device=self.z.device)
            return function(self.similarities(), self.same_mask(*keys), anchors, anchors)
        if self.z.device.type == "cpu":
            release_freed_memory()
        ids = self.ids(*keys)
        blocks, order = [], torch.argsort(ids, stable=True)
        for row_slice, column_slice in blockwise.iter_blocks(ids[order], self.z):

            def map_block(
                rows: Tensor = order[row_slice], columns: Tensor = order[column_slice]
            ) -> Tensor:
                s = _similarities(self.z[rows], self.z[columns], self.temperature)
                same = ids[rows][:, None] == ids[columns][None, :]
                mask = same & (rows[:, None] != columns[None, :])
                return function(s, mask, rows, columns)

            blocks.append(checkpoint(map_block, use_reentrant=False, preserve_rng_state=False))
        return torch.cat(blocks)[torch.argsort(order)]


def make_anchors(
    z: Tensor, labels: Tensor | None, temperature: float = 1.0, bias: Tensor | None = None
) -> Anchors:
    """Return the anchors of a batch.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings, any floating dtype.
        labels: ``(B,)`` integers, or None for a loss without labels.
        temperature: T > 0.
        bias: ``(B,)`` integers, or None for a loss without the bias attribute.

    Raises:
        UsageError: A shape or dtype does not fit.
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
    """Return float16 and bfloat16 as float32, and every other dtype unchanged."""
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def unit_vectors(x: Tensor) -> Tensor:
    """Return the vectors of the last dimension divided by their norms; half precision becomes float32.

    A vector whose norm is at most 1e-6 has no direction. It becomes a vector of zeros with a zero gradient.
    """
    wide = upcast_half(x)
    norm = wide.norm(dim=-1, keepdim=True)
    has_direction = norm > TINY
    return torch.where(has_direction, wide / torch.where(has_direction, norm, 1.0), 0.0)


def check_batch(
    z: Tensor, labels: Tensor | None, bias: Tensor | None = None, last: str = "D"
) -> None:
    """Refuse a batch whose shapes or dtypes do not fit.

    Args:
        z: Expected as floating point ``(B, V, last)``.
        labels: Expected as integers ``(B,)``, or None.
        bias: Expected as integers ``(B,)``, or None.
        last: The name of the last dimension, for the message.

    Raises:
        UsageError: The message holds the expected shape or dtype and the one of the batch.
    """
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
    """Refuse a tensor of another shape. A side that is a letter stands for any length.

    Raises:
        UsageError: The message holds the expected shape and the shape of the tensor.
    """
    got = tuple(values.shape)
    fits = len(got) == len(sides) and all(
        isinstance(side, str) or side == n for side, n in zip(sides, got, strict=True)
    )
    if not fits:
        expected = ", ".join(map(str, sides)) + "," * (len(sides) == 1)
        raise UsageError(f"expected {name} of shape ({expected}), but got {got}")


def can_read_without_sync(device: torch.device) -> bool:
    """Whether the host can read a tensor of the device without waiting for work on the device."""
    return device.type == "cpu" and not torch.compiler.is_compiling()


def log_sum_exp(s: Tensor, mask: Tensor) -> Tensor:
    """Return ``(N,)`` log sum over the mask of exp s, row by row.

    A row with an empty mask gives 0, without a NaN in the value or in the gradient.

    Args:
        s: float ``(N, N)``.
        mask: bool ``(N, N)``.
    """
    filled = mask.any(dim=1)
    inside = mask | ~filled[:, None]
    return torch.where(filled, s.masked_fill(~inside, -torch.inf).logsumexp(dim=1), 0.0)


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``(R,)`` the mean of each row over its mask, 0 for a row with an empty mask."""
    return torch.where(mask, values, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def mean_of_anchors(values: Tensor, counted: Tensor) -> Tensor:
    """Return the scalar mean over the counted anchors, 0 with a zero gradient if no anchor counts."""
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)


def _similarities(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    with torch.autocast(device_type=a.device.type, enabled=False):
        return a @ b.T / temperature
