"""eps-SupInfoNCE and eps-SupCon (Barbano et al., ICLR 2023): positives closer by a margin eps."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import Anchors, make_anchors, mean_of_anchors, mean_over


def eps_supinfonce(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.25,
) -> Tensor:
    """Return the mean over anchors of -mean_{p in P(i)} [s_ip - log(exp(s_ip - eps) + sum_{N(i)} exp s)].

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: Ignored.
        temperature: T > 0.
        epsilon: The margin on s, at least 0. An anchor without negatives has the value -eps.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    return eps_supinfonce_term(make_anchors(z, labels, temperature), epsilon)


def eps_supinfonce_term(batch: Anchors, epsilon: float) -> Tensor:
    """The loss above on a batch of anchors."""
    logs = batch.log_sums("labels")
    has_other = logs.n_negatives > 0

    def term(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        closer = s - epsilon
        both = torch.logaddexp(closer, logs.negatives[rows, None])
        return mean_over(s - torch.where(has_other[rows, None], both, closer), mask)

    return mean_of_anchors(-batch.map_rows(term, "labels"), logs.n_positives > 0)


def eps_supcon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.25,
) -> Tensor:
    """Return the mean over anchors of -mean_P(i) [s_ip - log(sum_P(i) exp(s - eps) + sum_N(i) exp s)].

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: Ignored.
        temperature: T > 0.
        epsilon: The margin on s, at least 0; with 0 this is SupCon.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    batch = make_anchors(z, labels, temperature)
    logs = batch.log_sums("labels")
    closer = logs.positives - epsilon
    both = torch.logaddexp(closer, logs.negatives)
    normalizer = torch.where(logs.n_negatives > 0, both, closer)
    attraction = batch.similarity_sums("labels")[0] / logs.n_positives.clamp(min=1)
    return mean_of_anchors(normalizer - attraction, logs.n_positives > 0)
