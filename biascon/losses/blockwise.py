"""The row-blocked engine: exact log-sum-exps over N x N pairs with memory linear in N.

Anchors are sorted by group, so that the pairs of one group lie in a few columns (the slab) beside the
diagonal, and only there a mask is needed. A block of rows is multiplied out, reduced and forgotten; the
backward pass computes it again. Since S is symmetric, so is the sum G + G^T of the gradient with respect
to S and its transpose, and one product with z gives the whole gradient:

    dL/dz_i = 1/T sum_j (w_ij + w_ji) z_j,    w_ij = g_i exp(s_ij - lse_i).

Three products of 2 N^2 D operations in all, forward and backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CACHE = 1 << 20  # elements of a block: 4 MiB of float32 stay in the cache of a core
SPAN = {torch.float32: 80.0, torch.float64: 600.0}  # exp of minus that is still a normal number


def block_rows(n: int, z: Tensor) -> int:
    """Return how many rows of N columns are computed at a time.

    On the CPU a block is to stay in the cache; on a GPU it takes at most an eighth of the free memory.
    """
    elements = CACHE
    if z.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(z.device)
        elements = max(CACHE, min(64 * CACHE, free // (8 * z.element_size())))
    return max(64, min(n, elements // max(n, 1)))


def iter_blocks(ids: Tensor, z: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of rows of sorted groups, with the slab of columns that holds their groups."""
    n = len(ids)
    size = block_rows(n, z)
    first = list(range(0, n, size))
    last = [min(n, row + size) for row in first]
    low = torch.searchsorted(ids, ids[first]).tolist()
    high = torch.searchsorted(ids, ids[[row - 1 for row in last]], right=True).tolist()
    for a, b, c, d in zip(first, last, low, high, strict=True):
        yield slice(a, b), slice(c, d)


def log_sums(z: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log-sum-exps over the same group, the other groups, and all others; and group sizes - 1.

    Args:
        z: ``(N, D)`` float32 or float64, N >= 1.
        ids: ``(N,)`` group numbers.
        temperature: T > 0.

    Returns:
        Four ``(N,)`` tensors; a log-sum-exp over nothing is 0 with a zero gradient.
    """
    order = torch.argsort(ids, stable=True)
    back = torch.argsort(order)
    ids = ids[order]
    n_same = torch.bincount(ids)[ids] - 1
    same, other, every = _LogSums.apply(z[order], ids, n_same, temperature)  # type: ignore[no-untyped-call]
    return same[back], other[back], every[back], n_same[back]


def group_sums(z: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return ``(N,)`` sum of s_ij over the others of i's group, as z_i . (sum_j z_j - z_i) / T; and n.

    Sums are taken in float64 where the device has it: losses subtract them from each other.
    """
    wide = z if z.device.type == "mps" else z.double()
    n = torch.bincount(ids)
    total = torch.zeros(len(n), z.shape[1], dtype=wide.dtype, device=z.device)
    total = total.index_add(0, ids, wide)
    value = (wide * (total[ids] - wide)).sum(dim=1) / temperature
    return value.to(z.dtype), n[ids] - 1


class _LogSums(torch.autograd.Function):
    """The three log-sum-exps of sorted anchors, with a hand-written backward pass."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, ids: Tensor, n_same: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = len(z)
        has_same, has_other = n_same > 0, n_same < n - 1
        top = float((z * z).sum(dim=1).max()) / temperature
        # With a common shift, exp s serves rows and columns; else each row has its own.
        ctx.shift = top if 2 * top <= SPAN[z.dtype] else None
        ctx.temperature = temperature
        scaled = (z / temperature).T.contiguous()
        out = torch.zeros(3, n, dtype=z.dtype, device=z.device)
        for rows, columns, s in _rows(z, ids, scaled):
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
            inside = torch.linalg.vecdot(slab, 1 - weight)
            other = inside + e[:, : columns.start].sum(dim=1) + e[:, columns.stop :].sum(dim=1)
            out[:, rows] = torch.stack((same, other, same + other)).log_().add_(ctx.shift)
        same, other, every = out
        same = torch.where(has_same, same, 0.0)
        other = torch.where(has_other, other, 0.0)
        every = torch.where(has_same | has_other, every, 0.0)
        ctx.save_for_backward(z, ids, n_same, same, other, every)
        return same, other, every

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        z, ids, n_same, *sums = ctx.saved_tensors
        n, shift = len(z), ctx.shift
        there = (n_same > 0, n_same < n - 1, torch.full_like(ids, n > 1, dtype=torch.bool))
        g = [torch.where(has, grad, 0.0) for has, grad in zip(there, grads, strict=True)]
        scaled = (z / ctx.temperature).T.contiguous()
        gradient = torch.empty_like(z)
        if shift is not None:
            # w_ij + w_ji = exp(s_ij - shift) (a_i + a_j), a of the same or of the other groups.
            a_same, a_other, a_every = (
                grad * torch.exp(shift - lse) for grad, lse in zip(g, sums, strict=True)
            )
            inner, outer = a_same + a_every, a_other + a_every
        else:
            lse = [
                torch.where(has, value, torch.inf)[:, None]
                for has, value in zip(there, sums, strict=True)
            ]
        for rows, columns, s in _rows(z, ids, scaled):
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
                whole = torch.zeros_like(s, dtype=torch.bool)
                whole[:, columns] = mask
                w = torch.where(whole, terms[0], terms[1]) + terms[2]
            w[:, rows].diagonal().zero_()
            torch.mm(w, z, out=gradient[rows])
        return gradient.div_(ctx.temperature), None, None, None


def _rows(z: Tensor, ids: Tensor, scaled: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield blocks of rows with their slab and their similarities, all in one buffer."""
    n = len(z)
    buffer = torch.empty(block_rows(n, z), n, dtype=z.dtype, device=z.device)
    for rows, columns in iter_blocks(ids, z):
        s = buffer[: rows.stop - rows.start]
        torch.mm(z[rows], scaled, out=s)
        yield rows, columns, s
