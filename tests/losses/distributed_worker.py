"""A rank of ``test_distributed.py``: ``torchrun ... distributed_worker.py FOLDER``.

Before it joins a process group, a rank computes every result for 1 x 128 images. Then it computes the results
for its 64 images together with the other rank. It writes the largest differences to ``FOLDER/RANK.json``.
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
from biascon.losses import LOSSES, Loss, get_loss, pairwise
from tests.losses.batches import NAMES, TABLES, Batch, make_batch, make_two_batches

SECOND = 96  # images of the second batch, in the mode of two batches
WITH_SECOND_BATCH = [name for name in NAMES if LOSSES[name].optional_inputs]
IMAGES, VIEWS, WIDTH, CLASSES, STEPS = 128, 2, 12, 6, 5
DTYPES = {"float64": torch.float64, "float32": torch.float32}
Norm = Callable[[int], nn.Module]


class Network(nn.Module):
    """A linear encoder with a normalization layer, a linear projection head and a linear classifier."""

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
    """Return the inputs of the network and of the loss at a step, for all images."""
    draw = torch.Generator().manual_seed(step)
    x = torch.randn(IMAGES, VIEWS, WIDTH, generator=draw, dtype=torch.float64).to(dtype)
    return x, make_batch(
        name, b=IMAGES, v=VIEWS, d=CLASSES, classes=CLASSES, seed=step, dtype=dtype
    )


def compute_loss(loss: Loss, network: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """Return the loss of a batch with the outputs of a network in place of those of the batch."""
    out = network(x)
    labels, bias = (
        getattr(batch, name) if name in loss.entry.batch_inputs else None
        for name in ("labels", "bias")
    )
    inputs = {key: out.get(key, tensor) for key, tensor in batch.inputs.items()}
    return loss(out[loss.input_kind], labels, bias, **inputs)


def take_own_rows(x: Tensor) -> Tensor:
    """Return the rows of this rank."""
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
    """Train for some steps and return the results for the comparison, by kind and name.

    In a process group, train on the images of this rank with ``DistributedDataParallel``; else on all images.
    """
    network, loss = build(dtype, norm), get_loss(name)
    initial = {key: p.detach().clone() for key, p in network.named_parameters()}
    distributed = dist.is_initialized()
    module: nn.Module = network
    if distributed:
        module = DistributedDataParallel(network, find_unused_parameters=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    results: dict[str, dict[str, Tensor]] = {}
    tables: dict[str, Tensor] = {}  # of the first step; the loss updates the group weights
    for step in range(steps):
        x, batch = make_inputs(name, step, dtype)
        tables = tables or {k: v for k, v in batch.inputs.items() if k in TABLES}
        batch = batch.with_tensors(**tables)
        if distributed:
            x, batch = take_own_rows(x), take_own_batch(batch)
        optimizer.zero_grad(set_to_none=False)
        value = compute_loss(loss, module, x, batch)
        value.backward()
        if step == 0:
            results["value"] = {"value": value.detach().clone()}
            results["gradient"] = {
                key: torch.zeros_like(p) if p.grad is None else p.grad.clone()
                for key, p in network.named_parameters()
            }
        optimizer.step()
    results["weights"] = {key: p.detach().clone() for key, p in network.named_parameters()}
    results["change"] = {key: results["weights"][key] - initial[key] for key in initial}
    results["tables"] = {k: v.clone().to(dtype) for k, v in tables.items()}
    return results


def run_two_batches(name: str) -> dict[str, dict[str, Tensor]]:
    """Return the value and the gradients of a loss of two batches, from one pass of the network."""
    network, loss = build(torch.float64), get_loss(name)
    batch = make_two_batches(name, IMAGES, VIEWS, SECOND, 1, d=CLASSES)
    draw = torch.Generator().manual_seed(1)
    x, second = (
        torch.randn(n, v, WIDTH, generator=draw, dtype=torch.float64)
        for n, v in ((IMAGES, VIEWS), (SECOND, 1))
    )
    module: nn.Module = network
    if dist.is_initialized():
        x, second, batch = take_own_rows(x), take_own_rows(second), take_own_batch(batch)
        module = DistributedDataParallel(network, find_unused_parameters=True)
    rows = torch.cat((x.flatten(0, 1), second.flatten(0, 1)))[:, None]
    out = module(rows)
    n = len(x) * VIEWS
    z, logits = out["embeddings"][:n].view(len(x), VIEWS, -1), out["logits"][n:]
    value = loss(z, batch.labels, batch.bias, **{**batch.inputs, "logits": logits})
    value.backward()
    gradients = {key: p.grad for key, p in network.named_parameters() if p.grad is not None}
    return {"value": {"value": value.detach()}, "gradient": gradients}


def measure_difference(result: dict[str, Tensor], reference: dict[str, Tensor]) -> float:
    """Return the largest difference over all tensors, relative to the largest reference; NaN if all are 0."""
    assert result.keys() == reference.keys()
    if not result:
        return 0.0
    got, expected = (torch.cat([t.reshape(-1) for t in x.values()]) for x in (result, reference))
    return float((got - expected).abs().max() / expected.abs().max())


def run_blocked(name: str) -> dict[str, dict[str, Tensor]]:
    """Train one step on the blocked path, which large batches use."""
    limit, pairwise.DENSE["cpu"] = pairwise.DENSE["cpu"], 0
    try:
        return train_steps(name, torch.float64, steps=1)
    finally:
        pairwise.DENSE["cpu"] = limit


def run_with_batch_norm() -> dict[str, dict[str, Tensor]]:
    return train_steps("supcon", torch.float64, nn.BatchNorm1d, steps=1)


def compute_supcon(change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return SupCon of changed embeddings of a batch, in a process group those of this rank."""
    _, batch = make_inputs("supcon", 0, torch.float64)
    if dist.is_initialized():
        batch = take_own_batch(batch)
    return get_loss("supcon")(change(batch.z), batch.labels)


