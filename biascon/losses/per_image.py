"""Per-image cross-entropy, and checks that the losses on logits share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from biascon.errors import UsageError
from biascon.losses.pairwise import can_read_without_sync, check_batch, check_shape, upcast_half


def per_image_cross_entropy(
    logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, needs_bias: bool = False
) -> Tensor:
    """Return ``(B,)`` the cross-entropy of each image, the mean over its views.

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers, or None. Only their shape and dtype are checked.
        needs_bias: Whether None is refused for ``bias``.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    check_logits(logits, labels)
    if needs_bias and bias is None:
        raise UsageError("this loss needs the bias attribute, but got None")
    check_batch(logits, labels, bias, last="K")
    b, v, _ = logits.shape
    return per_anchor_cross_entropy(logits, labels).view(b, v).sum(dim=1) / max(v, 1)


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Refuse labels that are None or do not fit the logits."""
    check_batch(logits, labels, last="K")
    if labels is None:
        raise UsageError("this loss needs labels, but got None")
    check_range("labels", labels, logits.shape[-1])


def check_range(name: str, ids: Tensor, k: int) -> None:
    """Refuse integers outside 0..k-1. Integers on a GPU are not checked: reading them waits for the GPU."""
    if len(ids) and can_read_without_sync(ids.device):
        low, high = int(ids.min()), int(ids.max())
        if not 0 <= low <= high < k:
            raise UsageError(f"expected {name} in 0..{k - 1}, but got {low}..{high}")


def check_ids(name: str, ids: Tensor, n: int, k: int) -> None:
    """Refuse labels or bias values that are not ``(n,)`` integers in 0..k-1."""
    check_shape(name, ids, n)
    if ids.is_floating_point() or ids.is_complex():
        raise UsageError(f"expected {name} to be integers, but got {ids.dtype}")
    check_range(name, ids, k)


def check_per_image(name: str, values: Tensor, like: Tensor) -> Tensor:
    """Return ``values`` without gradient in the dtype of ``like``.

    Refuse another shape, and integers: a share or a loss that was rounded to an integer means nothing.
    """
    check_shape(name, values, *like.shape)
    if not values.is_floating_point():
        raise UsageError(f"expected {name} to be floating point, but got {values.dtype}")
    return values.detach().to(like.dtype)


def per_anchor_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``(B * V,)`` the cross-entropy of every anchor."""
    b, v, k = logits.shape
    flat = upcast_half(logits).reshape(b * v, k)
    return F.cross_entropy(flat, labels.long().repeat_interleave(v), reduction="none")


def mean_or_zero(values: Tensor) -> Tensor:
    """Return the mean, 0 with a zero gradient for an empty tensor."""
    return values.sum() / max(values.numel(), 1)
