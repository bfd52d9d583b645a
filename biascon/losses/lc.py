"""Logit correction (Liu et al., ICLR 2023): a prior p(y|b) of predicted b, mixed as the images are."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import check_shape, upcast_half
from biascon.losses.per_image import (
    check_ids,
    check_per_image,
    mean_or_zero,
    per_image_cross_entropy,
)

FLOOR = 1e-4  # added to the mixed prior before the logarithm, as in the authors' code


def lc(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    counts: Tensor,
    partner_bias: Tensor,
    mix: Tensor,
    alpha: float = 0.5,
) -> Tensor:
    """Return the mean cross-entropy of logits_y + log(p_y + 1e-4) (Liu et al., ICLR 2023).

    p_y = mix * p(y|b) + (1 - mix) * p(y|b of the partner): the priors are mixed as the images are, inside the
    logarithm. p(y|b) = counts[y, b] / sum_y' counts[y', b], and b is the label that a biased first-stage
    network predicts. Image and partner have the same label. Predictions use the logits without the prior.

    Args:
        logits: float ``(B, V, K)`` of the mixed images.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1: the predictions of the first-stage network.
        counts: integers ``(K, M)``: number of training images with each label and prediction.
        partner_bias: ``(B,)`` integers in 0..M-1: the predictions for the partners.
        mix: float ``(B,)`` in [0, 1]: the share of the image itself, equal for all views.
        alpha: The training loop draws ``mix`` uniformly from [1 - 2 alpha, 1 - alpha], in (0, 0.5].

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    own = per_image_cross_entropy(logits, labels, bias, needs_bias=True)
    check_shape("counts", counts, logits.shape[-1], "M")
    check_ids("bias", bias, len(own), counts.shape[1])
    check_ids("partner_bias", partner_bias, len(own), counts.shape[1])
    table = counts.to(own.dtype)
    given_bias = (table / table.sum(dim=0).clamp(min=1)).T  # (M, K)
    share = check_per_image("mix", mix, own)[:, None]
    prior = share * given_bias[bias.long()] + (1 - share) * given_bias[partner_bias.long()]
    corrected = upcast_half(logits) + torch.log(prior + FLOOR)[:, None]
    return mean_or_zero(per_image_cross_entropy(corrected, labels))
