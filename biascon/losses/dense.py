"""Sums over the pairs of a batch whose similarities fit in one block.

The functions compute what those of ``biascon.losses.blockwise`` compute, with fewer operations: anchors are
not sorted, and the exponentials of the forward pass are kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from biascon.losses.blockwise import SPAN

Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def pair_sums(z: Tensor, ids: Tensor, temperature: float) -> Sums | None:
    """Return log-sum-exps and sums of similarities, and the number of other anchors with the same key.

    Args:
        z: ``(N, D)`` float32 or float64, N >= 1.
        ids: ``(N,)`` the key of each anchor.
        temperature: T > 0.

    Returns:
        Five ``(N,)`` tensors: the log-sum-exps over the other anchors with the same key, over the anchors
        with another key, and over all other anchors; the sum of s_ij over the other anchors with the same
        key; and int64 the number of other anchors with the same key. A log-sum-exp over no anchor is 0 with
        a zero gradient. None in place of the tensors if the similarities span such a range that one shift
        for all rows could underflow.
    """
    points = z.detach()
    s = torch.mm(points / temperature, points.T)
    shift = float(s.diagonal().max())
    if not 2 * shift <= SPAN[z.dtype]:
        return None
    sums: Sums = _PairSums.apply(z, s, ids, shift, temperature)  # type: ignore[no-untyped-call]
    return sums


class _PairSums(torch.autograd.Function):
    """The sums of ``pair_sums``, with their own backward pass.

    With one shift for all rows, e_ij = exp(s_ij - shift) is symmetric. The gradient with respect to z_i is
    then 1/T sum_j w_ij z_j with w_ij = e_ij (a_i + a_j) + p_ij (b_i + b_j). There is one a for equal keys and
    one for other keys. p_ij is 1 for two anchors with the same key, else 0. b is the gradient of the sum of
    similarities.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, s: Tensor, ids: Tensor, shift: float, temperature: float
    ) -> Sums:
        n = len(z)
        is_positive = (ids[:, None] == ids).fill_diagonal_(False)
        weight = is_positive.to(z.dtype)  # (N, N)
        n_positives = is_positive.sum(dim=1)
        similarity_sum = torch.linalg.vecdot(s, weight)
        e = s.sub_(shift).exp_().fill_diagonal_(0.0)
        sums = torch.empty(3, n, dtype=z.dtype, device=z.device)
        torch.linalg.vecdot(e, weight, out=sums[0])
        torch.linalg.vecdot(e, 1 - weight, out=sums[1])
        torch.add(sums[0], sums[1], out=sums[2])
        is_empty = sums == 0  # e is never 0, except on the diagonal
        logs = sums.log().add_(shift).masked_fill_(is_empty, 0.0)
        ctx.save_for_backward(z, e, is_positive, (1 / sums).masked_fill_(is_empty, 0.0))
        ctx.temperature = temperature
        ctx.mark_non_differentiable(n_positives)
        ctx.set_materialize_grads(False)
        return logs[0], logs[1], logs[2], similarity_sum, n_positives

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None, None, None]:
        z, e, is_positive, inverse_sums = ctx.saved_tensors
        if all(grad is None for grad in grads):
            return None, None, None, None, None
        a_same, a_other, a_both = (
            torch.zeros_like(inverse) if grad is None else grad * inverse
            for grad, inverse in zip(grads[:3], inverse_sums, strict=True)
        )
        inner, outer = a_same + a_both, a_other + a_both
        w = torch.where(is_positive, inner[:, None] + inner, outer[:, None] + outer).mul_(e)
        b = grads[3]
        if b is not None:
            w += torch.where(is_positive, b[:, None] + b, 0.0)
        return torch.mm(w, z).div_(ctx.temperature), None, None, None, None
