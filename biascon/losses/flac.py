"""FLAC (Sarridis et al., arXiv 2304.14252): similar features where the bias features are not similar."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.cross_entropy import cross_entropy
from biascon.losses.pairwise import check_shape, make_anchors, unit_vectors

BLOCK_ROWS = 1024  # rows of bias features whose distances are computed at a time
FLOOR = 1e-6  # added to a squared distance, so that its root has a finite gradient at 0
SPREAD = 1e-5  # relative difference of d^delta below which all bias features of a batch are equal


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
    """Return cross-entropy + alpha * J (Sarridis et al., arXiv 2304.14252).

    The features of both networks are divided by their norms. The similarity of two unit vectors is
    s = 1 / (1 + d^delta) with the distance d = sqrt(|x_i - x_j|^2 + 1e-6): s_b for the bias features, s_f for
    the features. A vector of zeros has no direction: it stays 0, with a zero gradient.

    The threshold is th = (max + min) / 2 of s_b over all pairs of the batch, including pairs of an anchor
    with itself. A pair counts if its labels are equal and s_b < th, or if its labels differ and s_b > th.
    If the bias features of all images have one direction, no pair counts.
    Over the pairs of each anchor that count, p = (1 - s_b) / sum (1 - s_b) and q = s_f / sum s_f. J is the
    mean of (p - q) (log p - log q) over all pairs that count, 0 without such a pair.

    Args:
        logits: float ``(B, V, K)``.
        labels: ``(B,)`` integers in 0..K-1.
        bias: Not used.
        features: float ``(B, V, F)`` of the encoder, of any norm.
        bias_features: float ``(B, G)`` of a network that encodes the bias, of any norm: one vector for each
            image. Without gradient.
        alpha: Weight of J, at least 0. The authors use 110, 1500, 2000 and 10000 for BiasedMNIST, where the
            probability of a bias-aligned training image is rho = 0.99, 0.995, 0.997 and 0.999.
        delta: Exponent of the distance, above 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    ce = cross_entropy(logits, labels)
    batch = make_anchors(unit_vectors(features), labels)
    check_shape("bias_features", bias_features, len(features), "G")
    if len(batch) == 0:
        return ce
    b = unit_vectors(bias_features.detach()).to(batch.z.dtype)
    image, ids, x = batch.image, batch.ids_of("labels"), batch.z

    def distances(a: Tensor, b: Tensor) -> Tensor:
        """Return d^delta for all pairs of rows."""
        return (squared_distances(a, b) + FLOOR) ** (delta / 2)

    largest = 1 / (1 + FLOOR ** (delta / 2))  # s_b of an anchor with itself
    kept = None
    with torch.no_grad():
        if batch.dense:  # the distances of all images are kept; the views of an image share them
            of_images = distances(b, b)
            farthest, kept = of_images.max(), of_images[image][:, image]
        else:
            parts = [distances(part, b).max() for part in torch.split(b, BLOCK_ROWS)]
            farthest = torch.stack(parts).max()
        th = (largest + 1 / (1 + farthest)) / 2
        # Equal bias features have no pairs. Rounding of th must not choose some.
        differs = farthest > FLOOR ** (delta / 2) * (1 + SPREAD)

    def divergence_sums(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        d_b = distances(b[image[rows]], b[image[columns]]) if kept is None else kept
        s_b = 1 / (1 + d_b)
        same = ids[rows][:, None] == ids[columns][None, :]
        counted = torch.where(same, s_b < th, s_b > th) & mask & differs
        p = torch.where(counted, d_b / (1 + d_b), 0.0)  # 1 - s_b without cancellation
        q = torch.where(counted, 1 / (1 + distances(x[rows], x[columns])), 0.0)
        has_pairs = counted.any(dim=1)
        p = p / torch.where(has_pairs, p.sum(dim=1), 1.0)[:, None]
        q = q / torch.where(has_pairs, q.sum(dim=1), 1.0)[:, None]
        ratio = torch.log(torch.where(counted, p, 1.0)) - torch.log(torch.where(counted, q, 1.0))
        return torch.stack((((p - q) * ratio).sum(dim=1), counted.sum(dim=1).to(p.dtype)), dim=1)

    total, n = batch.map_rows(divergence_sums).sum(dim=0)
    value: Tensor = ce + alpha * total / n.clamp(min=1)
    return value


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return ``(R, C)``: |a_i - b_j|^2 for all pairs of rows, in the dtype of ``a``.

    The product a b is computed in float64: in float32, a^2 + b^2 - 2 a b loses the digits of vectors that are
    close to each other. A device without float64 computes the differences instead, which is slower.
    """
    if a.device.type == "mps":
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    wide_a, wide_b = a.double(), b.double()
    norms = (wide_a**2).sum(dim=1)[:, None] + (wide_b**2).sum(dim=1)[None, :]
    return torch.addmm(norms, wide_a, wide_b.T, alpha=-2).clamp(min=0).to(a.dtype)
