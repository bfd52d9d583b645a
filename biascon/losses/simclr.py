"""SimCLR (Chen et al., ICML 2020): the positives are the other views of the same image."""

from __future__ import annotations

from torch import Tensor

from biascon.losses.pairwise import Anchors, make_anchors, mean_of_anchors


def simclr(
    z: Tensor, labels: Tensor | None = None, bias: Tensor | None = None, *, temperature: float = 0.1
) -> Tensor:
    """Return the loss of SimCLR (NT-Xent; Chen et al., ICML 2020).

    The loss is the mean over anchors of -mean_{p in S(i)} [s_ip - log sum_{a in A(i)} exp s_ia].

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings. With one view S(i) is empty and the loss is 0.
        labels: Not used.
        bias: Not used.
        temperature: T > 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, None, temperature)
    return simclr_term(batch, batch.log_sums().all)


def simclr_term(batch: Anchors, log_sum_of_all: Tensor) -> Tensor:
    """Return the loss of SimCLR from anchors and ``(N,)`` their log sum exp over A(i)."""
    total, n = batch.similarity_sums("image")
    return mean_of_anchors(log_sum_of_all - total / n.clamp(min=1), n > 0)
