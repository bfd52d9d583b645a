"""BAdd (Sarridis et al., arXiv 2408.11439): bias features are added to the features in training only."""

from __future__ import annotations

from torch import Tensor

from biascon.losses.cross_entropy import cross_entropy


def badd(logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, m: float = 1.0) -> Tensor:
    """Return the mean cross-entropy of W (h + m sum_a f_a) (Sarridis et al., arXiv 2408.11439).

    h are the features of the encoder, and f_a those of a network that predicts the bias attribute a. The
    training loop adds the bias features, so that the encoder need not hold the bias. The trained classifier
    is then applied to h alone.

    Args:
        logits: float ``(B, V, K)`` of the features with the bias features added.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used.
        m: Factor of the bias features, at least 0. The authors use 1 for one bias attribute and 0.5 for
            FB-Biased-MNIST with two. The training loop uses it.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    return cross_entropy(logits, labels)
