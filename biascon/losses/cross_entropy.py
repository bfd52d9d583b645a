"""Cross-entropy of a linear classifier: empirical risk minimisation, the field's baseline."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from biascon.errors import UsageError
from biascon.losses.pairwise import check_batch


def cross_entropy(logits: Tensor, labels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return -mean log softmax(logits)_y over all B * V anchors.

    Args:
        logits: ``(B, V, K)`` float; half precision is raised to float32.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    check_batch(logits, labels, last="K")
    if labels is None:
        raise UsageError("this loss needs labels, but got None")
    b, v, k = logits.shape
    labels = labels.long()
    if labels.device.type == "cpu" and b and not 0 <= int(labels.min()) <= int(labels.max()) < k:
        got = f"{int(labels.min())}..{int(labels.max())}"
        raise UsageError(f"expected labels in 0..{k - 1}, but got {got}")
    flat = logits.reshape(b * v, k)
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    if b * v == 0:
        return flat.sum()
    return F.cross_entropy(flat, labels.repeat_interleave(v))
