"""LfF: the generalized cross-entropy of its biased network, and its relative difficulty weights."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.per_image import (
    _flat,
    _mean,
    check_logits,
    check_per_image,
    per_image_cross_entropy,
)


def gce(logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, q: float = 0.7) -> Tensor:
    """Return the mean generalized cross-entropy (1 - p_y^q) / q (Zhang and Sabuncu, NeurIPS 2018).

    Its gradient is that of cross-entropy times p_y^q, so that easy images are trusted more: the network
    that LfF trains to be biased.

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.
        q: In (0, 1]; towards 0 this is cross-entropy.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    check_logits(logits, labels)
    flat = _flat(logits, labels)
    return _mean(-torch.expm1(-q * flat) / q)


def lff(
    logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, bias_losses: Tensor
) -> Tensor:
    """Return the mean over images of W * cross-entropy, W = L_b / (L_b + L_d) (Nam et al., NeurIPS 2020).

    L_b is the cross-entropy of the biased network on the image at the same step, L_d that of this one,
    both without gradient: an image that the biased network gets wrong weighs most. Both 0 give W = 1/2.

    Args:
        logits: ``(B, V, K)`` float, of the debiased network.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.
        bias_losses: ``(B,)`` float: L_b, mean over the views.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    value = per_image_cross_entropy(logits, labels)
    theirs, mine = check_per_image("bias_losses", bias_losses, value), value.detach()
    total = theirs + mine
    weight = torch.where(total > 0, theirs / torch.where(total > 0, total, 1.0), 0.5)
    return _mean(weight * value)
