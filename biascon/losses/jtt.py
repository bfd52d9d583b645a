"""JTT: cross-entropy with larger weights for the images that a first network got wrong."""

from __future__ import annotations

from torch import Tensor

from biascon.losses.per_image import _mean, check_per_image, per_image_cross_entropy


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
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.
        weights: ``(B,)`` float: ``up`` for the images that the first network gets wrong and 1 for the
            others, over their mean in the training set.
        up: How many times such an image counts, at least 1; the trainer makes the weights of it.
        first_epochs: For how many epochs the first network is trained; read by the trainer.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    value = per_image_cross_entropy(logits, labels)
    return _mean(check_per_image("weights", weights, value) * value)
