"""No loss makes the host wait for a GPU, or mixes devices.

On a GPU, an operation that reads a value waits for all work before it. Such operations are counted on a CPU,
with the settings of a GPU. Tensors of the device ``meta`` have no values: an operation that reads one, or
that takes tensors of two devices, is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from biascon.losses import LOSSES, get_loss, pairwise
from tests.losses.batches import (
    NAMES,
    NETWORK_OUTPUTS,
    Batch,
    compute_value,
    make_batch,
    make_two_batches,
    value_and_gradients,
)

# Operations whose result on the host or whose shape depends on values.
READS = (
    "_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "unique_dim", "bincount",
    "equal", "repeat_interleave.Tensor", "is_nonzero",
)  # fmt: skip
INDEXING = ("index.Tensor", "index_put", "index_put_", "_index_put_impl_")


class WaitCounter(TorchDispatchMode):
    """Collects the operations for which the host would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::")
        base = name.partition(".")[0]
        reads = any(read in (name, base) for read in READS)
        if base in {part.partition(".")[0] for part in INDEXING}:
            masks = [x for x in args[1] if x is not None and x.dtype in (torch.bool, torch.uint8)]
            reads = reads or bool(masks)
        if reads:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the losses on a CPU take the paths that they take on a CUDA device."""
    for module in ("pairwise", "per_image"):
        monkeypatch.setattr(f"biascon.losses.{module}.can_read_without_sync", lambda device: False)
    for limits in (pairwise.PLAIN, pairwise.DENSE):
        monkeypatch.setitem(limits, "cpu", limits["cuda"])
    yield


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_reads_nothing_in_either_pass(name: str, as_on_a_gpu: None) -> None:
    batch, loss = make_batch(name, b=12), get_loss(name)
    expected, _ = value_and_gradients(loss, batch, check=False)
    leaves = {key: x.clone().requires_grad_() for key, x in leaves_of(batch).items()}
    with WaitCounter() as waits:
        value = compute_value(loss, batch.with_tensors(**leaves), check=False)
        torch.autograd.grad(value, list(leaves.values()))
    assert waits.names == []
    assert value.item() == expected


def leaves_of(batch: Batch) -> dict[str, torch.Tensor]:
    return {"z": batch.z, **{k: x for k, x in batch.inputs.items() if k in NETWORK_OUTPUTS}}


@pytest.mark.parametrize("operation", ["item", "mask", "masked write", "nonzero", "unique"])
def test_the_counter_finds_an_operation_that_waits(operation: str) -> None:
    x = torch.arange(4.0)
    with WaitCounter() as waits:
        if operation == "item":
            float(x.sum())
        elif operation == "mask":
            x[x > 1]
        elif operation == "masked write":
            x[x > 1] = torch.zeros(2)
        elif operation == "nonzero":
            x.nonzero()
        else:
            torch.unique(x)
    assert waits.names


def without_values(batch: Batch) -> Batch:
    """Return the batch on the device ``meta``."""
    inputs = {key: x.to("meta") for key, x in batch.inputs.items()}
    return Batch(batch.z.to("meta"), batch.labels.to("meta"), batch.bias.to("meta"), inputs)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_stays_on_the_device_of_its_batch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta
    batches = [make_batch(name, b=12)]
    if LOSSES[name].optional_inputs:
        batches.append(make_two_batches(name, 12, 2, 8, 1))
    for batch in batches:
        value = compute_value(get_loss(name), without_values(batch), check=False)
        assert (value.device.type, value.shape) == ("meta", ())


def test_tensors_without_values_refuse_to_be_read_and_to_be_mixed() -> None:
    x, y = torch.ones(3, device="meta"), torch.ones(3)
    with pytest.raises((RuntimeError, NotImplementedError)):
        float(x.sum())
    with pytest.raises(RuntimeError, match="device"):
        x + y
