"""SimCLR (Chen et al., ICML 2020): the other views of the same image are the only positives."""

from __future__ import annotations

from torch import Tensor

from biascon.losses.pairwise import Anchors, make_anchors, mean_of_anchors


def simclr(
    z: Tensor, labels: Tensor | None = None, bias: Tensor | None = None, *, temperature: float = 0.1
) -> Tensor:
    """Return the mean over anchors of -mean_{p in S(i)} [s_ip - log sum_{a in A(i)} exp s_ia].

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings. With one view S(i) is empty and the loss is 0.
        labels: Ignored.
        bias: Ignored.
        temperature: T > 0.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    batch = make_anchors(z, None, temperature)
    return simclr_term(batch, batch.log_sums().all)


def simclr_term(batch: Anchors, every: Tensor) -> Tensor:
    """The loss above on anchors whose log sum exp over A(i) is known: also a part of ConTeX."""
    total, n = batch.similarity_sums("image")
    return mean_of_anchors(every - total / n.clamp(min=1), n > 0)
