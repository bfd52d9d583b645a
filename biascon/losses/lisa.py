"""LISA (Yao et al., ICML 2022): cross-entropy on mixed images of other (label, bias) cells."""

from __future__ import annotations

from torch import Tensor

from biascon.losses.per_image import (
    check_ids,
    check_per_image,
    mean_or_zero,
    per_image_cross_entropy,
)


def lisa(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    partner_labels: Tensor,
    mix: Tensor,
    alpha: float = 2.0,
    p_label: float = 0.5,
) -> Tensor:
    """Return the mean over images of mix * ce(y) + (1 - mix) * ce(y of the partner) (Yao et al., ICML 2022).

    The training loop shows the network mix * x + (1 - mix) * x of a partner
    (``biascon.training.mixup``). The partner has the same label and another bias value, or the same bias
    value and another label.

    Args:
        logits: float ``(B, V, K)`` of the mixed images.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used. The choice of the partners uses it.
        partner_labels: ``(B,)`` integers in 0..K-1: the labels of the partners.
        mix: float ``(B,)`` in [0, 1]: the share of the image itself, equal for all views.
        alpha: Parameter of the distribution Beta(alpha, alpha) of ``mix``. The training loop draws from it.
        p_label: Probability of a partner with the same label. The training loop uses it.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    own = per_image_cross_entropy(logits, labels)
    check_ids("partner_labels", partner_labels, len(own), logits.shape[-1])
    share = check_per_image("mix", mix, own)
    other = per_image_cross_entropy(logits, partner_labels)
    return mean_or_zero(share * own + (1 - share) * other)
