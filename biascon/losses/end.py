"""EnD (Tartaglione et al., CVPR 2021): disentangle what shares a bias, entangle a class across it."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.cross_entropy import cross_entropy
from biascon.losses.pairwise import Anchors, make_anchors, upcast_half

TINY = 1e-6  # norm of features below which they have no direction


def end(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    features: Tensor,
    alpha: float = 0.1,
    beta: float = 0.1,
) -> Tensor:
    """Return cross-entropy + alpha * R_perp + beta * R_par on the L2-normalized features.

    With the Gram entries g_ij of the normalized features, over ordered pairs of different anchors:
    R_perp is the mean of abs(g_ij) over pairs of the same bias attribute;
    R_par is 1 - mean of (1 + g_ij) / 2 over pairs of the same label and different bias attributes.
    A mean over no pair is left out.

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers.
        features: ``(B, V, F)`` float: the encoder's, not normalized.
        alpha: Weight of R_perp, at least 0.
        beta: Weight of R_par, at least 0.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    wide = upcast_half(features)
    norm = wide.norm(dim=-1, keepdim=True)
    # Features that are all 0 have no direction: cosine 0 with everything, and no gradient.
    there = norm > TINY
    unit = torch.where(there, wide / torch.where(there, norm, 1.0), 0.0)
    return cross_entropy(logits, labels) + end_regularizer(
        make_anchors(unit, labels, 1.0, bias), alpha, beta
    )


def end_regularizer(batch: Anchors, alpha: float, beta: float) -> Tensor:
    """alpha * R_perp + beta * R_par above on anchors of temperature 1 with labels and bias."""
    batch.ids_of("labels"), batch.ids_of("bias")  # told before anything is computed

    def absolute(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        size = torch.where(mask, s.abs(), 0.0).sum(dim=1)
        return torch.stack((size, mask.sum(dim=1).to(s.dtype)), dim=1)

    size, pairs = batch.map_rows(absolute, "bias").sum(dim=0)
    of_label, n_label = batch.similarity_sums("labels")
    of_group, n_group = batch.similarity_sums("labels", "bias")
    n = (n_label - n_group).sum()
    parallel = 0.5 - 0.5 * (of_label - of_group).sum() / n.clamp(min=1)
    value: Tensor = alpha * size / pairs.clamp(min=1) + beta * torch.where(n > 0, parallel, 0.0)
    return value
