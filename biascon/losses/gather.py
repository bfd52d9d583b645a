"""The batch of all ranks: gathered with gradient, so that 2 ranks of 64 images equal 1 of 128.

Every rank computes the same loss of the whole batch. Under ``DistributedDataParallel``, which takes the
*mean* of the ranks' gradients, a rank's slice of the gradient is therefore scaled by their number W:
the mean over ranks of W dL/dz_r dz_r/dw is dL/dw. What each rank holds must have the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from biascon.errors import UsageError
from biascon.utils.distributed import all_gather, world_size

CONSTANT_INPUTS = (
    "counts",
    "group_weights",
)  # inputs that are the same on every rank, and no rows of the batch


def gather(
    z: Tensor, labels: Tensor | None, bias: Tensor | None, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Any, Tensor | None, dict[str, Tensor]]:
    """Return the batch of all ranks, the same on each.

    Raises:
        UsageError: The ranks hold batches of different sizes.
    """
    sizes = [torch.zeros(1, dtype=torch.long, device=z.device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(z)], device=z.device))
    if z.device.type == "cpu" and len({int(size) for size in sizes}) > 1:
        told = ", ".join(str(int(size)) for size in sizes)
        raise UsageError(f"expected as many images on every rank, but got {told}")

    rows = {name: x if name in CONSTANT_INPUTS else all_gather(x) for name, x in inputs.items()}
    both = [None if x is None else all_gather(x) for x in (labels, bias)]
    return all_gather(z), both[0], both[1], rows
