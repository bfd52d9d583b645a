"""Gather the batches of all ranks with gradient: 2 ranks of 64 images give the loss of 1 rank of 128.

Every rank computes the same loss of the whole batch. ``DistributedDataParallel`` takes the *mean* of the
gradients of the W ranks. The slice of the gradient that belongs to a rank r is therefore multiplied by W: the
mean over ranks of W dL/dz_r dz_r/dw is dL/dw. The batches of all ranks must have the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biascon.utils.collectives import gather_rows

# Inputs that are equal on every rank and have no row for each image.
CONSTANT_INPUTS = ("counts", "group_weights")


def gather(
    z: Tensor, labels: Tensor | None, bias: Tensor | None, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Any, Tensor | None, dict[str, Tensor]]:
    """Return the batch of all ranks, equal on every rank.

    Args:
        z: ``(B, V, D)`` or ``(B, V, K)`` of this rank.
        labels: ``(B,)`` of this rank, or None.
        bias: ``(B,)`` of this rank, or None.
        inputs: Tensor inputs of the loss by name, ``(B, ...)`` of this rank or equal on every rank.

    One collective operation gathers all of them.

    Raises:
        UsageError: The ranks hold batches of different sizes, or other inputs at the first batch. On a GPU, a
            rank that has had a batch of its size before does not compare: its loss is then NaN.
    """
    given = {"z": z, "labels": labels, "bias": bias, **inputs}
    own = {name: x for name, x in given.items() if x is not None and name not in CONSTANT_INPUTS}
    rows, is_equal = gather_rows(own)
    all_inputs = {name: rows.get(name, x) for name, x in inputs.items()}
    all_z = torch.where(is_equal, rows["z"], torch.nan)
    return all_z, rows.get("labels"), rows.get("bias"), all_inputs
