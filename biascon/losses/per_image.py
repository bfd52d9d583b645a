"""Checks and the per-image cross-entropy that the losses on logits share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from biascon.errors import UsageError
from biascon.losses.pairwise import can_read_without_sync, check_batch, check_shape, upcast_half


def per_image_cross_entropy(
    logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, needs_bias: bool = False
) -> Tensor:
    """Return ``(B,)`` the cross-entropy of each image, mean over its views; shapes are checked.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    check_logits(logits, labels)
    if needs_bias and bias is None:
        raise UsageError("this loss needs the bias attribute, but got None")
    check_batch(logits, labels, bias, last="K")
    b, v, _ = logits.shape
    return _flat(logits, labels).view(b, v).sum(dim=1) / max(v, 1)


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Refuse logits and labels that do not fit each other."""
    check_batch(logits, labels, last="K")
    if labels is None:
        raise UsageError("this loss needs labels, but got None")
    check_range("labels", labels, logits.shape[-1])


def check_range(name: str, ids: Tensor, k: int) -> None:
    """Refuse integers outside 0..k-1, where looking at them does not wait for the device."""
    if len(ids) and can_read_without_sync(ids.device):
        low, high = int(ids.min()), int(ids.max())
        if not 0 <= low <= high < k:
            raise UsageError(f"expected {name} in 0..{k - 1}, but got {low}..{high}")


def check_per_image(name: str, values: Tensor, like: Tensor) -> Tensor:
    """Return one number an image in the precision of ``like``, or refuse another shape."""
    check_shape(name, values, *like.shape)
    return values.detach().to(like.dtype)


def _flat(logits: Tensor, labels: Tensor) -> Tensor:
    """``(B * V,)`` the cross-entropy of every anchor."""
    b, v, k = logits.shape
    flat = upcast_half(logits).reshape(b * v, k)
    return F.cross_entropy(flat, labels.long().repeat_interleave(v), reduction="none")


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)
