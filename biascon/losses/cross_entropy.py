"""Losses on the logits of a linear classifier: cross-entropy and its weighted relatives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from biascon.errors import UsageError
from biascon.losses.pairwise import check_batch, check_shape, raised, readable


def cross_entropy(logits: Tensor, labels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return -mean log softmax(logits)_y over all B * V anchors: empirical risk minimisation.

    Args:
        logits: ``(B, V, K)`` float; half precision is raised to float32.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    return _mean(per_image(logits, labels))


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
    in_range("bias", bias, logits.shape[-1])
    return _mean(per_image(logits, bias))


def gce(logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, q: float = 0.7) -> Tensor:
    """Return the mean generalised cross-entropy (1 - p_y^q) / q (Zhang and Sabuncu, NeurIPS 2018).

    Its gradient is that of cross-entropy times p_y^q, so that easy images are trusted more: the network
    that LfF trains to be biased.

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.
        q: In (0, 1]; towards 0 this is cross-entropy.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    checked(logits, labels)
    flat = _flat(logits, labels)
    return _mean(-torch.expm1(-q * flat) / q)


def lff(
    logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, bias_losses: Tensor
) -> Tensor:
    """Return the mean over images of W * cross-entropy, W = L_b / (L_b + L_d) (Nam et al., NeurIPS 2020).

    L_b is the cross-entropy of the biased network on the image at the same step, L_d that of this one,
    both without gradient: an image that the biased network gets wrong weighs most. Both 0 give W = 1/2.

    Args:
        logits: ``(B, V, K)`` float, of the debiased network.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.
        bias_losses: ``(B,)`` float: L_b, mean over the views.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    value = per_image(logits, labels)
    theirs, mine = one_an_image("bias_losses", bias_losses, value), value.detach()
    total = theirs + mine
    weight = torch.where(total > 0, theirs / torch.where(total > 0, total, 1.0), 0.5)
    return _mean(weight * value)


def jtt(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    weights: Tensor,
    up: float = 50.0,
    first_epochs: int = 1,
) -> Tensor:
    """Return the mean over images of weight * cross-entropy (Liu et al., ICML 2021).

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.
        weights: ``(B,)`` float: ``up`` for the images that the first network gets wrong and 1 for the
            others, over their mean in the training set.
        up: How many times such an image counts, at least 1; the trainer makes the weights of it.
        first_epochs: For how many epochs the first network is trained; read by the trainer.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    value = per_image(logits, labels)
    return _mean(one_an_image("weights", weights, value) * value)


def groupdro(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    group_weights: Tensor,
    eta: float = 0.01,
) -> Tensor:
    """Return sum_g q_g L_g (Sagawa et al., ICLR 2020); groups are (label, bias) pairs.

    L_g is the mean cross-entropy of the batch's images of group g, 0 for a group that it lacks. First
    q_g is multiplied by exp(eta L_g) and q normalised: an ascent step, without gradient.

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers in 0..M-1.
        group_weights: ``(K, M)`` float: q, *updated in place*; it starts uniform over the groups that
            training has and 0 elsewhere.
        eta: Step size of q, at least 0.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    value = per_image(logits, labels, bias, needs_bias=True)
    check_shape("group_weights", group_weights, logits.shape[-1], "M")
    k, m = group_weights.shape
    group = labels.long() * m + bias.long()  # (B,) 0..K*M-1: one number a pair
    n = torch.zeros(k * m, dtype=value.dtype, device=value.device)
    n = n.index_add(0, group, torch.ones_like(value))
    losses = torch.zeros_like(n).index_add(0, group, value) / n.clamp(min=1)
    with torch.no_grad():
        q = group_weights.view(-1)
        q.copy_(torch.softmax(torch.log(q) + eta * losses.detach().to(q.dtype), dim=0))
    return (q.to(losses.dtype).clone() * losses).sum()


def per_image(
    logits: Tensor, labels: Tensor, bias: Tensor | None = None, *, needs_bias: bool = False
) -> Tensor:
    """Return ``(B,)`` the cross-entropy of each image, mean over its views; shapes are checked.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    checked(logits, labels)
    if needs_bias and bias is None:
        raise UsageError("this loss needs the bias attribute, but got None")
    check_batch(logits, labels, bias, last="K")
    b, v, _ = logits.shape
    return _flat(logits, labels).view(b, v).sum(dim=1) / max(v, 1)


def checked(logits: Tensor, labels: Tensor) -> None:
    """Refuse logits and labels that do not fit each other."""
    check_batch(logits, labels, last="K")
    if labels is None:
        raise UsageError("this loss needs labels, but got None")
    in_range("labels", labels, logits.shape[-1])


def in_range(name: str, ids: Tensor, k: int) -> None:
    """Refuse integers outside 0..k-1, where looking at them does not wait for the device."""
    if len(ids) and readable(ids.device):
        low, high = int(ids.min()), int(ids.max())
        if not 0 <= low <= high < k:
            raise UsageError(f"expected {name} in 0..{k - 1}, but got {low}..{high}")


def one_an_image(name: str, values: Tensor, like: Tensor) -> Tensor:
    """Return one number an image in the precision of ``like``, or refuse another shape."""
    check_shape(name, values, *like.shape)
    return values.detach().to(like.dtype)


def _flat(logits: Tensor, labels: Tensor) -> Tensor:
    """``(B * V,)`` the cross-entropy of every anchor."""
    b, v, k = logits.shape
    flat = raised(logits).reshape(b * v, k)
    return F.cross_entropy(flat, labels.long().repeat_interleave(v), reduction="none")


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)
