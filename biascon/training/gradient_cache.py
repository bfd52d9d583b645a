"""Forward and backward of one batch: at once, or a part at a time where it does not fit.

A contrastive loss compares all images of a batch, so that its gradient is not the mean over parts. A batch
in parts is therefore passed twice: first without gradient, for the outputs of all; the loss and its gradient
with respect to the outputs; then part by part with gradient, into which that gradient is fed. The result is
that of the whole batch, if the encoder's normalization does not see the batch; batch norm sees a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

Outputs = dict[str, Tensor]


def forward_backward(
    net: nn.Module, x: Tensor, part: int, loss: Callable[[Outputs], Tensor], *, half: bool = False
) -> tuple[Tensor, Outputs]:
    """Add the gradient of a batch's loss to the weights; return the loss and the outputs, detached.

    Args:
        net: Maps ``(N, 3, H, W)`` to tensors ``(N, ...)`` by name.
        x: ``(N, 3, H, W)``.
        part: How many rows of x at a time; 0 is all of them.
        loss: Maps the outputs of all rows to a scalar.
        half: Whether the network computes in bfloat16 where that is safe; the loss never does.
    """
    kind = x.device.type
    if not 0 < part < len(x):
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            out = net(x)
        value = loss(out)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach(), {name: tensor.detach() for name, tensor in out.items()}
    pieces = torch.split(x, part)
    several = isinstance(net, nn.parallel.DistributedDataParallel)
    plain = cast(nn.Module, net.module) if several else net
    with (
        torch.no_grad(),
        _statistics_kept(plain),
        torch.autocast(kind, torch.bfloat16, enabled=half),
    ):
        found = [plain(piece) for piece in pieces]
    whole = {name: torch.cat([one[name] for one in found]).requires_grad_() for name in found[0]}
    value = loss(whole)
    names = list(whole)
    grads = torch.autograd.grad(value, [whole[name] for name in names], allow_unused=True)
    used = [
        (name, torch.split(grad, part))
        for name, grad in zip(names, grads, strict=True)
        if grad is not None
    ]
    for k, piece in enumerate(pieces):
        # The gradients of several processes are averaged once, with the last part.
        apart = cast(Any, net).no_sync() if several and k < len(pieces) - 1 else nullcontext()
        with apart:
            with torch.autocast(kind, torch.bfloat16, enabled=half):
                out = net(piece)
            torch.autograd.backward([out[name] for name, _ in used], [grad[k] for _, grad in used])
    return value.detach(), {name: tensor.detach() for name, tensor in whole.items()}


@contextmanager
def _statistics_kept(net: nn.Module) -> Iterator[None]:
    """Normalize by the batch without counting it into the running statistics."""
    norms = [
        part
        for part in net.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
