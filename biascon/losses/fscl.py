"""FSCL and FSCL+ (Park et al., CVPR 2022): negatives have another label and the same bias value."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import Anchors, log_sum_exp, make_anchors, mean_of_anchors


def fscl(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    temperature: float = 0.1,
    group_norm: bool = False,
) -> Tensor:
    """Return the fair supervised contrastive loss (Park et al., CVPR 2022): a mean over anchors.

    The loss of an anchor is -mean_{p in P(i)} [s_ip - log sum_{n in H(i)} exp s_in]. H(i) are the anchors
    with another label and the *same* value of the bias attribute. The bias attribute does not help to tell
    them from the anchor. Positives are not in the denominator.

    With ``group_norm`` the loss is FSCL+. A group holds the anchors with one label and one bias value, and
    P_g(i) are the positives of i in group g. The loss of an anchor is
    -mean_g mean_{p in P_g(i)} [s_ip - log sum_{n in H(i)} exp s_in]
    over the groups g with a positive. The loss is the mean over groups of the mean over the counted anchors
    of the group. All groups therefore count equally, as anchors and as positives. For two labels and two bias
    values this has the scale of the authors' code without its factor T / T_base.

    An anchor without a positive or without such a negative does not count.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: ``(B,)`` integers.
        temperature: T > 0.
        group_norm: Whether the loss is FSCL+.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature, bias)
    total, n_positives = batch.similarity_sums("labels")
    normalizer, has_negatives = _hard_negatives(batch)
    counted = has_negatives & (n_positives > 0)
    if not group_norm:
        return mean_of_anchors(normalizer - total / n_positives.clamp(min=1), counted)
    # All anchors of a group count, or none: the mean over groups is a weighted mean over anchors.
    group_size = batch.similarity_sums("labels", "bias")[1] + 1
    weight = torch.where(counted, 1 / group_size.to(total.dtype), 0.0)
    n_groups = weight.sum()
    values = normalizer - _mean_over_groups(batch, group_size)
    return (weight * values).sum() / torch.where(n_groups > 0, n_groups, 1.0)


def _hard_negatives(batch: Anchors) -> tuple[Tensor, Tensor]:
    """Return ``(N,)`` log sum exp s over H(i), 0 if it is empty, and bool ``(N,)``: whether it is not."""
    labels = batch.ids_of("labels")

    def log_sum(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        mask = mask & (labels[rows][:, None] != labels[columns][None, :])
        return torch.stack((log_sum_exp(s, mask), mask.any(dim=1).to(s.dtype)), dim=1)

    normalizer, has_negatives = batch.map_rows(log_sum, "bias").unbind(dim=1)
    return normalizer, has_negatives > 0


def _mean_over_groups(batch: Anchors, group_size: Tensor) -> Tensor:
    """Return ``(N,)`` mean_g mean_{p in P_g(i)} s_ip, 0 for an anchor without a positive.

    Args:
        batch: Anchors with labels and bias values.
        group_size: ``(N,)`` the number of anchors in the group of each anchor.
    """
    bias = batch.ids_of("bias")

    def weighted(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        in_group = bias[rows][:, None] == bias[columns][None, :]
        n = group_size[columns][None, :] - in_group.to(group_size.dtype)  # |P_g(i)|
        weight = torch.where(mask, 1 / n.clamp(min=1).to(s.dtype), 0.0)
        return torch.stack(((weight * s).sum(dim=1), weight.sum(dim=1)), dim=1)

    total, n_groups = batch.map_rows(weighted, "labels").unbind(dim=1)
    return total / torch.where(n_groups > 0, n_groups, 1.0)
