"""SimCLR (Chen et al., ICML 2020): the other views of the same image are the only positives."""

from __future__ import annotations

from torch import Tensor

from biascon.losses.pairwise import Anchors, anchors, log_sum_exp, mean_of_anchors, mean_over


def simclr(
    z: Tensor, labels: Tensor | None = None, bias: Tensor | None = None, *, temperature: float = 0.1
) -> Tensor:
    """Return the mean over anchors of -mean_{p in S(i)} [s_ip - log sum_{a in A(i)} exp s_ia].

    Args:
        z: ``(B, V, D)`` L2-normalised embeddings. With one view S(i) is empty and the loss is 0.
        labels: Ignored.
        bias: Ignored.
        temperature: T > 0.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    return self_term(anchors(z, None, temperature))


def self_term(batch: Anchors) -> Tensor:
    """The loss above on a batch whose similarities are known: also the second part of ConTeX."""
    normaliser, _ = log_sum_exp(batch.s, batch.other)
    attraction, counted = mean_over(batch.s, batch.views)
    return mean_of_anchors(normaliser - attraction, counted)
