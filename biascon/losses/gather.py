"""Gather the batches of all ranks with gradient: 2 ranks of 64 images give the loss of 1 rank of 128.

Every rank computes the same loss of the whole batch. ``DistributedDataParallel`` takes the *mean* of the
gradients of the W ranks. The slice of the gradient that belongs to a rank r is therefore multiplied by W: the
mean over ranks of W dL/dz_r dz_r/dw is dL/dw. The batches of all ranks must have the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from biascon.errors import UsageError
from biascon.utils.distributed import all_gather, world_size

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

    Raises:
        UsageError: The ranks hold batches of different sizes. On a GPU the sizes are not compared.
    """
    sizes = [torch.zeros(1, dtype=torch.long, device=z.device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(z)], device=z.device))
    if z.device.type == "cpu" and len({int(size) for size in sizes}) > 1:
        got = ", ".join(str(int(size)) for size in sizes)
        raise UsageError(f"expected as many images on every rank, but got {got}")

    all_inputs = {
        name: x if name in CONSTANT_INPUTS else all_gather(x) for name, x in inputs.items()
    }
    all_labels, all_bias = (None if x is None else all_gather(x) for x in (labels, bias))
    return all_gather(z), all_labels, all_bias, all_inputs
