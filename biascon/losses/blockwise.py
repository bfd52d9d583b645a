"""The row-blocked engine: exact log-sum-exps over N x N pairs with memory linear in N.

Anchors are sorted by key. Pairs with equal keys then lie in a few columns beside the diagonal (the slab), and
a mask is needed in the slab only. A block of rows of the similarities S is computed, reduced and freed. The
backward pass computes the block again. Let G be the gradient with respect to S. Since S is symmetric, one
product of G + G^T with z gives the gradient:

    dL/dz_i = 1/T sum_j (w_ij + w_ji) z_j,    w_ij = g_i exp(s_ij - lse_i).

The forward and the backward pass together take three products of 2 N^2 D operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CACHE = 1 << 20  # elements of a block: 4 MiB of float32 fit in the cache of a core
SPAN = {torch.float32: 80.0, torch.float64: 600.0}  # exp(-SPAN) is still a normal number


def block_rows(n: int, z: Tensor) -> int:
    """Return the number of rows of N columns that are computed at a time.

    On a CPU, a block fits in the cache. On a GPU, a block takes at most an eighth of the free memory.
    """
    elements = CACHE
    if z.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(z.device)
        elements = max(CACHE, min(64 * CACHE, free // (8 * z.element_size())))
    return max(64, min(n, elements // max(n, 1)))


def iter_blocks(ids: Tensor, z: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of rows, and for each block the slab: the columns that hold the keys of its rows.

    Args:
        ids: ``(N,)`` sorted integers.
        z: ``(N, D)``, for the size of a block.
    """
    n = len(ids)
    size = block_rows(n, z)
    starts = list(range(0, n, size))
    stops = [min(n, row + size) for row in starts]
    slab_starts = torch.searchsorted(ids, ids[starts]).tolist()
    slab_stops = torch.searchsorted(ids, ids[[row - 1 for row in stops]], right=True).tolist()
    for start, stop, slab_start, slab_stop in zip(
        starts, stops, slab_starts, slab_stops, strict=True
    ):
        yield slice(start, stop), slice(slab_start, slab_stop)


