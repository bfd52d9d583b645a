"""LfF (Nam et al., NeurIPS 2020): generalized cross-entropy, and weights of relative difficulty."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.per_image import (
    check_logits,
    check_per_image,
    mean_or_zero,
    per_anchor_cross_entropy,
    per_image_cross_entropy,
)


def gce(logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, q: float = 0.7) -> Tensor:
    """Return the mean generalized cross-entropy (1 - p_y^q) / q (Zhang and Sabuncu, NeurIPS 2018).

    The gradient is that of cross-entropy times p_y^q, so that easy images get more weight. LfF trains its
    biased network with this loss.

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used.
        q: In (0, 1]. The limit q -> 0 is cross-entropy.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    check_logits(logits, labels)
    flat = per_anchor_cross_entropy(logits, labels)
    return mean_or_zero(-torch.expm1(-q * flat) / q)


def lff(
    logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, bias_losses: Tensor
) -> Tensor:
    """Return the mean over images of W * cross-entropy, W = L_b / (L_b + L_d) (Nam et al., NeurIPS 2020).

    L_b is the cross-entropy of the image under the biased network at the same step. L_d is that under the
    network being trained. Neither has a gradient in W. An image with a large loss under the biased network
    gets a large weight. If both are 0, W is 1/2.

    Args:
        logits: float ``(B, V, K)`` of the network being trained.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used.
        bias_losses: float ``(B,)``: L_b, the mean over the views.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    value = per_image_cross_entropy(logits, labels)
    biased, own = check_per_image("bias_losses", bias_losses, value), value.detach()
    total = biased + own
    weight = torch.where(total > 0, biased / torch.where(total > 0, total, 1.0), 0.5)
    return mean_or_zero(weight * value)