def transpose_memory(z: Tensor) -> Tensor:
    """Return the same values with the views as the outermost dimension in memory."""
    return z.transpose(0, 1).contiguous().transpose(0, 1)


def get_unequal_batch_message() -> str:
    z = F.normalize(torch.randn(64 - 4 * dist.get_rank(), 2, 8), dim=-1)
    labels = torch.arange(len(z)) % 10
    try:
        get_loss("contex")(z, labels)
    except UsageError as error:
        return str(error)
    return "no error"


def get_messages_of_later_batches() -> list[str]:
    """Return the messages for batches of several sizes, not all of them equal on all ranks."""
    messages, own = [], 4 * dist.get_rank()
    # The fifth one is larger than any before on one rank only, the sixth one on both.
    for size in (64, 64 - own, 32, 64, 64 + own, 80 + own, 96, 64):
        z = F.normalize(torch.ones(size, 2, 7), dim=-1)
        try:
            get_loss("supcon")(z, torch.arange(len(z)) % 10)
            messages.append("no error")
        except UsageError as error:
            messages.append(str(error))
    return messages


def run_all() -> dict[str, dict[str, dict[str, Tensor]]]:
    """Return every result that must be equal in one process and in several processes."""
    runs = {
        f"{name} {kind}": train_steps(name, dtype)
        for name in NAMES
        for kind, dtype in DTYPES.items()
    }
    blocked = {f"{name} blocked": run_blocked(name) for name in NAMES}
    two = {f"{name} two batches": run_two_batches(name) for name in WITH_SECOND_BATCH}
    others = {
        "supcon transposed": {"value": {"value": compute_supcon(transpose_memory)}},
        "supcon bfloat16": {"value": {"value": compute_supcon(lambda z: z.bfloat16())}},
        "supcon batch norm": run_with_batch_norm(),
    }
    return {**runs, **blocked, **two, **others}


def main(folder: Path) -> None:
    """Compute the results, compare them with those of one process, and write the differences."""
    torch.set_num_threads(1)
    references = run_all()
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    results = run_all()
    record: dict[str, Any] = {
        key: {kind: measure_difference(result[kind], references[key][kind]) for kind in result}
        for key, result in results.items()
    }
    record["unequal"] = get_unequal_batch_message()
    record["later"] = get_messages_of_later_batches()
    record["group_weights"] = results["groupdro float64"]["tables"]["group_weights"].tolist()
    target = folder / f"{os.environ['RANK']}.json"
    target.write_text(json.dumps(record), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
