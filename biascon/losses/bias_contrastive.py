"""BiasCon and SoftCon (Hong and Yang, NeurIPS 2021): positives have the same label and another bias value."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from biascon.errors import UsageError
from biascon.losses.cross_entropy import cross_entropy
from biascon.losses.pairwise import Anchors, check_shape, make_anchors, mean_of_anchors, upcast_half
from biascon.losses.per_image import check_ids
from biascon.losses.reweighting import biasbal

Empty = Literal["zero", "skip"]


def biascon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    logits: Tensor,
    logit_labels: Tensor | None = None,
    temperature: float = 0.1,
    ce_weight: float = 0.01,
    empty: Empty = "zero",
    oversample: float = 1.0,
    contrast_batch: int = 0,
) -> Tensor:
    """Return the bias-contrastive loss + ``ce_weight`` * cross-entropy (Hong and Yang, NeurIPS 2021).

    The bias-contrastive loss is the mean over anchors of
    -mean_{p in Q(i)} [s_ip - log sum_{a in A(i)} exp s_ia].
    Q(i) are the anchors with the same label and *another* value of the bias attribute. On strongly biased
    data Q(i) is empty for most anchors. With ``empty="zero"``, as published, such an anchor counts as 0 in
    the mean, so that the term grows with the share of anchors with a positive. With ``"skip"``, the mean is
    over the anchors with a positive, as in the other losses of this package.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers.
        logits: float ``(B, V, K)`` of a linear classifier; ``(C, W, K)`` with ``logit_labels``.
        logit_labels: ``(C,)`` integers: the labels of the logits, where these are of other images than ``z``.
        temperature: T > 0.
        ce_weight: Weight of the cross-entropy, at least 0.
        empty: How an anchor without a positive counts.
        oversample: How many times more often a bias-conflicting image is drawn into the batch of the
            contrast than a bias-aligned one, at least 1. Above 1 the cross-entropy has a batch of its own in
            natural order. The training loop uses it.
        contrast_batch: The number of images of the batch of the contrast, if it has a batch of its own; 0 for
            as many as the batch of the cross-entropy. The training loop uses it.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    contrast = bias_contrast(make_anchors(z, labels, temperature, bias), empty)
    if logit_labels is not None:
        labels = _second_labels(logits, logit_labels)
    return contrast + ce_weight * cross_entropy(logits, labels)


def biascon_biasbal(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    logits: Tensor,
    counts: Tensor,
    logit_labels: Tensor | None = None,
    logit_bias: Tensor | None = None,
    temperature: float = 0.1,
    ce_weight: float = 0.01,
    empty: Empty = "zero",
    oversample: float = 1.0,
    contrast_batch: int = 0,
) -> Tensor:
    """Return the bias-contrastive loss + ``ce_weight`` * BiasBal (Hong and Yang, NeurIPS 2021).

    The first term is that of ``biascon``, the second is ``biascon.losses.reweighting.biasbal``.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        logits: float ``(B, V, K)`` of a linear classifier; ``(C, W, K)`` with ``logit_labels``.
        counts: integers ``(K, M)``: number of training images in each (label, bias) cell.
        logit_labels: ``(C,)`` integers: the labels of the logits, where these are of other images than ``z``.
        logit_bias: ``(C,)`` integers: the bias values of these images.
        temperature: T > 0.
        ce_weight: Weight of BiasBal, at least 0.
        empty: How an anchor without a positive counts, see ``biascon``.
        oversample: How many times more often a bias-conflicting image is drawn, see ``biascon``.
        contrast_batch: The number of images of the batch of the contrast, see ``biascon``.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    contrast = bias_contrast(make_anchors(z, labels, temperature, bias), empty)
    if (logit_labels is None) != (logit_bias is None):
        missing = "logit_labels" if logit_labels is None else "logit_bias"
        raise UsageError(f"expected logit_labels and logit_bias together, but {missing} is missing")
    if logit_labels is not None and logit_bias is not None:
        labels, bias = _second_labels(logits, logit_labels), logit_bias
        check_shape("counts", counts, logits.shape[-1], "M")
        check_ids("logit_bias", bias, len(logits), counts.shape[1])
    return contrast + ce_weight * biasbal(logits, labels, bias, counts=counts)


def bias_contrast(batch: Anchors, empty: Empty) -> Tensor:
    """Return the bias-contrastive loss of anchors with labels and bias values."""
    label_sum, n_label = batch.similarity_sums("labels")
    cell_sum, n_cell = batch.similarity_sums("labels", "bias")
    n = n_label - n_cell
    attraction = (label_sum - cell_sum) / n.clamp(min=1)
    return _mean(batch.log_sums().all - attraction, n > 0, empty)


def softcon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    logits: Tensor,
    bias_features: Tensor,
    logit_labels: Tensor | None = None,
    temperature: float = 0.1,
    ce_weight: float = 0.01,
    empty: Empty = "zero",
) -> Tensor:
    """Return the soft bias-contrastive loss + ``ce_weight`` * cross-entropy (Hong and Yang, NeurIPS 2021).

    The soft bias-contrastive loss is the mean over anchors of
    -sum_{p in P(i)} w_ip [s_ip - log sum_{a in A(i)} exp s_ia] / sum_{p in P(i)} w_ip
    with w_ip = 1 - cos(b_i, b_p), where b are features of a network that mainly encodes the bias.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used.
        logits: float ``(B, V, K)`` of a linear classifier; ``(C, W, K)`` with ``logit_labels``.
        bias_features: float ``(B, F)``: one vector for each image, shared by its views.
        logit_labels: ``(C,)`` integers: the labels of the logits, where these are of other images than ``z``.
        temperature: T > 0.
        ce_weight: Weight of the cross-entropy, at least 0.
        empty: How an anchor whose weights are all 0 counts, see ``biascon``.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature)
    batch.ids_of("labels")
    check_shape("bias_features", bias_features, len(z), "F")
    unit = F.normalize(upcast_half(bias_features).to(batch.z.dtype), dim=1)[batch.image]  # (N, F)

    def weighted(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        # A weight below 1e-6 counts as 0: rounding of the cosine of equal features must not choose positives.
        weight = 1 - unit[rows] @ unit[columns].T
        weight = torch.where(mask & (weight > 1e-6), weight, 0.0)
        return torch.stack(((weight * s).sum(dim=1), weight.sum(dim=1)), dim=1)

    total, weight = batch.map_rows(weighted, "labels").unbind(dim=1)
    counted = weight > 0
    attraction = total / torch.where(counted, weight, 1.0)
    contrast = _mean(batch.log_sums().all - attraction, counted, empty)
    if logit_labels is not None:
        labels = _second_labels(logits, logit_labels)
    return contrast + ce_weight * cross_entropy(logits, labels)


def _second_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the labels of logits that are of other images than the embeddings, or refuse them."""
    check_shape("logits", logits, "C", "W", "K")
    if not logits.is_floating_point():
        raise UsageError(f"expected logits to be floating point, but got {logits.dtype}")
    check_ids("logit_labels", labels, len(logits), logits.shape[-1])
    return labels


def _mean(values: Tensor, counted: Tensor, empty: Empty) -> Tensor:
    if empty == "skip":
        return mean_of_anchors(values, counted)
    return torch.where(counted, values, 0.0).sum() / max(len(values), 1)
