"""The size of a run: what the estimate counts, and which runs are refused or warned of."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import BiasconWarning, OutOfMemoryError, RunError
from biascon.models.encoders import ENCODERS, build_on_meta
from biascon.runs.context import RunContext
from biascon.runs.folder import ENCODER
from biascon.training import run_size
from biascon.training.run_size import check_run_size, count_outputs, estimate_run
from biascon.utils import memory

GIB = 1 << 30
LARGE = ("augment.views=8", "train.batch_size=100", "model.encoder=resnet18")


@pytest.fixture(scope="module")
def data(
    make_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> BiasedDataset:
    return load(make_dataset(tmp_path_factory.mktemp("data") / "small"))


def make_context(data: BiasedDataset, root: Path, *settings: str) -> RunContext:
    config = make_config("supcon", preset="smoke", settings=settings).for_device("cpu")
    return RunContext(config, data, root, torch.device("cpu"))


def has_memory(monkeypatch: pytest.MonkeyPatch, total: int, available: int) -> None:
    monkeypatch.setattr(run_size, "total_memory", lambda: total)
    monkeypatch.setattr(run_size, "available_memory", lambda: available)


def test_the_outputs_of_a_network_are_counted_without_activations_in_place() -> None:
    # four convolutions and their batch norms: 14^2 x 16, 7^2 x 32, 3^2 x 64, 1 x 128; pooling, flattening
    sizes = (14 * 14 * 16, 7 * 7 * 32, 3 * 3 * 64, 128)
    assert count_outputs("fastconvnet", 28, 28) == 2 * sum(sizes) + 2 * 128


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_is_estimated(encoder: str) -> None:
    side = max(32, build_on_meta(encoder).min_side)
    assert count_outputs(encoder, 2 * side, 2 * side) > count_outputs(encoder, side, side) > 0


def test_the_estimate_grows_with_views_and_shrinks_with_micro_batches(data: BiasedDataset) -> None:
    def estimate(*settings: str) -> Any:
        return estimate_run(make_config("supcon", preset="smoke", settings=settings), data)

    two, four = estimate("augment.views=2"), estimate("augment.views=4")
    batch = make_config("supcon", preset="smoke").train.batch_size
    assert two.views == 4 * batch * 2 * 3 * 28 * 28
    assert (four.views, four.layers) == (2 * two.views, 2 * two.layers)
    small = estimate("augment.views=2", "train.micro_batch=8")
    assert (small.views, small.layers) == (two.views, two.layers // (batch // 8))
    n = sum(weight.numel() for weight in build_on_meta("fastconvnet").parameters())
    features = 4 * 128 * sum(len(split) for split in data.splits.values())
    assert two.disk - two.weights == features
    assert two.weights >= 16 * n


@pytest.mark.filterwarnings("error")
def test_an_ordinary_run_passes_in_silence(data: BiasedDataset, tmp_path: Path) -> None:
    check_run_size(make_context(data, tmp_path / "runs"))


def test_a_run_that_the_machine_cannot_hold_is_refused(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(data, tmp_path, *LARGE)
    needed = estimate_run(context.config, data).memory
    has_memory(monkeypatch, int(0.49 * needed), 0)
    with pytest.raises(
        OutOfMemoryError, match=r"needs some .* of memory \(weights .*micro_batch=50"
    ):
        check_run_size(context)
    assert not context.folder.exists()
    context.folder.mkdir(parents=True)
    (context.folder / ENCODER).touch()  # it is trained already
    check_run_size(context)


def test_a_run_that_may_fit_is_warned_of_and_not_refused(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(data, tmp_path, *LARGE)
    needed = estimate_run(context.config, data).memory
    has_memory(monkeypatch, int(0.51 * needed), needed - 1)
    with pytest.warns(BiasconWarning, match="of cpu are free"):
        check_run_size(context)
    has_memory(monkeypatch, needed, needed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_run_size(context)


def test_a_run_of_millions_of_steps_is_warned_of(data: BiasedDataset, tmp_path: Path) -> None:
    context = make_context(data, tmp_path, "train.epochs=100000", "train.batch_size=2")
    with pytest.warns(BiasconWarning, match=r"has 45,000,000 steps"):
        check_run_size(context)


def test_a_run_that_does_not_fit_on_the_disk_is_refused_unless_its_files_are_there(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(data, tmp_path / "runs")
    needed = estimate_run(context.config, data).disk
    free = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(run_size.shutil, "disk_usage", lambda path: free)
    with pytest.raises(RunError, match="of disk for its weights, checkpoint and features"):
        check_run_size(context)
    context.folder.mkdir(parents=True)
    (context.folder / "features_train.safetensors").write_bytes(b"\0" * 100)
    check_run_size(context)


def test_the_memory_of_the_machine_counts_the_limit_of_a_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_read_meminfo", lambda: {"MemTotal": 8 * GIB, "SwapTotal": GIB})
    monkeypatch.setattr(memory, "_group_limits", lambda: [2 * GIB, 64 * GIB])
    assert memory.total_memory() == 3 * GIB
    monkeypatch.setattr(memory, "_group_limits", lambda: [])
    assert memory.total_memory() == 9 * GIB
    assert memory.available_memory() is None
