"""The presets of the papers: their numbers, and that each runs to its end on a small dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import Split, save
from biascon.models import weights
from biascon.models.torchvision import import_torchvision
from tests.small_datasets import describe_dataset

PAPERS = ("utkface", "celeba", "cifar")
TINY = ["train.epochs=1", "train.batch_size=8", "train.min_steps=0"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the download: a ResNet-18 of small weights."""
    net = import_torchvision().models.resnet18(weights=None)
    state = {
        k: v if not v.is_floating_point() or v.ndim < 2 else torch.full_like(v, 0.01)
        for k, v in net.state_dict().items()
    }
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "download", lambda url, path: torch.save(state, path))


def made(folder: Path, side: int) -> Path:
    """Write a few pictures of two classes under a tint."""
    splits = {}
    for seed, (name, n) in enumerate({"train": 24, "val": 12, "test": 12}.items()):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 2
        bias = np.where(rng.random(n) < 0.7, labels, 1 - labels)
        images = rng.integers(0, 100, (n, 3, side, side), dtype=np.uint8)
        images[labels == 1, :, : side // 2] += 100
        images[bias == 1, 0] += 50
        splits[name] = Split(images, labels, bias, labels == bias, np.arange(n))
    about = describe_dataset("tiny", ["no", "yes"], bias={"name": "tint", "values": ["a", "b"]})
    save(folder, splits, about, replace=False)
    return folder


@pytest.mark.parametrize(
    ("preset", "side", "protocol", "more"),
    [
        ("utkface", 64, "linear", []),
        ("utkface", 64, "finetune", ["finetune.epochs=1", "finetune.batch_size=8"]),
        ("celeba", 96, "knn", ["probe.k=5"]),
        ("cifar", 32, "linear", ["model.encoder=resnet18"]),  # a ResNet-50 takes a minute
        ("cifar", 32, "finetune",
         ["model.encoder=resnet18", "finetune.epochs=1", "finetune.batch_size=8"]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the linear probe did not converge")
def test_runs_to_its_end(
    preset: str,
    side: int,
    protocol: str,
    more: list[str],
    hub: None,
    cli: Callable[..., Any],
    tmp_path: Path,
) -> None:
    sets = [word for setting in [*TINY, *more] for word in ("--set", setting)]
    data = made(tmp_path / "data" / "tiny", side)
    found = cli(
        "evaluate", "--loss", "contex", "--preset", preset, "--data", data, "--protocol", protocol,
        "--device", "cpu", "--json", *sets,
    )  # fmt: skip
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert told["preset"] == preset
    assert told["top1"]["value"] is not None
    drawn = "weights" not in told["config"]["model"]
    assert drawn == (preset == "cifar")
    assert not any(change.startswith("model.weights") for change in told["overrides"])


@pytest.mark.slow
def test_cifar_runs_with_its_own_encoder(cli: Callable[..., Any], tmp_path: Path) -> None:
    data = made(tmp_path / "data" / "tiny", 32)
    sets = [word for setting in TINY for word in ("--set", setting)]
    found = cli("evaluate", "--loss", "contex", "--preset", "cifar", "--data", data, *sets)
    assert found.code == 0, found.err


@pytest.mark.parametrize("preset", PAPERS)
def test_pictures_of_objects_and_faces_are_flipped_and_digits_are_not(preset: str) -> None:
    assert make_config("contex", preset=preset).augment.flip_p == 0.5
    assert make_config("contex", preset="paper").augment.flip_p == 0
    assert make_config("contex", preset="cpu").augment.flip_p == 0


def test_the_warm_up_of_cifar_is_ten_epochs() -> None:
    config = make_config("contex", preset="cifar")
    assert config.optimizer.warmup * config.train.epochs == pytest.approx(10)


@pytest.mark.parametrize("preset", PAPERS)
def test_says_where_its_numbers_are_from(preset: str) -> None:
    text = (resources.files("biascon.config") / "presets" / f"{preset}.toml").read_text("utf-8")
    comment = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert re.search(r"Deng and Yang \(IEEE TMM 2025\)", comment)
    assert "ours" in comment
