"""EnD (Tartaglione et al., CVPR 2021): regularizers that entangle a class and disentangle the bias."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.cross_entropy import cross_entropy
from biascon.losses.pairwise import Anchors, make_anchors, unit_vectors


def end(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    features: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """Return cross-entropy + alpha * R_perp + beta * R_par (Tartaglione et al., CVPR 2021).

    Let g_ij be the cosine of the features of two different anchors. Over ordered pairs:
    R_perp is the mean of abs(g_ij) over pairs with equal bias values.
    R_par is 1 - mean of (1 + g_ij) / 2 over pairs with equal labels and different bias values.
    A term without any pair is 0.

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers.
        features: float ``(B, V, F)`` of the encoder, not normalized.
        alpha: Weight of R_perp, at least 0. The authors search alpha and beta in [0, 1].
        beta: Weight of R_par, at least 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    # A feature vector of zeros has no direction: its cosine with every vector is 0, without a gradient.
    anchors = make_anchors(unit_vectors(features), labels, 1.0, bias)
    return cross_entropy(logits, labels) + end_regularizer(anchors, alpha, beta)


def end_regularizer(batch: Anchors, alpha: float, beta: float) -> Tensor:
    """Return alpha * R_perp + beta * R_par of anchors of temperature 1 with labels and bias values.

    Raises:
        UsageError: The anchors have no labels or no bias values.
    """
    for name in ("labels", "bias"):
        batch.ids_of(name)  # raises before anything is computed

    def absolute_sums(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        total = torch.where(mask, s.abs(), 0.0).sum(dim=1)
        return torch.stack((total, mask.sum(dim=1).to(s.dtype)), dim=1)

    total, n_pairs = batch.map_rows(absolute_sums, "bias").sum(dim=0)
    label_sum, n_label = batch.similarity_sums("labels")
    cell_sum, n_cell = batch.similarity_sums("labels", "bias")
    n = (n_label - n_cell).sum()
    parallel = 0.5 - 0.5 * (label_sum - cell_sum).sum() / n.clamp(min=1)
    value: Tensor = alpha * total / n_pairs.clamp(min=1) + beta * torch.where(n > 0, parallel, 0.0)
    return value
