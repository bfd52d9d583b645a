"""Stage one: reproducible weights, resumption, warnings, divergence, and independence of unused inputs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from biascon.config.factory import make_config
from biascon.config.method_settings import resolve_parameters
from biascon.config.run_config import OptimizerConfig, RunConfig
from biascon.data.dataset import BiasedDataset, Split, load
from biascon.data.manifest import BiasAttribute
from biascon.errors import BiasconWarning, RunError, UsageError
from biascon.losses import LOSSES, Requirement
from biascon.runs import checkpoint
from biascon.runs.records import EpochRecord
from biascon.training.batches import TrainingGroups, epoch_order
from biascon.training.loss_inputs import LossInputs, dataset_groups
from biascon.training.network import build_model
from biascon.training.optimizer import learning_rate
from tests.run_helpers import note_in_journal, train_in_folder

CPU = torch.device("cpu")


# The methods without a training of their own are in test_stages.py.
TRAINED = {
    name: entry
    for name, entry in LOSSES.items()
    if entry.first_stage is None or entry.first_stage.gives != "encoder"
}


def smoke_config(loss: str = "contex", *settings: str, seed: int = 0) -> RunConfig:
    config = make_config(loss, seed=seed, preset="smoke", settings=settings)
    return resolve_parameters(config, "bmnist", {"rho": 0.9})


def natural_order(data: BiasedDataset) -> torch.Tensor:
    return epoch_order(dataset_groups(data), 0, 0)


@pytest.fixture(scope="module")
def data(
    make_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> BiasedDataset:
    return load(make_dataset(tmp_path_factory.mktemp("data") / "small"), only=("train",))


@pytest.fixture(scope="module")
def few(data: BiasedDataset) -> BiasedDataset:
    """Return 192 training images, three steps: enough to compare the bytes of weights."""
    split = data.splits["train"]
    arrays = {name: values[:192] for name, values in split.arrays().items()}
    return dataclasses.replace(data, splits={"train": Split(**arrays)})


def first_stage_inputs(config: RunConfig, data: BiasedDataset, epochs: int) -> LossInputs:
    """Return inputs that a first-stage network could give for the training images."""
    split, entry = data.splits["train"], LOSSES[config.loss]
    i = torch.arange(len(split))
    features = torch.stack([torch.sin(i * k) for k in (1.0, 2.0, 3.0)], dim=1)
    inputs = LossInputs(
        per_image={"bias_features": features, "weights": 0.5 + (i % 3 == 0)},
        per_step={"bias_losses": (i % 7 / 7).expand(epochs, len(split))},
    )
    if Requirement.ADDED_BIAS_FEATURES in entry.requires:
        inputs.added_features = torch.sin(torch.outer(i, torch.arange(1.0, 129.0)))
    if entry.infers_bias:
        predictions = np.arange(len(split)) * 3 % data.n_labels
        inputs.groups = TrainingGroups(split.labels, predictions, data.n_labels, data.n_labels)
    return inputs


def weight_bytes(encoder: torch.nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in encoder.state_dict().values())


def train_weights(config: RunConfig, data: BiasedDataset, folder: Path) -> bytes:
    folder.mkdir(exist_ok=True)
    return weight_bytes(
        train_in_folder(
            config, data, folder, device=CPU, loss_inputs=first_stage_inputs(config, data, 9)
        )
    )


@pytest.mark.parametrize("loss", TRAINED)
def test_every_loss_trains_and_its_loss_falls(
    loss: str, data: BiasedDataset, tmp_path: Path
) -> None:
    records: list[EpochRecord] = []
    config = smoke_config(loss, "train.epochs=2")
    train_in_folder(
        config,
        data,
        tmp_path,
        device=CPU,
        loss_inputs=first_stage_inputs(config, data, 2),
        on_epoch=records.append,
    )
    assert [record.epoch for record in records] == [1, 2]
    assert records[-1].loss < records[0].loss
    logged = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [EpochRecord.from_json(json.loads(line)) for line in logged] == records


def test_equal_configurations_give_equal_weights_and_other_seeds_do_not(
    few: BiasedDataset, tmp_path: Path
) -> None:
    first = train_weights(smoke_config(), few, tmp_path / "a")
    assert first == train_weights(smoke_config(), few, tmp_path / "b")
    assert first != train_weights(smoke_config(seed=1), few, tmp_path / "c")
    assert first != train_weights(smoke_config("supcon"), few, tmp_path / "d")


def test_training_neither_reads_nor_sets_the_global_random_state(
    few: BiasedDataset, tmp_path: Path
) -> None:
    before = torch.random.get_rng_state()
    first = train_weights(smoke_config(), few, tmp_path / "a")
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(7)
    assert first == train_weights(smoke_config(), few, tmp_path / "b")


# Two have a state of their own, two have a second set of images or groups of a first stage.
@pytest.mark.parametrize("loss", ["contex", "groupdro", "gce", "lisa", "cnc"])
def test_resuming_after_every_epoch_gives_the_same_weights(
    loss: str, few: BiasedDataset, tmp_path: Path
) -> None:
    config = smoke_config(loss, "train.epochs=3")
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, record_losses=loss == "gce")
    )
    whole = train_weights(config, few, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    for stop in (1, 2):
        folder = tmp_path / f"stopped{stop}"
        folder.mkdir()

        def stop_after(record: EpochRecord, stop: int = stop) -> None:
            if record.epoch == stop:
                raise StoppedError

        with pytest.raises(StoppedError):
            train_in_folder(
                config,
                few,
                folder,
                loss_inputs=first_stage_inputs(config, few, 9),
                on_epoch=stop_after,
            )
        # The next start removes a line that an unfinished epoch has logged.
        with (folder / "metrics.jsonl").open("a") as log:
            log.write('{"epoch": 99')
        assert train_weights(config, few, folder) == whole
        epochs = [
            json.loads(x)["epoch"] for x in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        assert epochs == [1, 2, 3]
        if loss == "gce":
            kept = [(tmp_path / name / "losses.safetensors") for name in ("whole", folder.name)]
            assert kept[0].read_bytes() == kept[1].read_bytes()


def test_labels_and_bias_labels_change_only_the_losses_that_use_them(
    few: BiasedDataset, tmp_path: Path
) -> None:
    split = few.splits["train"]
    shuffled = dataclasses.replace(split, labels=np.roll(split.labels, 1))
    no_bias = dataclasses.replace(split, bias=np.zeros_like(split.bias), aligned=~split.aligned)
    other_labels, without_bias = (
        dataclasses.replace(few, splits={"train": changed}) for changed in (shuffled, no_bias)
    )
    for loss, entry in TRAINED.items():
        config = smoke_config(loss, "train.epochs=1", "train.batch_size=24")
        weights = train_weights(config, few, tmp_path / loss)
        of_other_labels = train_weights(config, other_labels, tmp_path / f"{loss}-l")
        assert (weights == of_other_labels) == ("labels" not in entry.batch_inputs), loss
        # The bias changes the first-stage network of some, but not what is trained here.
        of_no_bias = train_weights(config, without_bias, tmp_path / f"{loss}-b")
        assert (weights == of_no_bias) == (not entry.uses_bias_labels), loss


def test_a_batch_not_larger_than_the_number_of_classes_gives_a_warning(
    few: BiasedDataset, tmp_path: Path
) -> None:
    with pytest.warns(BiasconWarning, match="Lemma 1"):
        train_in_folder(smoke_config("contex", "train.batch_size=10"), few, tmp_path, device=CPU)


@pytest.mark.parametrize("loss", ["simclr", "contex", "contex-clip"])
def test_a_single_view_is_refused_if_the_loss_compares_views(
    loss: str, data: BiasedDataset, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"compares views .* augment\.views of 2 or more, .* got 1"
    ):
        train_in_folder(smoke_config(loss, "augment.views=1"), data, tmp_path, device=CPU)


def test_a_single_view_is_allowed_without_the_term_that_compares_views(
    data: BiasedDataset, tmp_path: Path
) -> None:
    config = smoke_config("contex", "augment.views=1", "loss.wb=0", "train.epochs=1")
    train_in_folder(config, data, tmp_path, device=CPU)


def test_a_batch_larger_than_the_split_is_refused(data: BiasedDataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 900 images, but got 901"):
        train_in_folder(smoke_config("ce", "train.batch_size=901"), data, tmp_path, device=CPU)


def test_the_error_of_a_diverged_run_names_loss_step_and_batch(
    data: BiasedDataset, tmp_path: Path
) -> None:
    config = smoke_config("ce", "optimizer.lr=1e38", "optimizer.name=sgd", "optimizer.warmup=0.0")
    first = data.splits["train"].index[natural_order(data)[64:69]].tolist()
    where = f"not finite at step 2 of epoch 1 .*: source images {', '.join(map(str, first))}, "
    with pytest.raises(RunError, match=rf"ce: the loss is {where}.*optimizer\.lr"):
        train_in_folder(config, data, tmp_path, device=CPU)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_nan_of_one_image_is_reported_at_its_step(data: BiasedDataset, tmp_path: Path) -> None:
    inputs = first_stage_inputs(smoke_config("jtt"), data, 1)
    row = int(natural_order(data)[5 * 64 + 3])
    inputs.per_image["weights"][row] = torch.nan
    with pytest.raises(RunError, match="jtt: the loss is not finite at step 6 of epoch 1"):
        train_in_folder(
            smoke_config("jtt", "train.epochs=1"), data, tmp_path, device=CPU, loss_inputs=inputs
        )


def test_a_loss_without_its_first_stage_inputs_is_refused(
    data: BiasedDataset, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="'softcon' needs bias_features of a first-stage network"):
        train_in_folder(smoke_config("softcon"), data, tmp_path, device=CPU)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", pickle.dumps({"epoch": 1}), b"PK\x03\x04xx", b"\x80\x02."]
)
def test_an_invalid_checkpoint_is_refused_in_one_line(
    content: bytes, data: BiasedDataset, tmp_path: Path
) -> None:
    (tmp_path / checkpoint.NAME).write_bytes(content)
    note_in_journal(tmp_path / checkpoint.NAME)
    with pytest.raises(RunError, match="is damaged; delete it or pass --no-resume") as caught:
        train_in_folder(smoke_config(), data, tmp_path, device=CPU)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_contains_code_is_refused_and_not_run(
    data: BiasedDataset, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    torch.save({"epoch": 1, "model": _Trap(str(marker))}, tmp_path / checkpoint.NAME)
    note_in_journal(tmp_path / checkpoint.NAME)
    with pytest.raises(RunError, match="is damaged"):
        train_in_folder(smoke_config(), data, tmp_path, device=CPU)
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
def test_learning_rates_follow_the_schedule(schedule: str, expected: list[float]) -> None:
    config = OptimizerConfig(lr=1.0, warmup=4 / 12, schedule=schedule)
    assert [learning_rate(config, step, 12) for step in range(12)] == pytest.approx(expected)


def test_the_cosine_falls_from_the_peak_to_almost_nothing() -> None:
    config = OptimizerConfig(lr=2.0, warmup=0.1, schedule="cosine")
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert rates[-1] < 1e-2
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_model_gives_the_inputs_of_its_loss(loss: str, data: BiasedDataset) -> None:
    n = {"labels": 7, "bias": 5}
    names = {"labels": [str(i) for i in range(7)], "bias": BiasAttribute("colour", list("abcde"))}
    small = dataclasses.replace(data, manifest=dataclasses.replace(data.manifest, **names))
    entry = LOSSES[loss]
    out = build_model(smoke_config(loss), entry, small)(torch.randn(4, 3, 28, 28))
    assert out["features"].shape == (4, 128)
    assert ("z" in out) == (entry.input_kind == "embeddings")
    assert ("logits" in out) == (entry.input_kind == "logits" or "logits" in entry.tensor_inputs)
    if "z" in out:
        torch.testing.assert_close(out["z"].norm(dim=1), torch.ones(4))
        assert out["z"].shape == (4, 128 if entry.head == "none" else 32)
    if "logits" in out:
        assert out["logits"].shape == (4, n[entry.predicts])


def test_training_in_bfloat16_gives_a_finite_loss(data: BiasedDataset, tmp_path: Path) -> None:
    records: list[EpochRecord] = []
    config = smoke_config("contex", "train.precision=bfloat16", "train.epochs=1")
    train_in_folder(config, data, tmp_path, device=CPU, on_epoch=records.append)
    assert np.isfinite(records[0].loss)


@pytest.mark.parametrize("micro_batch", [0, 8])
def test_a_compiled_network_gives_the_same_weights(
    micro_batch: int, few: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend only traces, so the arithmetic of the compiler is not compared."""
    calls, compiler = [], torch.compile

    def compile_eagerly(network: torch.nn.Module) -> object:
        calls.append(network)
        return compiler(network, backend="eager")

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    settings = ("train.epochs=1", f"train.micro_batch={micro_batch}")
    expected = train_weights(smoke_config("contex", *settings), few, tmp_path / "plain")
    assert not calls
    assert (
        train_weights(smoke_config("contex", *settings, "train.compile=true"), few, tmp_path / "b")
        == expected
    )
    assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_compiler_changes_only_the_last_digits(data: BiasedDataset, tmp_path: Path) -> None:
    losses: list[float] = []
    for name, on in (("plain", "false"), ("compiled", "true")):
        # One step: rounding has no time to grow.
        config = smoke_config(
            "contex", "train.epochs=1", "train.batch_size=900", f"train.compile={on}"
        )
        (tmp_path / name).mkdir()
        train_in_folder(
            config,
            data,
            tmp_path / name,
            device=CPU,
            on_epoch=lambda record: losses.append(record.loss),
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("loss", ["supcon", "bias-ce"])
def test_losses_of_a_network_that_does_not_classify_labels_are_not_recorded(
    loss: str, data: BiasedDataset, tmp_path: Path
) -> None:
    config = smoke_config(loss)
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, record_losses=True)
    )
    with pytest.raises(UsageError, match=f"'{loss}' cannot be recorded"):
        train_in_folder(config, data, tmp_path)
