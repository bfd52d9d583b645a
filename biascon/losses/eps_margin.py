"""eps-SupInfoNCE and eps-SupCon (Barbano et al., ICLR 2023): positives are closer by a margin eps."""

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
    """Return eps-SupInfoNCE (Barbano et al., ICLR 2023).

    The loss is the mean over anchors of
    -mean_{p in P(i)} [s_ip - log(exp(s_ip - eps) + sum_{n in N(i)} exp s_in)].

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: Not used.
        temperature: T > 0.
        epsilon: The margin eps on s, at least 0. An anchor without negatives has the value -eps.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    return eps_supinfonce_term(make_anchors(z, labels, temperature), epsilon)


def eps_supinfonce_term(batch: Anchors, epsilon: float) -> Tensor:
    """Return eps-SupInfoNCE of anchors with labels."""
    logs = batch.log_sums("labels")
    has_negatives = logs.n_negatives > 0

    def term(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        reduced = s - epsilon
        normalizer = torch.logaddexp(reduced, logs.negatives[rows, None])
        return mean_over(s - torch.where(has_negatives[rows, None], normalizer, reduced), mask)

    return mean_of_anchors(-batch.map_rows(term, "labels"), logs.n_positives > 0)


def eps_supcon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.25,
) -> Tensor:
    """Return eps-SupCon (Barbano et al., ICLR 2023).

    The loss is the mean over anchors of
    -mean_{p in P(i)} [s_ip - log(sum_{q in P(i)} exp(s_iq - eps) + sum_{n in N(i)} exp s_in)].

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: Not used.
        temperature: T > 0.
        epsilon: The margin eps on s, at least 0. With 0 the loss is SupCon.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature)
    logs = batch.log_sums("labels")
    reduced = logs.positives - epsilon
    sum_of_all = torch.logaddexp(reduced, logs.negatives)
    normalizer = torch.where(logs.n_negatives > 0, sum_of_all, reduced)
    attraction = logs.similarity_sum / logs.n_positives.clamp(min=1)
    return mean_of_anchors(normalizer - attraction, logs.n_positives > 0)
