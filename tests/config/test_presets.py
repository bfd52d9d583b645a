"""The presets of the papers: their settings, and a complete run of each on a small dataset."""

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
TINY = ["train.epochs=1", "train.batch_size=8", "train.min_steps=0", "train.threads=1"]


@pytest.fixture
def pretrained_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the download of pretrained weights by a ResNet-18 with small weights."""
    network = import_torchvision().models.resnet18(weights=None)
    state = {
        k: v if not v.is_floating_point() or v.ndim < 2 else torch.full_like(v, 0.01)
        for k, v in network.state_dict().items()
    }
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "download", lambda url, path: torch.save(state, path))


def write_dataset(folder: Path, side: int) -> Path:
    """Write a few images of two classes, with a tint as the bias attribute."""
    splits = {}
    for seed, (name, n) in enumerate({"train": 16, "val": 8, "test": 8}.items()):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 2
        bias = np.where(rng.random(n) < 0.7, labels, 1 - labels)
        images = rng.integers(0, 100, (n, 3, side, side), dtype=np.uint8)
        images[labels == 1, :, : side // 2] += 100
        images[bias == 1, 0] += 50
        splits[name] = Split(images, labels, bias, labels == bias, np.arange(n))
    tint = {"name": "tint", "values": ["a", "b"]}
    save(folder, splits, describe_dataset("tiny", ["no", "yes"], bias=tint), replace=False)
    return folder


@pytest.mark.parametrize(
    ("preset", "side", "protocol", "settings"),
    [
        # The slow cases train the same kind of encoder for another protocol, or a larger one.
        pytest.param("utkface", 64, "linear", [], marks=pytest.mark.slow),
        ("utkface", 64, "finetune", ["finetune.epochs=1", "finetune.batch_size=8"]),
        ("celeba", 96, "knn", ["probe.k=5"]),
        # A ResNet-50 takes a minute.
        pytest.param("cifar", 32, "linear", ["model.encoder=resnet18"], marks=pytest.mark.slow),
        pytest.param(
            "cifar", 32, "finetune",
            ["model.encoder=resnet18", "finetune.epochs=1", "finetune.batch_size=8"],
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the linear probe did not converge")
def test_a_preset_runs_to_its_end(
    preset: str,
    side: int,
    protocol: str,
    settings: list[str],
    pretrained_weights: None,
    cli: Callable[..., Any],
    tmp_path: Path,
) -> None:
    options = [option for setting in [*TINY, *settings] for option in ("--set", setting)]
    data = write_dataset(tmp_path / "data" / "tiny", side)
    result = cli(
        "evaluate", "--loss", "contex", "--preset", preset, "--data", data, "--protocol", protocol,
        "--device", "cpu", "--json", *options,
    )  # fmt: skip
    assert result.code == 0, result.err
    evaluation = json.loads(result.out)
    assert evaluation["preset"] == preset
    assert evaluation["top1"]["value"] is not None
    has_random_weights = "weights" not in evaluation["config"]["model"]
    assert has_random_weights == (preset == "cifar")
    assert not any(key.startswith("model.weights") for key in evaluation["overrides"])


@pytest.mark.slow
def test_the_cifar_preset_runs_with_its_own_encoder(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    data = write_dataset(tmp_path / "data" / "tiny", 32)
    options = [option for setting in TINY for option in ("--set", setting)]
    result = cli("evaluate", "--loss", "contex", "--preset", "cifar", "--data", data, *options)
    assert result.code == 0, result.err


@pytest.mark.parametrize("preset", PAPERS)
def test_images_of_objects_and_faces_are_flipped_and_digits_are_not(preset: str) -> None:
    assert make_config("contex", preset=preset).augment.flip_p == 0.5
    assert make_config("contex", preset="gpu").augment.flip_p == 0
    assert make_config("contex", preset="cpu").augment.flip_p == 0


def test_the_warm_up_of_cifar_is_ten_epochs() -> None:
    config = make_config("contex", preset="cifar")
    assert config.optimizer.warmup * config.train.epochs == pytest.approx(10)


@pytest.mark.parametrize("preset", PAPERS)
def test_a_preset_names_the_sources_of_its_settings(preset: str) -> None:
    text = (resources.files("biascon.config") / "presets" / f"{preset}.toml").read_text("utf-8")
    comment = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert re.search(r"Deng and Yang \(IEEE TMM 2025\)", comment)
    assert "ours" in comment
