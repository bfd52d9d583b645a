"""Losses that balance (label, bias) cells by their counts: BiasBal and inverse-frequency weights."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import check_shape, upcast_half
from biascon.losses.per_image import check_range, per_image_cross_entropy

FLOOR = 1e-9  # added to p(y|b) before the logarithm, for cells without training images


def biasbal(logits: Tensor, labels: Tensor, bias: Tensor, *, counts: Tensor) -> Tensor:
    """Return BiasBal: the mean cross-entropy of logits_y + log p(y|b) (Hong and Yang, NeurIPS 2021).

    p(y|b) = counts[y, b] / sum_y' counts[y', b]. Inside the logarithm 1e-9 is added. In training, the prior
    accounts for the dependence of the label on the bias attribute. Predictions use the logits without the
    prior.

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        counts: integers ``(K, M)``: number of training images in each (label, bias) cell.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    table = _table(logits, labels, bias, counts)
    prior = torch.log(table / table.sum(dim=0).clamp(min=1) + FLOOR)  # (K, M)
    value = per_image_cross_entropy(upcast_half(logits) + prior.T[bias.long()][:, None], labels)
    return value.sum() / max(len(labels), 1)


def reweight(logits: Tensor, labels: Tensor, bias: Tensor, *, counts: Tensor) -> Tensor:
    """Return the mean over images with weights: sum_i w_i ce_i / sum_i w_i, w_i = 1 / p(y_i, b_i).

    p(y, b) is the share of the training images in the cell. Over the training split every cell with images
    has the same total weight. The sum of the weights is that of the batch: without it, an image of a tiny
    cell would multiply the loss of its batch. A cell without training images has the weight of a cell with
    one image.

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        counts: integers ``(K, M)``: number of training images in each (label, bias) cell.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    table = _table(logits, labels, bias, counts)
    weights = (1 / table.clamp(min=1))[labels.long(), bias.long()]  # p up to a factor
    value = per_image_cross_entropy(logits, labels)
    # The sum of the weights is 0 only in an empty batch.
    return (weights * value).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _table(logits: Tensor, labels: Tensor, bias: Tensor, counts: Tensor) -> Tensor:
    """Check the inputs and return the counts as floats in the precision of the loss."""
    per_image_cross_entropy(logits, labels, bias, needs_bias=True)
    check_shape("counts", counts, logits.shape[-1], "M")
    check_range("bias", bias, counts.shape[1])
    return counts.to(upcast_half(logits[:0]).dtype)
