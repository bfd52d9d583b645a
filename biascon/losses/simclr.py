"""SimCLR (Chen et al., ICML 2020): the positives are the other views of the same image."""

from __future__ import annotations

from torch import Tensor

from biascon.errors import UsageError
from biascon.losses.pairwise import Anchors, make_anchors, mean_of_anchors


def simclr(
    z: Tensor, labels: Tensor | None = None, bias: Tensor | None = None, *, temperature: float = 0.1
) -> Tensor:
    """Return the loss of SimCLR (NT-Xent; Chen et al., ICML 2020).

    The loss is the mean over anchors of -mean_{p in S(i)} [s_ip - log sum_{a in A(i)} exp s_ia].

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings, two views or more.
        labels: Not used.
        bias: Not used.
        temperature: T > 0.

    Raises:
        UsageError: A shape or a dtype does not fit, or there is one view.
    """
    batch = make_anchors(z, None, temperature)
    check_views(z)
    return simclr_term(batch, batch.log_sums().all)


def check_views(z: Tensor) -> None:
    """Refuse a batch with one view of each image, in which no anchor has a positive.

    Raises:
        UsageError: There is one view.
    """
    if z.shape[1] == 1:
        raise UsageError(
            f"this loss needs two views or more of each image, but got z of shape {tuple(z.shape)} with one "
            "(pass torch.stack([z1, z2], 1); in training, set augment.views=2)"
        )


def simclr_term(batch: Anchors, log_sum_of_all: Tensor) -> Tensor:
    """Return the loss of SimCLR from anchors and ``(N,)`` their log sum exp over A(i)."""
    total, n = batch.similarity_sums("image")
    return mean_of_anchors(log_sum_of_all - total / n.clamp(min=1), n > 0)
