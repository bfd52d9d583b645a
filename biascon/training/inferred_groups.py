"""EIIL (Creager et al., ICML 2021): two environments, inferred from the outputs of a reference network."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.errors import UsageError
from biascon.losses.pairwise import check_batch
from biascon.losses.per_image import check_range

CHECK_EVERY = 50  # steps between two checks for convergence
BETAS = (0.9, 0.999)  # of Adam
EPSILON = 1e-30  # against 0 / 0 in a step of Adam


def infer_environments(
    logits: Tensor,
    labels: Tensor,
    *,
    steps: int = 10_000,
    lr: float = 1e-3,
    generator: torch.Generator,
) -> Tensor:
    """Return the environment of each image, 0 or 1 (Creager et al., ICML 2021). Environment 1 is the smaller.

    The shares q_i = sigmoid(w_i) of environment 1 start at random, w_i from the standard normal distribution.
    Adam maximizes A^2 + B^2, the sum of the gradient penalties of IRMv1, with
    A = mean(q_i g_i), B = mean((1 - q_i) g_i), g_i = sum_k p_ik logits_ik - logits_iy.
    g_i is the derivative of the cross-entropy of s * logits_i with respect to s at s = 1, and p = softmax.
    The environments are q > 1/2 and q <= 1/2.

    A + B does not depend on q. The maximum is therefore that of abs(A - B): all images with g_i > 0 in one
    environment and all with g_i < 0 in the other. An image that the network classifies correctly has
    g_i <= 0. The ascent stops when it reaches this split, which later steps cannot change. An image with
    g_i = 0 has no influence; it gets environment 0. So do all images if no g_i or every g_i is positive.

    The authors' code adds 1e-8 to the denominator of Adam. If the gradient of an image is smaller, for
    example because the network is sure and N is large, its environment stays the random one of the start.
    Here the denominator has no such term: the steps do not depend on the scale of g and on N.

    Args:
        logits: float ``(N, K)``: the outputs of the reference network for the training images.
        labels: ``(N,)`` integers in 0..K-1.
        steps: The largest number of steps. With lr 1e-3, about 1,000 reach the maximum for 54,000 images.
        lr: Learning rate of Adam.
        generator: A generator of the CPU, for the start.

    Returns:
        int64 ``(N,)`` on the CPU.

    Raises:
        UsageError: A shape or a dtype does not fit, or a logit is not finite.
    """
    g = _scale_gradients(logits, labels)
    w = torch.randn(len(g), generator=generator, dtype=torch.float64)
    total = g.abs().mean() if len(g) else torch.ones(())
    if total > 0:
        w = _ascend(w, g / total, steps, lr)
    upper, lower = (w > 0) & (g != 0), (w <= 0) & (g != 0)
    n_upper, n_lower = int(upper.sum()), int(lower.sum())
    if n_upper == n_lower:
        return (upper if g[upper].sum() >= g[lower].sum() else lower).long()
    return (upper if n_upper < n_lower else lower).long()


def _scale_gradients(logits: Tensor, labels: Tensor) -> Tensor:
    """Return float64 ``(N,)`` g_i on the CPU, 0 where all logits of an image are equal."""
    check_batch(logits.unsqueeze(1) if logits.dim() == 2 else logits, labels, last="K")
    if logits.dim() != 2:
        raise UsageError(f"expected logits of shape (N, K), but got {tuple(logits.shape)}")
    check_range("labels", labels, logits.shape[1])
    wide = logits.detach().cpu().double()
    if not bool(torch.isfinite(wide).all()):
        raise UsageError("expected finite logits, but got NaN or infinity")
    gaps = wide - wide.gather(1, labels.cpu().long()[:, None])
    return (wide.softmax(dim=1) * gaps).sum(dim=1)


def _ascend(w: Tensor, g: Tensor, steps: int, lr: float) -> Tensor:
    """Return w after the steps of Adam, or after fewer steps if the split is the maximum.

    The gradient of image i is g_i (A - B) q_i (1 - q_i) times a constant. Adam divides by the root of a mean
    of its squares. The size of g_i therefore cancels, and only its sign stays.
    """
    sign, first, second = g.sign(), torch.zeros_like(w), torch.zeros_like(w)
    for step in range(1, steps + 1):
        q = torch.sigmoid(w)
        gap = (2 * torch.dot(q, g) - g.sum()) / len(g)
        gradient = q.addcmul_(q, q, value=-1).mul_(sign).mul_(gap)
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        scale = (1 - BETAS[1] ** step) ** 0.5 / (1 - BETAS[0] ** step)
        w = w.addcdiv(first, second.sqrt().add_(EPSILON), value=lr * scale)
        if step % CHECK_EVERY == 0 and bool(((w > 0) == (g * gap > 0))[g != 0].all()):
            break
    return w
