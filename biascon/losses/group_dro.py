"""GroupDRO: the worst-group loss with exponentially updated group weights."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import check_shape
from biascon.losses.per_image import per_image_cross_entropy


def groupdro(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    group_weights: Tensor,
    eta: float = 0.01,
) -> Tensor:
    """Return sum_g q_g L_g (Sagawa et al., ICLR 2020); groups are (label, bias) pairs.

    L_g is the mean cross-entropy of the batch's images of group g, 0 for a group that it lacks. First
    q_g is multiplied by exp(eta L_g) and q normalized: an ascent step, without gradient.

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        group_weights: ``(K, M)`` float: q, *updated in place*; it starts uniform over the groups that
            training has and 0 elsewhere.
        eta: Step size of q, at least 0.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    value = per_image_cross_entropy(logits, labels, bias, needs_bias=True)
    check_shape("group_weights", group_weights, logits.shape[-1], "M")
    k, m = group_weights.shape
    group = labels.long() * m + bias.long()  # (B,) 0..K*M-1: one number a pair
    n = torch.zeros(k * m, dtype=value.dtype, device=value.device)
    n = n.index_add(0, group, torch.ones_like(value))
    losses = torch.zeros_like(n).index_add(0, group, value) / n.clamp(min=1)
    with torch.no_grad():
        q = group_weights.view(-1)
        q.copy_(torch.softmax(torch.log(q) + eta * losses.detach().to(q.dtype), dim=0))
    return (q.to(losses.dtype).clone() * losses).sum()
