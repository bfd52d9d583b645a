"""Losses that balance (label, bias) groups by their counts: BiasBal and inverse-frequency weights."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import check_shape, upcast_half
from biascon.losses.per_image import per_image_cross_entropy

FLOOR = 1e-9  # added to p(y given b) before the logarithm, for cells that training does not have


def biasbal(logits: Tensor, labels: Tensor, bias: Tensor, *, counts: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits_y + log p(y given b) (Hong and Yang, NeurIPS 2021).

    p(y given b) = counts[y, b] / sum_y' counts[y', b], plus 1e-9 inside the logarithm. The prior explains
    what the bias attribute says of the label, so that the logits need not; they are used without it.

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        counts: ``(K, M)`` how many training images each (label, bias) cell has.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    table = _table(logits, labels, bias, counts)
    prior = torch.log(table / table.sum(dim=0).clamp(min=1) + FLOOR)  # (K, M)
    value = per_image_cross_entropy(upcast_half(logits) + prior.T[bias.long()][:, None], labels)
    return value.sum() / max(len(labels), 1)


def reweight(logits: Tensor, labels: Tensor, bias: Tensor, *, counts: Tensor) -> Tensor:
    """Return the mean over images of w(y, b) * cross-entropy, w(y, b) = 1 / (G p(y, b)).

    p(y, b) is the share of the training images in the cell and G the number of cells that have any, so
    that the weights have mean 1 over the training set and every group the same total.

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        counts: ``(K, M)`` how many training images each (label, bias) cell has.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    table = _table(logits, labels, bias, counts)
    weights = table.sum() / ((table > 0).sum().clamp(min=1) * table.clamp(min=1))
    value = per_image_cross_entropy(logits, labels)
    return (weights[labels.long(), bias.long()] * value).sum() / max(len(labels), 1)


def _table(logits: Tensor, labels: Tensor, bias: Tensor | None, counts: Tensor) -> Tensor:
    """Return the counts as floats of the logits' precision, checked."""
    per_image_cross_entropy(logits, labels, bias, needs_bias=True)
    check_shape("counts", counts, logits.shape[-1], "M")
    return counts.to(upcast_half(logits[:0]).dtype)
