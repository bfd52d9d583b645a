"""BiasCon and SoftCon (Hong and Yang, NeurIPS 2021): positives of the same class and another bias."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from biascon.losses.cross_entropy import cross_entropy
from biascon.losses.pairwise import Anchors, check_shape, make_anchors, mean_of_anchors, upcast_half
from biascon.losses.reweighting import biasbal

Empty = Literal["zero", "skip"]


def biascon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    logits: Tensor,
    temperature: float = 0.1,
    ce_weight: float = 0.01,
    empty: Empty = "zero",
) -> Tensor:
    """Return the bias-contrastive loss + ``ce_weight`` * cross-entropy.

    Bias-contrastive: mean over anchors of -mean_{p in Q(i)} [s_ip - log sum_{a in A(i)} exp s_ia], Q(i)
    the anchors of the same label and a *different* bias attribute. On strongly biased data most anchors
    have none. ``empty="zero"``, as published, counts them as 0 in the mean, so that the term grows with
    the share of anchors that have one; ``"skip"`` leaves them out, as every other loss here does.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers.
        logits: ``(B, V, K)`` float, of a classifier beside the projection head.
        temperature: T > 0.
        ce_weight: Weight of the cross-entropy, at least 0.
        empty: How an anchor without such a positive is counted.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    contrast = bias_contrast(make_anchors(z, labels, temperature, bias), empty)
    return contrast + ce_weight * cross_entropy(logits, labels)


def biascon_biasbal(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    logits: Tensor,
    counts: Tensor,
    temperature: float = 0.1,
    ce_weight: float = 0.01,
    empty: Empty = "zero",
) -> Tensor:
    """Return the bias-contrastive loss + ``ce_weight`` * the bias-balanced cross-entropy.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        logits: ``(B, V, K)`` float, of a classifier beside the projection head.
        counts: ``(K, M)`` how many training images each (label, bias) cell has.
        temperature: T > 0.
        ce_weight: Weight of the cross-entropy, at least 0.
        empty: How an anchor without such a positive is counted, see ``biascon``.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    contrast = bias_contrast(make_anchors(z, labels, temperature, bias), empty)
    return contrast + ce_weight * biasbal(logits, labels, bias, counts=counts)


def bias_contrast(batch: Anchors, empty: Empty) -> Tensor:
    """The bias-contrastive loss on a batch of anchors that has labels and bias."""
    of_label, n_label = batch.similarity_sums("labels")
    of_group, n_group = batch.similarity_sums("labels", "bias")
    n = n_label - n_group
    attraction = (of_label - of_group) / n.clamp(min=1)
    return _mean(batch.log_sums().all - attraction, n > 0, empty)


def softcon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    logits: Tensor,
    bias_features: Tensor,
    temperature: float = 0.1,
    ce_weight: float = 0.01,
    empty: Empty = "zero",
) -> Tensor:
    """Return the soft bias-contrastive loss + ``ce_weight`` * cross-entropy.

    Soft: mean over anchors of -sum_{p in P(i)} w_ip [s_ip - log sum_{a in A(i)} exp s_ia] / sum_{P(i)} w_ip
    with w_ip = 1 - cos(b_i, b_p), b the features of a network that sees little but the bias.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.
        logits: ``(B, V, K)`` float, of a classifier beside the projection head.
        bias_features: ``(B, F)`` float: one vector an image; its views share it.
        temperature: T > 0.
        ce_weight: Weight of the cross-entropy, at least 0.
        empty: How an anchor whose weights are all 0 is counted, see ``biascon``.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    batch = make_anchors(z, labels, temperature)
    batch.ids_of("labels")
    check_shape("bias_features", bias_features, len(z), "F")
    unit = F.normalize(upcast_half(bias_features).to(batch.z.dtype), dim=1)[batch.image]  # (N, F)

    def weighted(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        # Below 1e-6 two features are one; the rounding of their cosine must not choose positives.
        weight = 1 - unit[rows] @ unit[columns].T
        weight = torch.where(mask & (weight > 1e-6), weight, 0.0)
        return torch.stack(((weight * s).sum(dim=1), weight.sum(dim=1)), dim=1)

    total, weight = batch.map_rows(weighted, "labels").unbind(dim=1)
    counted = weight > 0
    attraction = total / torch.where(counted, weight, 1.0)
    contrast = _mean(batch.log_sums().all - attraction, counted, empty)
    return contrast + ce_weight * cross_entropy(logits, labels)


def _mean(values: Tensor, counted: Tensor, empty: Empty) -> Tensor:
    if empty == "skip":
        return mean_of_anchors(values, counted)
    return torch.where(counted, values, 0.0).sum() / max(len(values), 1)
