"""Correct-n-Contrast (Zhang et al., ICML 2022): predictions of a first network choose the pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.cross_entropy import cross_entropy
from biascon.losses.pairwise import Anchors, log_sum_exp, make_anchors, mean_of_anchors


def cnc(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    logits: Tensor,
    temperature: float = 0.05,
    contrast_weight: float = 0.75,
) -> Tensor:
    """Return ``contrast_weight`` * C + (1 - ``contrast_weight``) * cross-entropy (Zhang et al., ICML 2022).

    C is the mean over anchors of -mean_{q in Q(i)} [s_iq - log(sum_{Q(i)} exp s + sum_{H(i)} exp s)].
    Q(i) are the anchors with the same label and *another* prediction of a first-stage network. H(i) are the
    anchors with another label and the *same* prediction. All other anchors, the views of the image among
    them, are in neither set. An anchor whose Q(i) or H(i) is empty does not count in C.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers in 0..K-1.
        bias: ``(B,)`` integers: the label that the first-stage network predicts for each image.
        logits: float ``(B, V, K)`` of a linear classifier on the encoder.
        temperature: T > 0.
        contrast_weight: Weight of C, in [0, 1].

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    contrast = _contrast(make_anchors(z, labels, temperature, bias))
    return contrast_weight * contrast + (1 - contrast_weight) * cross_entropy(logits, labels)


def _contrast(batch: Anchors) -> Tensor:
    """Return C of ``cnc`` for anchors with labels and predictions."""
    labels, predictions = batch.ids_of("labels"), batch.ids_of("bias")

    def positives(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return for each row the number of positives, the sum of s and log sum exp s over them."""
        mask = mask & (predictions[rows][:, None] != predictions[columns][None, :])
        total = torch.where(mask, s, 0.0).sum(dim=1)
        return torch.stack((mask.sum(dim=1).to(s.dtype), total, log_sum_exp(s, mask)), dim=1)

    def negatives(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return for each row the number of negatives and log sum exp s over them."""
        mask = mask & (labels[rows][:, None] != labels[columns][None, :])
        return torch.stack((mask.sum(dim=1).to(s.dtype), log_sum_exp(s, mask)), dim=1)

    n_positives, total, near = batch.map_rows(positives, "labels").unbind(dim=1)
    n_negatives, far = batch.map_rows(negatives, "bias").unbind(dim=1)
    values = torch.logaddexp(near, far) - total / n_positives.clamp(min=1)
    return mean_of_anchors(values, (n_positives > 0) & (n_negatives > 0))
