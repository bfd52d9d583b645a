"""Losses on the logits of a linear classifier: cross-entropy and its weighted relatives."""

from __future__ import annotations

from torch import Tensor

from biascon.errors import UsageError
from biascon.losses.pairwise import check_batch
from biascon.losses.per_image import _mean, check_range, per_image_cross_entropy


def cross_entropy(logits: Tensor, labels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return -mean log softmax(logits)_y over all B * V anchors: empirical risk minimisation.

    Args:
        logits: ``(B, V, K)`` float; half precision is raised to float32.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    return _mean(per_image_cross_entropy(logits, labels))


def bias_cross_entropy(logits: Tensor, labels: Tensor | None, bias: Tensor) -> Tensor:
    """Return -mean log softmax(logits)_b over all anchors: a network that tells the bias attribute.

    Args:
        logits: ``(B, V, M)`` float.
        labels: Ignored.
        bias: ``(B,)`` integers in 0..M-1.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    check_batch(logits, None, bias, last="M")
    if bias is None:
        raise UsageError("this loss needs the bias attribute, but got None")
    check_range("bias", bias, logits.shape[-1])
    return _mean(per_image_cross_entropy(logits, bias))
