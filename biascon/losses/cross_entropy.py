"""Cross-entropy of the label, and cross-entropy of the bias attribute."""

from __future__ import annotations

from torch import Tensor

from biascon.errors import UsageError
from biascon.losses.pairwise import check_batch, upcast_half
from biascon.losses.per_image import check_range, mean_or_zero, per_image_cross_entropy


def cross_entropy(
    logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, decoupling: float = 0.0
) -> Tensor:
    """Return -mean log softmax(logits)_y over all B * V anchors (empirical risk minimization).

    With spectral decoupling (Pezeshki et al., NeurIPS 2021), ``decoupling`` times the mean over anchors of
    logits_y^2 is added, without the factor 1/2. Only the logit of the label is squared. The mean over all
    logits of an anchor is another reading of the method, which this function does not offer.

    Args:
        logits: float ``(B, V, K)``; half precision is cast to float32.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used.
        decoupling: Weight of the squared logit of the label, at least 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    value = mean_or_zero(per_image_cross_entropy(logits, labels))
    if decoupling == 0:
        return value
    index = labels.long()[:, None, None].expand(-1, logits.shape[1], 1)
    own = upcast_half(logits).gather(2, index)  # (B, V, 1)
    return value + decoupling * mean_or_zero(own.square())


def bias_cross_entropy(logits: Tensor, labels: Tensor | None, bias: Tensor) -> Tensor:
    """Return -mean log softmax(logits)_b over all B * V anchors, b the value of the bias attribute.

    Args:
        logits: float ``(B, V, M)``.
        labels: Not used.
        bias: ``(B,)`` integers in 0..M-1.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    check_batch(logits, None, bias, last="M")
    if bias is None:
        raise UsageError("this loss needs the bias attribute, but got None")
    check_range("bias", bias, logits.shape[-1])
    return mean_or_zero(per_image_cross_entropy(logits, bias))
