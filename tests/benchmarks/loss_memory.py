"""The losses that the benchmark compares, and the peak memory of one of them in a fresh process.

``python loss_memory.py METHOD ANCHORS THREADS`` prints the MiB that the first forward and backward
pass needs beyond what the process held before it: interpreter, libraries and the batch itself.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from biascon.losses import get_loss, pairwise

WIDTH, VIEWS, CLASSES, TEMPERATURE = 128, 2, 10, 0.1
Step = Callable[[], Tensor]


# As in most code of papers: all similarities at once, float masks, plain autograd.


def _similarities(z: Tensor) -> Tensor:
    s = torch.matmul(z, z.T) / TEMPERATURE
    return s - s.max(dim=1, keepdim=True).values.detach()  # for numerical stability


def dense_supcon(z: Tensor, labels: Tensor) -> Tensor:
    """SupCon on ``(N, D)`` anchors with ``(N,)`` labels, every one with a positive."""
    s = _similarities(z)
    others = 1 - torch.eye(len(z))
    positives = torch.eq(labels[:, None], labels[None, :]).float() * others
    log_p = s - torch.log((torch.exp(s) * others).sum(dim=1, keepdim=True))
    return -((positives * log_p).sum(dim=1) / positives.sum(dim=1)).mean()


def dense_contex(
    z: Tensor, labels: Tensor, images: Tensor, wa: float = 0.5, wb: float = 0.5
) -> Tensor:
    """ConTeX on ``(N, D)`` anchors with ``(N,)`` labels and images, every set of an anchor filled."""
    s = _similarities(z)
    return wa * _dense_context(s, labels) + wb * _dense_self(s, images)


def _dense_context(s: Tensor, labels: Tensor) -> Tensor:
    same = torch.eq(labels[:, None], labels[None, :]).float()
    positives, negatives = same - torch.eye(len(s)), 1 - same
    log_p = s - torch.log((torch.exp(s) * negatives).sum(dim=1, keepdim=True))
    return -((positives * log_p).sum(dim=1) / positives.sum(dim=1)).mean()


def _dense_self(s: Tensor, images: Tensor) -> Tensor:
    others = 1 - torch.eye(len(s))
    positives = torch.eq(images[:, None], images[None, :]).float() * others
    log_p = s - torch.log((torch.exp(s) * others).sum(dim=1, keepdim=True))
    return -((positives * log_p).sum(dim=1) / positives.sum(dim=1)).mean()


def _inputs(names: tuple[str, ...], images: int, draw: torch.Generator) -> dict[str, Tensor]:
    made = {
        "logits": lambda: torch.randn(images, VIEWS, CLASSES, generator=draw),
        "bias_features": lambda: torch.randn(images, WIDTH, generator=draw),
    }
    return {name: made[name]() for name in names}


def make(method: str, anchors: int) -> tuple[Step, Tensor]:
    """Return a forward and backward pass over a batch, and the embeddings that get the gradient.

    Args:
        method: ``"dense-contex"``, ``"dense-supcon"``, ``"pml-supcon"`` for pytorch-metric-learning's,
            or a loss of the registry.
        anchors: N = 2 views of N / 2 images; the batch is the same for every method.
    """
    draw = torch.Generator().manual_seed(0)
    images = anchors // VIEWS
    z = F.normalize(torch.randn(images, VIEWS, WIDTH, generator=draw), dim=-1)
    labels = torch.randint(CLASSES, (images,), generator=draw)
    bias = torch.randint(CLASSES, (images,), generator=draw)
    z.requires_grad_()
    y, image = (x.repeat_interleave(VIEWS) for x in (labels, torch.arange(images)))
    if method == "dense-contex":

        def forward() -> Tensor:
            return dense_contex(z.view(-1, WIDTH), y, image)

    elif method == "dense-supcon":

        def forward() -> Tensor:
            return dense_supcon(z.view(-1, WIDTH), y)

    elif method == "pml-supcon":
        from pytorch_metric_learning.losses import SupConLoss

        theirs = SupConLoss(temperature=TEMPERATURE)

        def forward() -> Tensor:
            return theirs(z.view(-1, WIDTH), y)

    else:
        loss = get_loss(method, temperature=TEMPERATURE)
        inputs = _inputs(loss.tensor_inputs, images, draw)

        def forward() -> Tensor:
            return loss(z, labels, bias, **inputs)

    def step() -> Tensor:
        z.grad = None
        value = forward()
        value.backward()
        return value.detach()

    return step, z


def _resident(field: str) -> float:
    """MiB that this process holds (``VmRSS``) or held at most since it began (``VmHWM``).

    ``ru_maxrss`` stands in where there is no /proc. It is not used on Linux, where a process inherits
    the peak of the one that started it, so that a small one below a large one would seem to need nothing.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    lines = status.read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def main(method: str, anchors: int, threads: int) -> None:
    """Print the extra MiB of the method's first pass over so many anchors."""
    torch.set_num_threads(threads)
    whole, pairwise.DENSE["cpu"] = pairwise.DENSE["cpu"], 0  # the tiny call takes the same path
    make(method, 64)[0]()
    pairwise.DENSE["cpu"] = whole
    step, _ = make(method, anchors)
    before = _resident("VmRSS")
    step()
    print(f"{_resident('VmHWM') - before:.2f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
