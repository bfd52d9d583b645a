"""SupCon (Khosla et al., NeurIPS 2020): every anchor of the same label is a positive."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import anchors, log_sum_exp, mean_of_anchors, mean_over


def supcon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
    form: str = "out",
) -> Tensor:
    """Return the mean over anchors of the supervised contrastive loss, in either of its two forms.

    ``out``: -mean_{p in P(i)} [s_ip - log sum_{a in A(i)} exp s_ia]: the sum outside the logarithm.
    ``in``: -[log mean_{p in P(i)} exp s_ip - log sum_{a in A(i)} exp s_ia]: inside it.

    Args:
        z: ``(B, V, D)`` L2-normalised embeddings.
        labels: ``(B,)`` integers.
        bias: Ignored.
        temperature: T > 0.
        form: ``"out"`` or ``"in"``.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    batch = anchors(z, labels, temperature)
    normaliser, _ = log_sum_exp(batch.s, batch.other)
    if form == "in":
        total, counted = log_sum_exp(batch.s, batch.positives)
        attraction = total - torch.log(batch.positives.sum(dim=1).clamp(min=1).to(total.dtype))
    else:
        attraction, counted = mean_over(batch.s, batch.positives)
    return mean_of_anchors(normaliser - attraction, counted)
