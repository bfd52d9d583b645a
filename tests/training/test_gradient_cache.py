"""Batches in parts: the gradient of the whole, statistics counted once; and a loop that never waits."""

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


class Net(nn.Module):
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


def both(part: int, *, norm: bool = False) -> tuple[list[Any], Net]:
    """The loss of 16 images x 2 views, and the gradients of the weights."""
    torch.manual_seed(0)
    net = Net(norm=norm)
    x, labels = torch.randn(32, 3, 2, 2, dtype=torch.float64), torch.arange(16) % 3
    bias = torch.arange(16) % 2
    loss = get_loss("biascon")

    def value(out: dict[str, torch.Tensor]) -> torch.Tensor:
        views = {name: tensor.view(16, 2, -1) for name, tensor in out.items()}
        return loss(views["z"], labels, bias, logits=views["logits"])

    got, out = forward_backward(net, x, part, value)
    assert not got.requires_grad
    assert not out["z"].requires_grad
    return [got, out["z"], *(p.grad for p in net.parameters())], net


@pytest.mark.parametrize("part", [1, 2, 7, 16, 31, 32, 100])
def test_parts_of_any_size_give_the_gradient_of_the_whole(part: int) -> None:
    for whole, parts in zip(both(0)[0], both(part)[0], strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)


def test_running_statistics_are_counted_once_a_part() -> None:
    # The first pass, without gradient, leaves them alone: 4 parts are 4 updates, not 8.
    _, net = both(8, norm=True)
    assert net.norm.num_batches_tracked == 4
    assert net.norm.track_running_stats


@pytest.mark.parametrize("loss", ["contex", "biascon+biasbal", "gce"])
def test_training_in_parts_gives_the_same_weights(
    loss: str, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encoders.ENCODERS, "plain", plain)
    found = []
    settings = ["model.encoder=plain", "optimizer.name=sgd", "optimizer.lr=0.05", "train.epochs=1"]
    for part in (0, 24):
        config = make_config(
            loss, preset="smoke", settings=[*settings, f"train.micro_batch={part}"]
        )
        config = dataclasses.replace(
            config, train=dataclasses.replace(config.train, record_losses=loss == "gce")
        )
        folder = tmp_path / str(part)
        folder.mkdir()
        found.append(train_in_folder(config, data, folder, device=CPU).state_dict())
        if loss == "gce":
            found[-1]["kept"] = load_file(folder / "losses.safetensors")["losses"]
    for name, value in found[0].items():
        torch.testing.assert_close(
            found[1][name], value, rtol=1e-5, atol=1e-5, equal_nan=True, msg=name
        )


def test_the_size_of_parts_is_said_only_where_there_are_any() -> None:
    assert "micro_batch" not in make_config("ce").as_dict()["train"]
    config = make_config("ce", settings=["train.micro_batch=32"])
    assert find_overrides(config) == {"train.micro_batch": 32}
    assert config.digest("x") != make_config("ce").digest("x")


def test_images_on_the_device_are_known_as_such_whatever_its_number(data: BiasedDataset) -> None:
    # As "cuda" and "cuda:0": one device, and not equal.
    assert torch.device("cpu:0") != CPU
    split = data.splits["train"]
    pictures = BatchLoader(split, torch.device("cpu:0"))
    assert pictures.resident
    rows = [torch.tensor([3, 1]), torch.tensor([0, 2])]
    pictures.resident = False  # the way of a device that they do not fit on gives the same
    other = list(pictures.batches(rows))
    pictures.resident = True
    for part, one, two in zip(rows, pictures.batches(rows), other, strict=True):
        assert torch.equal(one, torch.from_numpy(split.images)[part])
        assert torch.equal(one, two)


class Waits(TorchDispatchMode):
    """Counts the operations that read a number from a tensor: on a GPU each waits for its queue."""

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
    """What waits happens once an epoch, so that twice the steps wait as often."""
    # As on a device with a queue, where nothing is read early.
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
        with Waits() as waits:
            train_in_folder(config, data, folder, device=CPU)
        counts.append(waits.n)
    assert counts[0] == counts[1]
    assert counts[0] > 0  # the epoch's end is seen
