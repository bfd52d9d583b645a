"""Micro-batches give the gradient of the whole batch, and the training loop does not wait for the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from biascon.config.factory import find_overrides, make_config
from biascon.data.dataset import BiasedDataset, load
from biascon.losses import get_loss, pairwise
from biascon.models import encoders
from biascon.training.batches import BatchLoader
from biascon.training.gradient_cache import forward_backward
from tests.run_helpers import train_in_folder
from tests.training.parallel_worker import plain

CPU = torch.device("cpu")


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path) -> BiasedDataset:
    return load(make_dataset(tmp_path / "data", rho=0.8), only=("train",))


class SmallNetwork(nn.Module):
    """Embeddings and logits, with or without batch norm."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.body = nn.Linear(12, 16).double()
        self.norm = nn.BatchNorm1d(16).double() if norm else nn.Identity()
        self.logits = nn.Linear(16, 3).double()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.norm(self.body(x.flatten(1)))
        z = nn.functional.normalize(h, dim=1)
        return {"z": z, "logits": self.logits(h), "unused": h}


def compute_gradients(micro_batch: int, *, norm: bool = False) -> tuple[list[Any], SmallNetwork]:
    """Return loss, embeddings and gradients of 16 images with 2 views, and the network."""
    torch.manual_seed(0)
    network = SmallNetwork(norm=norm)
    x, labels = torch.randn(32, 3, 2, 2, dtype=torch.float64), torch.arange(16) % 3
    bias = torch.arange(16) % 2
    loss = get_loss("biascon")

    def compute_loss(out: dict[str, torch.Tensor]) -> torch.Tensor:
        views = {name: tensor.view(16, 2, -1) for name, tensor in out.items()}
        return loss(views["z"], labels, bias, logits=views["logits"])

    value, out = forward_backward(network, x, micro_batch, compute_loss)
    assert not value.requires_grad
    assert not out["z"].requires_grad
    return [value, out["z"], *(p.grad for p in network.parameters())], network


@pytest.mark.parametrize("micro_batch", [1, 2, 7, 16, 31, 32, 100])
def test_micro_batches_of_any_size_give_the_gradient_of_the_batch(micro_batch: int) -> None:
    for expected, actual in zip(
        compute_gradients(0)[0], compute_gradients(micro_batch)[0], strict=True
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def test_running_statistics_are_updated_once_a_micro_batch() -> None:
    # The first pass, without gradient, does not update them: 4 micro-batches are 4 updates, not 8.
    _, network = compute_gradients(8, norm=True)
    assert network.norm.num_batches_tracked == 4
    assert network.norm.track_running_stats


@pytest.mark.parametrize("loss", ["contex", "biascon+biasbal", "gce"])
def test_training_in_micro_batches_gives_the_same_weights(
    loss: str, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encoders.ENCODERS, "plain", plain)
    states = []
    # Three steps: rounding has no time to grow.
    settings = ["model.encoder=plain", "optimizer.name=sgd", "optimizer.lr=0.05", "train.epochs=1"]
    settings.append("train.batch_size=300")
    for micro_batch in (0, 24):
        config = make_config(
            loss, preset="smoke", settings=[*settings, f"train.micro_batch={micro_batch}"]
        )
        config = dataclasses.replace(
            config, train=dataclasses.replace(config.train, record_losses=loss == "gce")
        )
        folder = tmp_path / str(micro_batch)
        folder.mkdir()
        states.append(train_in_folder(config, data, folder, device=CPU).state_dict())
        if loss == "gce":
            states[-1]["kept"] = load_file(folder / "losses.safetensors")["losses"]
    for name, value in states[0].items():
        # An image that no batch has keeps NaN as its recorded loss.
        assert name == "kept" or value.isfinite().all()
        torch.testing.assert_close(
            states[1][name], value, rtol=1e-5, atol=1e-5, equal_nan=name == "kept", msg=name
        )


def test_micro_batch_is_in_the_configuration_only_if_set() -> None:
    assert "micro_batch" not in make_config("ce").as_dict()["train"]
    config = make_config("ce", settings=["train.micro_batch=32"])
    assert find_overrides(config) == {"train.micro_batch": 32}
    assert config.digest("x") != make_config("ce").digest("x")


def test_resident_images_are_recognized_for_any_device_index(data: BiasedDataset) -> None:
    # "cpu" and "cpu:0" are the same device but not equal, as are "cuda" and "cuda:0".
    assert torch.device("cpu:0") != CPU
    split = data.splits["train"]
    loader = BatchLoader(split, torch.device("cpu:0"))
    assert loader.resident
    rows = [torch.tensor([3, 1]), torch.tensor([0, 2])]
    loader.resident = False  # as on a device that the images do not fit on
    copied_batches = list(loader.batches(rows))
    loader.resident = True
    for batch_rows, resident, copied in zip(
        rows, loader.batches(rows), copied_batches, strict=True
    ):
        assert torch.equal(resident, torch.from_numpy(split.images)[batch_rows])
        assert torch.equal(resident, copied)


class ReadCounter(TorchDispatchMode):
    """Count the operations that read a number from a tensor; on a GPU each waits for the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = ("_local_scalar_dense", "nonzero", "unique", "masked_select")
        self.n += any(name in func.name() for name in reads)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", ["contex", "contex-clip", "fairkl", "groupdro", "biascon+biasbal"])
def test_the_loop_reads_no_number_from_the_device(
    loss: str, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads happen once an epoch, so that twice as many steps read equally often."""
    # Behave as on a device with a queue, where no value is read early.
    monkeypatch.setattr("biascon.training.loop.can_read_without_sync", lambda device: False)
    monkeypatch.setattr("biascon.losses.per_image.can_read_without_sync", lambda device: False)
    monkeypatch.setitem(pairwise.PLAIN, "cpu", pairwise.PLAIN["cuda"])
    counts = []
    for batch in (64, 32):
        config = make_config(
            loss, preset="smoke",
            settings=[f"train.batch_size={batch}", "train.epochs=1", "optimizer.name=sgd"],
        )  # fmt: skip
        folder = tmp_path / str(batch)
        folder.mkdir()
        with ReadCounter() as reads:
            train_in_folder(config, data, folder, device=CPU)
        counts.append(reads.n)
    assert counts[0] == counts[1]
    assert counts[0] > 0  # the end of the epoch reads