def log_sums(z: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log-sum-exps of similarities, and the number of other anchors with the same key.

    Args:
        z: ``(N, D)`` float32 or float64, N >= 1.
        ids: ``(N,)`` the key of each anchor, 0..G-1.
        temperature: T > 0.

    Returns:
        Four ``(N,)`` tensors: the log-sum-exps over the other anchors with the same key, over the anchors
        with another key, and over all other anchors; and int64 the number of other anchors with the same key.
        A log-sum-exp over no anchor is 0 with a zero gradient.
    """
    order = torch.argsort(ids, stable=True)
    inverse = torch.argsort(order)
    ids = ids[order]
    n_same = torch.bincount(ids)[ids] - 1
    same, other, both = _LogSums.apply(z[order], ids, n_same, temperature)  # type: ignore[no-untyped-call]
    return same[inverse], other[inverse], both[inverse], n_same[inverse]


def group_sums(z: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return ``(N,)`` sums of s_ij over the other anchors with i's key, and int64 ``(N,)`` their number.

    The sum is z_i . (sum_j z_j - z_i) / T. It is taken in float64 on devices that have float64, because
    losses subtract such sums from each other.
    """
    return _GroupSums.apply(z, ids, temperature)  # type: ignore[no-any-return, no-untyped-call]


class _GroupSums(torch.autograd.Function):
    """The sums of ``group_sums``, with their own backward pass.

    With the total t_c of the vectors of a key c, dL/dz_i = 1/T (g_i t_c + sum_{k in c} g_k z_k - 2 g_i z_i).
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        wide = z if z.device.type == "mps" else z.double()
        n = torch.bincount(ids)
        total = torch.zeros(len(n), z.shape[1], dtype=wide.dtype, device=z.device)
        total.index_add_(0, ids, wide)
        own = total[ids]  # (N, D)
        others = n[ids] - 1
        value = torch.linalg.vecdot(wide, own - wide).div_(temperature).to(z.dtype)
        ctx.save_for_backward(wide, ids, own)
        ctx.temperature, ctx.n_keys = temperature, len(n)
        ctx.mark_non_differentiable(others)
        return value, others

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        wide, ids, own = ctx.saved_tensors
        weight = grad.to(wide.dtype)[:, None] / ctx.temperature
        weighted = wide * weight
        total = torch.zeros(ctx.n_keys, wide.shape[1], dtype=wide.dtype, device=wide.device)
        total.index_add_(0, ids, weighted)
        gradient = torch.addcmul(total[ids], own, weight).sub_(weighted, alpha=2)
        return gradient.to(grad.dtype), None, None


class _LogSums(torch.autograd.Function):
    """The three log-sum-exps of sorted anchors (same key, another key, all), with its own backward pass."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, ids: Tensor, n_same: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = len(z)
        has_same, has_other = n_same > 0, n_same < n - 1
        top = float((z * z).sum(dim=1).max()) / temperature
        # With one shift for all rows, exp(s - shift) is symmetric: it serves rows and columns. If that could
        # underflow, the shift is None and each row has its own maximum.
        ctx.shift = top if 2 * top <= SPAN[z.dtype] else None
        ctx.temperature = temperature
        scaled = (z / temperature).T.contiguous()
        out = torch.zeros(3, n, dtype=z.dtype, device=z.device)
        for rows, columns, s in _similarity_blocks(z, ids, scaled):
            mask = ids[rows, None] == ids[None, columns]
            if ctx.shift is None:
                s[:, rows].diagonal().fill_(-torch.inf)
                out[2, rows] = s.logsumexp(dim=1)
                out[0, rows] = s[:, columns].masked_fill(~mask, -torch.inf).logsumexp(dim=1)
                s[:, columns].masked_fill_(mask, -torch.inf)
                out[1, rows] = s.logsumexp(dim=1)
                continue
            e = s.sub_(ctx.shift).exp_()
            e[:, rows].diagonal().zero_()
            slab, weight = e[:, columns], mask.to(z.dtype)
            same = torch.linalg.vecdot(slab, weight)
            other_in_slab = torch.linalg.vecdot(slab, 1 - weight)
            left, right = e[:, : columns.start].sum(dim=1), e[:, columns.stop :].sum(dim=1)
            other = other_in_slab + left + right
            out[:, rows] = torch.stack((same, other, same + other)).log_().add_(ctx.shift)
        same, other, both = out
        same = torch.where(has_same, same, 0.0)
        other = torch.where(has_other, other, 0.0)
        both = torch.where(has_same | has_other, both, 0.0)
        ctx.save_for_backward(z, ids, n_same, same, other, both)
        return same, other, both

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        z, ids, n_same, *sums = ctx.saved_tensors
        n, shift = len(z), ctx.shift
        not_empty = (n_same > 0, n_same < n - 1, torch.full_like(ids, n > 1, dtype=torch.bool))
        g = [torch.where(has, grad, 0.0) for has, grad in zip(not_empty, grads, strict=True)]
        scaled = (z / ctx.temperature).T.contiguous()
        gradient = torch.empty_like(z)
        if shift is not None:
            # w_ij + w_ji = exp(s_ij - shift) (a_i + a_j), with one a for equal keys and one for other keys.
            a_same, a_other, a_both = (
                grad * torch.exp(shift - lse) for grad, lse in zip(g, sums, strict=True)
            )
            inner, outer = a_same + a_both, a_other + a_both
        else:
            lse = [
                torch.where(has, value, torch.inf)[:, None]
                for has, value in zip(not_empty, sums, strict=True)
            ]
        for rows, columns, s in _similarity_blocks(z, ids, scaled):
            mask = ids[rows, None] == ids[None, columns]
            if shift is not None:
                w = s.sub_(shift).exp_()
                left, right = slice(0, columns.start), slice(columns.stop, n)
                for part in (left, right):
                    w[:, part].mul_(outer[rows, None] + outer[None, part])
                pair = torch.where(
                    mask,
                    inner[rows, None] + inner[None, columns],
                    outer[rows, None] + outer[None, columns],
                )
                w[:, columns].mul_(pair)
            else:
                terms = [
                    torch.exp(s - value[rows]) * grad[rows, None] + torch.exp(s - value.T) * grad
                    for value, grad in zip(lse, g, strict=True)
                ]
                same_key = torch.zeros_like(s, dtype=torch.bool)
                same_key[:, columns] = mask
                w = torch.where(same_key, terms[0], terms[1]) + terms[2]
            w[:, rows].diagonal().zero_()
            torch.mm(w, z, out=gradient[rows])
        return gradient.div_(ctx.temperature), None, None, None


def _similarity_blocks(
    z: Tensor, ids: Tensor, scaled: Tensor
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield blocks of rows with their slab and their similarities. All blocks share one buffer."""
    n = len(z)
    buffer = torch.empty(block_rows(n, z), n, dtype=z.dtype, device=z.device)
    for rows, columns in iter_blocks(ids, z):
        s = buffer[: rows.stop - rows.start]
        torch.mm(z[rows], scaled, out=s)
        yield rows, columns, s
