"""FLAC (Sarridis et al.): features similar where the bias differs within a class, and apart across."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.cross_entropy import cross_entropy
from biascon.losses.pairwise import check_shape, make_anchors, upcast_half

FLOOR = 1e-6  # added to a squared distance, so that its root has a gradient at 0


def flac(
    logits: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    features: Tensor,
    bias_features: Tensor,
    alpha: float = 1000.0,
    delta: float = 0.5,
) -> Tensor:
    """Return cross-entropy + alpha * J.

    With the kernel s = 1 / (1 + d^delta) of Euclidean distances d = sqrt(abs(x_i - x_j)^2 + 1e-6), s_b on
    the bias features and s_f on the features: the pairs that count are those of one label with s_b below
    th and those of two labels with s_b above th, th = (max + min) / 2 of s_b over the batch, an anchor with
    itself included. Over the pairs of each anchor, p = (1 - s_b) / sum (1 - s_b) and q = s_f / sum s_f;
    J is the mean over all counted pairs of (p - q) (log p - log q), and 0 if none counts.

    Args:
        logits: ``(B, V, K)`` float.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Ignored.
        features: ``(B, V, F)`` float: the encoder's.
        bias_features: ``(B, G)`` float: of a network that captures the bias, one vector an image.
        alpha: Weight of J, at least 0. The authors run BiasedMNIST with 110, 1500, 2000 and 10000 at rho
            0.99, 0.995, 0.997 and 0.999.
        delta: Exponent of the distance, above 0.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    ce = cross_entropy(logits, labels)
    batch = make_anchors(features, labels)
    check_shape("bias_features", bias_features, len(features), "G")
    if len(batch) == 0:
        return ce
    theirs = upcast_half(bias_features).detach().to(batch.z.dtype)
    image, ids, x = batch.image, batch.ids_of("labels"), batch.z

    def apart(a: Tensor, b: Tensor) -> Tensor:
        # Differences first: a^2 + b^2 - 2ab loses the digits of features that lie close to each other.
        d = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        return (d * d + FLOOR) ** (delta / 2)

    def least(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return 1 / (1 + apart(theirs[image[rows]], theirs[image[columns]]).max(dim=1).values)

    highest = 1 / (1 + FLOOR ** (delta / 2))  # of an anchor with itself
    with torch.no_grad():
        th = (highest + batch.map_rows(least).min()) / 2

    def rows_of(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        of_bias = apart(theirs[image[rows]], theirs[image[columns]])
        s_b = 1 / (1 + of_bias)
        same = ids[rows][:, None] == ids[columns][None, :]
        counted = torch.where(same, s_b < th, s_b > th) & mask
        p = torch.where(counted, of_bias / (1 + of_bias), 0.0)  # 1 - s_b, to the last digit
        q = torch.where(counted, 1 / (1 + apart(x[rows], x[columns])), 0.0)
        p = p / torch.where(counted.any(dim=1), p.sum(dim=1), 1.0)[:, None]
        q = q / torch.where(counted.any(dim=1), q.sum(dim=1), 1.0)[:, None]
        ratio = torch.log(torch.where(counted, p, 1.0)) - torch.log(torch.where(counted, q, 1.0))
        return torch.stack((((p - q) * ratio).sum(dim=1), counted.sum(dim=1).to(p.dtype)), dim=1)

    total, n = batch.map_rows(rows_of).sum(dim=0)
    value: Tensor = ce + alpha * total / n.clamp(min=1)
    return value
