"""What every pairwise loss shares: the anchors of a batch, their similarities, masked reductions.

Half-precision embeddings are raised to float32 before the first product, so that sums over
thousands of pairs keep their digits; float64 stays float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biascon.errors import UsageError


@dataclass(frozen=True)
class Anchors:
    """The N = B * V anchors of a batch and the relations between them.

    Attributes:
        s: ``(N, N)`` similarities z_i . z_j / T, float32 or float64.
        other: ``(N, N)`` bool, A(i): every anchor but i.
        image: ``(N,)`` the image that each anchor is a view of.
        labels: ``(N,)`` or None.
    """

    s: Tensor
    other: Tensor
    image: Tensor
    labels: Tensor | None

    @property
    def views(self) -> Tensor:
        """``(N, N)`` bool, S(i): the other views of the same image."""
        return (self.image[:, None] == self.image[None, :]) & self.other

    @property
    def positives(self) -> Tensor:
        """``(N, N)`` bool, P(i): the other anchors of the same label."""
        return self._same_label() & self.other

    @property
    def negatives(self) -> Tensor:
        """``(N, N)`` bool, N(i): the anchors of another label."""
        return ~self._same_label()

    def _same_label(self) -> Tensor:
        if self.labels is None:
            raise UsageError("this loss needs labels, but got None")
        return self.labels[:, None] == self.labels[None, :]


def anchors(z: Tensor, labels: Tensor | None, temperature: float) -> Anchors:
    """Flatten a batch to its anchors and compute their similarities.

    Args:
        z: ``(B, V, D)`` L2-normalised embeddings, any floating dtype.
        labels: ``(B,)`` integers, or None for a loss without labels.
        temperature: T > 0.

    Raises:
        UsageError: A shape or dtype that does not fit.
    """
    check_batch(z, labels)
    b, v, d = z.shape
    flat = z.reshape(b * v, d)
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    with torch.autocast(device_type=z.device.type, enabled=False):
        s = flat @ flat.T / temperature  # (N, N)
    return Anchors(
        s=s,
        other=~torch.eye(b * v, dtype=torch.bool, device=z.device),
        image=torch.arange(b, device=z.device).repeat_interleave(v),
        labels=None if labels is None else labels.repeat_interleave(v),
    )


def check_batch(z: Tensor, labels: Tensor | None, last: str = "D") -> None:
    """Refuse a batch whose shapes or dtypes do not fit, with what was got and what is expected."""
    if z.ndim != 3:
        raise UsageError(f"expected z of shape (B, V, {last}), but got {tuple(z.shape)}")
    if not z.is_floating_point():
        raise UsageError(f"expected z to be floating point, but got {z.dtype}")
    if labels is None:
        return
    if labels.shape != z.shape[:1]:
        want = (z.shape[0],)
        raise UsageError(f"expected labels of shape {want}, but got {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex():
        raise UsageError(f"expected labels to be integers, but got {labels.dtype}")


def log_sum_exp(s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return log sum over the mask of exp s, row by row, and which rows have anything in the mask.

    A row whose mask is empty gives 0 there, without a NaN in the value or in the gradient.

    Args:
        s: ``(N, N)``.
        mask: ``(N, N)`` bool.

    Returns:
        ``(N,)`` values and ``(N,)`` bool.
    """
    filled = mask.any(dim=1)
    inside = mask | ~filled[:, None]
    return torch.where(filled, s.masked_fill(~inside, -torch.inf).logsumexp(dim=1), 0.0), filled


def mean_over(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each row over its mask (0 where that is empty), and which rows have one."""
    count = mask.sum(dim=1)
    total = torch.where(mask, values, 0.0).sum(dim=1)
    return total / count.clamp(min=1), count > 0


def mean_of_anchors(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over the counted anchors: a scalar, 0 with a zero gradient if none counts."""
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)
