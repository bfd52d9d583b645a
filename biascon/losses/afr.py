"""AFR (Qiu et al., ICML 2023): a last layer for the images that empirical risk minimization gets wrong."""

from __future__ import annotations

from torch import Tensor

from biascon.losses.cross_entropy import cross_entropy


def afr(
    logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, gamma: float = 1.0
) -> Tensor:
    """Return the mean cross-entropy, as ``ce``: AFR trains its last layer afterwards (Qiu et al., ICML 2023).

    The encoder is that of a ``ce`` run on 80 % of the training images. A last layer is then fitted on the
    other 20 % with a weight for each image, w_i proportional to exp(-gamma p_i) / n_y. p_i is the probability
    that the ``ce`` classifier gives to the label of the image, and n_y the number of these images with the
    label.

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used.
        gamma: Strength of the weights, at least 0. The evaluation uses it.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    return cross_entropy(logits, labels)
