"""One of the ranks of ``test_distributed.py``: ``torchrun ... distributed_worker.py FOLDER``.

Each rank first computes everything for 1 x 128 images by itself, before there is a process group, then
with its 64 of them; the largest differences go to ``FOLDER/RANK.json``.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parents[2]))

from biascon.errors import UsageError
from biascon.losses import Loss, get_loss, pairwise
from tests.losses.batches import NAMES, TABLES, Batch, make_batch

IMAGES, VIEWS, WIDTH, CLASSES, STEPS = 128, 2, 12, 6, 5
DTYPES = {"float64": torch.float64, "float32": torch.float32}
Norm = Callable[[int], nn.Module]


class Network(nn.Module):
    """A linear encoder with a norm, and a linear head for each output."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(WIDTH, 16), norm(16))
        self.head, self.classifier = nn.Linear(16, CLASSES), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map ``(B, V, WIDTH)`` to embeddings, logits and features, each ``(B, V, ...)``."""
        features = self.encoder(x.flatten(0, 1))
        out = {
            "embeddings": F.normalize(self.head(features), dim=1),
            "logits": self.classifier(features),
            "features": features,
        }
        return {key: tensor.unflatten(0, x.shape[:2]) for key, tensor in out.items()}


def build(dtype: torch.dtype, norm: Norm = nn.LayerNorm) -> Network:
    torch.manual_seed(0)
    return Network(norm).to(dtype)


def make_inputs(name: str, step: int, dtype: torch.dtype) -> tuple[Tensor, Batch]:
    """What the network and the loss are given at a step, all images."""
    draw = torch.Generator().manual_seed(step)
    x = torch.randn(IMAGES, VIEWS, WIDTH, generator=draw, dtype=torch.float64).to(dtype)
    return x, make_batch(
        name, b=IMAGES, v=VIEWS, d=CLASSES, classes=CLASSES, seed=step, dtype=dtype
    )


def compute_loss(loss: Loss, network: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """The loss of a batch whose network outputs are replaced by those of this network."""
    out = network(x)
    labels, bias = (
        getattr(batch, name) if name in loss.entry.batch_inputs else None
        for name in ("labels", "bias")
    )
    inputs = {key: out.get(key, tensor) for key, tensor in batch.inputs.items()}
    return loss(out[loss.input_kind], labels, bias, **inputs)


def take_own_rows(x: Tensor) -> Tensor:
    """The rows of this rank."""
    size = len(x) // dist.get_world_size()
    return x[dist.get_rank() * size :][:size]


def take_own_batch(batch: Batch) -> Batch:
    inputs = {k: v if k in TABLES else take_own_rows(v) for k, v in batch.inputs.items()}
    return Batch(
        take_own_rows(batch.z), take_own_rows(batch.labels), take_own_rows(batch.bias), inputs
    )


def train_steps(
    name: str, dtype: torch.dtype, norm: Norm = nn.LayerNorm, steps: int = STEPS
) -> dict[str, dict[str, Tensor]]:
    """Train for some steps and return what is to be compared, by kind and name.

    Within a process group on this rank's images, under ``DistributedDataParallel``; else on all.
    """
    network, loss = build(dtype, norm), get_loss(name)
    first = {key: p.detach().clone() for key, p in network.named_parameters()}
    together = dist.is_initialized()
    module = DistributedDataParallel(network, find_unused_parameters=True) if together else network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    found: dict[str, dict[str, Tensor]] = {}
    tables: dict[
        str, Tensor
    ] = {}  # those of the first step: group weights change from step to step
    for step in range(steps):
        x, batch = make_inputs(name, step, dtype)
        tables = tables or {k: v for k, v in batch.inputs.items() if k in TABLES}
        batch = batch.with_tensors(**tables)
        if together:
            x, batch = take_own_rows(x), take_own_batch(batch)
        optimizer.zero_grad(set_to_none=False)
        value = compute_loss(loss, module, x, batch)
        value.backward()
        if step == 0:
            found["value"] = {"value": value.detach().clone()}
            found["gradient"] = {
                key: torch.zeros_like(p) if p.grad is None else p.grad.clone()
                for key, p in network.named_parameters()
            }
        optimizer.step()
    found["weights"] = {key: p.detach().clone() for key, p in network.named_parameters()}
    found["change"] = {key: found["weights"][key] - first[key] for key in first}
    found["tables"] = {k: v.clone().to(dtype) for k, v in tables.items()}
    return found


def measure_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference over all tensors, relative to the largest number; NaN if all are 0."""
    assert one.keys() == other.keys()
    if not one:
        return 0.0
    flat, reference = (torch.cat([t.reshape(-1) for t in x.values()]) for x in (one, other))
    return float((flat - reference).abs().max() / reference.abs().max())


def run_blocked(name: str) -> dict[str, dict[str, Tensor]]:
    """One step as of a large batch, where similarities are computed again in the backward pass."""
    whole, pairwise.DENSE["cpu"] = pairwise.DENSE["cpu"], 0
    try:
        return train_steps(name, torch.float64, steps=1)
    finally:
        pairwise.DENSE["cpu"] = whole


def run_with_batch_norm() -> dict[str, dict[str, Tensor]]:
    return train_steps("supcon", torch.float64, nn.BatchNorm1d, steps=1)


def compute_supcon(change: Callable[[Tensor], Tensor]) -> Tensor:
    """SupCon of the batch's own embeddings, this rank's where there is one, after a change of them."""
    _, batch = make_inputs("supcon", 0, torch.float64)
    if dist.is_initialized():
        batch = take_own_batch(batch)
    return get_loss("supcon")(change(batch.z), batch.labels)


def transpose_memory(z: Tensor) -> Tensor:
    """The same numbers with the views outermost in memory, as of views that went in one after another."""
    return z.transpose(0, 1).contiguous().transpose(0, 1)


def get_unequal_batch_message() -> str:
    z = F.normalize(torch.randn(64 - 4 * dist.get_rank(), 2, 8), dim=-1)
    labels = torch.arange(len(z)) % 10
    try:
        get_loss("contex")(z, labels)
    except UsageError as error:
        return str(error)
    return "no error"


def run_all() -> dict[str, dict[str, dict[str, Tensor]]]:
    """Every run whose results are to be the same in one process and in several."""
    runs = {
        f"{name} {kind}": train_steps(name, dtype)
        for name in NAMES
        for kind, dtype in DTYPES.items()
    }
    blocked = {f"{name} blocked": run_blocked(name) for name in NAMES}
    loose = {
        "supcon transposed": {"value": {"value": compute_supcon(transpose_memory)}},
        "supcon bfloat16": {"value": {"value": compute_supcon(lambda z: z.bfloat16())}},
        "supcon batch norm": run_with_batch_norm(),
    }
    return {**runs, **blocked, **loose}


def main(folder: Path) -> None:
    """Compute, compare, and write what was found."""
    torch.set_num_threads(1)
    references = run_all()
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    found = run_all()
    told: dict[str, Any] = {
        key: {kind: measure_difference(result[kind], references[key][kind]) for kind in result}
        for key, result in found.items()
    }
    told["unequal"] = get_unequal_batch_message()
    told["group_weights"] = found["groupdro float64"]["tables"]["group_weights"].tolist()
    target = folder / f"{os.environ['RANK']}.json"
    target.write_text(json.dumps(told), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
