"""Forward and backward pass of one batch: at once, or in micro-batches where the batch does not fit.

A contrastive loss compares all images of a batch, so its gradient is not the mean over micro-batches. The
micro-batches are therefore passed twice (gradient caching). The first pass
computes the outputs of all rows without gradient; then the loss and its gradient with respect to the outputs
are computed. The second pass computes each micro-batch with gradient and feeds that gradient in. The result
is that of the whole batch if the normalization of the encoder does not depend on the batch. Batch norm sees
one micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

Outputs = dict[str, Tensor]


def forward_backward(
    net: nn.Module,
    x: Tensor,
    rows_at_a_time: int,
    loss: Callable[[Outputs], Tensor],
    *,
    added_features: Tensor | None = None,
    use_bfloat16: bool = False,
) -> tuple[Tensor, Outputs]:
    """Add the gradient of the loss of a batch to the parameters; return the loss and the outputs, detached.

    Args:
        net: The network: maps ``(N, 3, H, W)`` to tensors ``(N, ...)`` by name.
        x: ``(N, 3, H, W)``.
        rows_at_a_time: The rows of a micro-batch; 0 for the whole batch.
        loss: Maps the outputs of all rows to a scalar.
        added_features: ``(N, F)``, the second argument of the network; None to call it with the images only.
        use_bfloat16: Whether the network computes in bfloat16 where that is safe. The loss never does.
    """
    device_type = x.device.type
    if not 0 < rows_at_a_time < len(x):
        with torch.autocast(device_type, torch.bfloat16, enabled=use_bfloat16):
            out = net(*_arguments(x, added_features))
        value = loss(out)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach(), {name: tensor.detach() for name, tensor in out.items()}
    pieces = list(torch.split(x, rows_at_a_time))
    added: list[Tensor | None] = [None] * len(pieces)
    if added_features is not None:
        added = list(torch.split(added_features, rows_at_a_time))
    inputs = [_arguments(piece, part) for piece, part in zip(pieces, added, strict=True)]
    is_distributed = isinstance(net, nn.parallel.DistributedDataParallel)
    module = cast(nn.Module, net.module) if is_distributed else net
    with (
        torch.no_grad(),
        _keep_running_statistics(module),
        torch.autocast(device_type, torch.bfloat16, enabled=use_bfloat16),
    ):
        parts = [module(*arguments) for arguments in inputs]
    batch = {name: torch.cat([part[name] for part in parts]).requires_grad_() for name in parts[0]}
    value = loss(batch)
    names = list(batch)
    grads = torch.autograd.grad(value, [batch[name] for name in names], allow_unused=True)
    used = [
        (name, torch.split(grad, rows_at_a_time))
        for name, grad in zip(names, grads, strict=True)
        if grad is not None
    ]
    for k, arguments in enumerate(inputs):
        # The gradients of several processes are averaged once, with the last micro-batch.
        is_last = k == len(pieces) - 1
        without_sync = cast(Any, net).no_sync() if is_distributed and not is_last else nullcontext()
        with without_sync:
            with torch.autocast(device_type, torch.bfloat16, enabled=use_bfloat16):
                out = net(*arguments)
            torch.autograd.backward([out[name] for name, _ in used], [grad[k] for _, grad in used])
    return value.detach(), {name: tensor.detach() for name, tensor in batch.items()}


def _arguments(x: Tensor, added_features: Tensor | None) -> tuple[Tensor, ...]:
    return (x,) if added_features is None else (x, added_features)


@contextmanager
def _keep_running_statistics(net: nn.Module) -> Iterator[None]:
    """Let batch norm normalize by the batch, and leave its running statistics unchanged."""
    norms = [
        layer
        for layer in net.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
