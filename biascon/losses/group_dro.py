"""GroupDRO (Sagawa et al., ICLR 2020): a loss with group weights that are updated at every step."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import check_shape
from biascon.losses.per_image import check_range, per_image_cross_entropy


def groupdro(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    group_weights: Tensor,
    eta: float = 0.01,
) -> Tensor:
    """Return sum_g q_g L_g (Sagawa et al., ICLR 2020). The groups g of the paper are (label, bias) cells.

    L_g is the mean cross-entropy of the images of the batch in cell g, 0 for a cell without images. Before
    the sum is taken, q_g is multiplied by exp(eta L_g) and q is normalized, without gradient.

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        group_weights: float ``(K, M)``: q, *updated in place*. Before the first step q is uniform over the
            cells of the training split that are not empty, and 0 in the other cells.
        eta: Step size of q, at least 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    value = per_image_cross_entropy(logits, labels, bias, needs_bias=True)
    check_shape("group_weights", group_weights, logits.shape[-1], "M")
    k, m = group_weights.shape
    check_range("bias", bias, m)
    cell = labels.long() * m + bias.long()  # (B,) in 0..K*M-1
    n = torch.zeros(k * m, dtype=value.dtype, device=value.device)
    n = n.index_add(0, cell, torch.ones_like(value))
    losses = torch.zeros_like(n).index_add(0, cell, value) / n.clamp(min=1)
    with torch.no_grad():
        q = group_weights.view(-1)
        q.copy_(torch.softmax(torch.log(q) + eta * losses.detach().to(q.dtype), dim=0))
    return (q.to(losses.dtype).clone() * losses).sum()
