"""Stage one: same command same weights, resumption, warnings, divergence, and what is never read."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from biascon import checkpoint
from biascon.config import OptimiserConfig, RunConfig, make_config
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import BiasconWarning, RunError, UsageError
from biascon.losses import LOSSES
from biascon.train import build_model, learning_rate, train

CPU = torch.device("cpu")


def smoke(loss: str = "contex", *settings: str, seed: int = 0) -> RunConfig:
    return make_config(loss, seed=seed, preset="smoke", settings=settings)


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path) -> BiasedDataset:
    return load(make_dataset(tmp_path / "data"), only=("train",))


def weights(encoder: torch.nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in encoder.state_dict().values())


def run(config: RunConfig, data: BiasedDataset, folder: Path) -> bytes:
    folder.mkdir(exist_ok=True)
    return weights(train(config, data, folder, device=CPU))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_and_its_loss_falls(
    loss: str, data: BiasedDataset, tmp_path: Path
) -> None:
    lines: list[dict[str, float]] = []
    config = smoke(loss, "train.epochs=4")
    train(config, data, tmp_path, device=CPU, say=lines.append)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] < lines[0]["loss"]
    logged = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in logged] == lines


def test_the_same_configuration_gives_the_same_weights_and_another_seed_others(
    data: BiasedDataset, tmp_path: Path
) -> None:
    first = run(smoke(), data, tmp_path / "a")
    assert first == run(smoke(), data, tmp_path / "b")
    assert first != run(smoke(seed=1), data, tmp_path / "c")
    assert first != run(smoke("supcon"), data, tmp_path / "d")


def test_training_neither_reads_nor_sets_a_global_seed(data: BiasedDataset, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    first = run(smoke(), data, tmp_path / "a")
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(7)
    assert first == run(smoke(), data, tmp_path / "b")


def test_going_on_from_every_epoch_gives_the_weights_of_a_run_never_stopped(
    data: BiasedDataset, tmp_path: Path
) -> None:
    config = smoke("contex", "train.epochs=3")
    whole = run(config, data, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    for stop in (1, 2):
        folder = tmp_path / f"stopped{stop}"
        folder.mkdir()

        def say(line: dict[str, float], stop: int = stop) -> None:
            if line["epoch"] == stop:
                raise StoppedError

        with pytest.raises(StoppedError):
            train(config, data, folder, device=CPU, say=say)
        # What an unfinished epoch may have logged is swept away by the next start.
        with (folder / "metrics.jsonl").open("a") as log:
            log.write('{"epoch": 99')
        assert run(config, data, folder) == whole
        epochs = [
            json.loads(x)["epoch"] for x in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        assert epochs == [1, 2, 3]


def test_a_bias_attribute_that_the_loss_does_not_need_changes_nothing(
    data: BiasedDataset, tmp_path: Path
) -> None:
    split = data.splits["train"]
    other = dataclasses.replace(split, bias=np.zeros_like(split.bias), aligned=~split.aligned)
    without = dataclasses.replace(data, splits={"train": other})
    for loss in LOSSES:
        config = smoke(loss, "train.epochs=1")
        assert run(config, data, tmp_path / loss) == run(config, without, tmp_path / f"{loss}-b")


def test_labels_matter_to_the_losses_that_need_them_and_to_no_other(
    data: BiasedDataset, tmp_path: Path
) -> None:
    split = data.splits["train"]
    shuffled = dataclasses.replace(split, labels=np.roll(split.labels, 1))
    other = dataclasses.replace(data, splits={"train": shuffled})
    for loss, entry in LOSSES.items():
        config = smoke(loss, "train.epochs=1")
        same = run(config, data, tmp_path / loss) == run(config, other, tmp_path / f"{loss}-l")
        assert same == ("labels" not in entry.needs)


def test_a_batch_no_larger_than_the_classes_is_warned_about_with_lemma_1(
    data: BiasedDataset, tmp_path: Path
) -> None:
    with pytest.warns(BiasconWarning, match="Lemma 1"):
        train(smoke("contex", "train.batch_size=10"), data, tmp_path, device=CPU)


def test_one_view_is_warned_about_where_views_are_compared(
    data: BiasedDataset, tmp_path: Path
) -> None:
    with pytest.warns(BiasconWarning, match=r"augment\.views is 1"):
        train(smoke("simclr", "augment.views=1", "train.epochs=1"), data, tmp_path, device=CPU)


def test_a_batch_larger_than_the_split_is_refused(data: BiasedDataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 900 images, but got 901"):
        train(smoke("ce", "train.batch_size=901"), data, tmp_path, device=CPU)


def test_divergence_is_told_with_the_loss_and_the_epoch(
    data: BiasedDataset, tmp_path: Path
) -> None:
    config = smoke("ce", "optimiser.lr=1e38", "optimiser.name=sgd", "optimiser.warmup=0.0")
    with pytest.raises(RunError, match=r"ce: the loss is nan in epoch 1; .*optimiser\.lr"):
        train(config, data, tmp_path, device=CPU)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps({"epoch": 1}), b"PK\x03\x04xx"])
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(
    content: bytes, data: BiasedDataset, tmp_path: Path
) -> None:
    (tmp_path / checkpoint.NAME).write_bytes(content)
    with pytest.raises(RunError, match="is damaged; delete it or pass --no-resume") as caught:
        train(smoke(), data, tmp_path, device=CPU)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run_it(
    data: BiasedDataset, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    torch.save({"epoch": 1, "model": _Trap(str(marker))}, tmp_path / checkpoint.NAME)
    with pytest.raises(RunError):
        train(smoke(), data, tmp_path, device=CPU)
    assert not marker.exists()


class _Trap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1.0, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("thirds", [0.25, 0.5, 0.75, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]),
    ],
)
def test_schedules(schedule: str, expected: list[float]) -> None:
    config = OptimiserConfig(lr=1.0, warmup=4 / 12, schedule=schedule)
    assert [learning_rate(config, step, 12) for step in range(12)] == pytest.approx(expected)


def test_the_cosine_falls_from_the_peak_to_almost_nothing() -> None:
    config = OptimiserConfig(lr=2.0, warmup=0.1, schedule="cosine")
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert rates[-1] < 1e-2
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_the_model_gives_unit_vectors_for_embeddings_and_one_logit_a_class_for_logits() -> None:
    images = torch.randn(4, 3, 28, 28)
    z = build_model(smoke("contex"), 10)(images)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(4))
    assert z.shape == (4, 32)
    assert build_model(smoke("ce"), 7)(images).shape == (4, 7)


def test_bfloat16_trains(data: BiasedDataset, tmp_path: Path) -> None:
    lines: list[dict[str, float]] = []
    config = smoke("contex", "train.precision=bfloat16", "train.epochs=1")
    train(config, data, tmp_path, device=CPU, say=lines.append)
    assert np.isfinite(lines[0]["loss"])
