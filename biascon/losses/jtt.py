"""JTT (Liu et al., ICML 2021): larger weights for images that a first-stage network misclassifies."""

from __future__ import annotations

from torch import Tensor

from biascon.losses.per_image import check_per_image, mean_or_zero, per_image_cross_entropy


def jtt(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    weights: Tensor,
    up: float = 50.0,
    first_epochs: int = 1,
) -> Tensor:
    """Return the mean over images of weight * cross-entropy (Liu et al., ICML 2021).

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used.
        weights: float ``(B,)``: ``up`` for an image that the first-stage network misclassifies and 1 for
            another image, divided by the mean of these values over the training split.
        up: Weight of a misclassified image, at least 1. The training loop computes ``weights`` from it.
        first_epochs: Epochs of the first-stage network. Only the configuration of that network uses it.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    value = per_image_cross_entropy(logits, labels)
    return mean_or_zero(check_per_image("weights", weights, value) * value)
