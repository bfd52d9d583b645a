"""Methods with a first-stage network: it is a run of its own, is reused, and gives the documented inputs."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from biascon.config.factory import make_config
from biascon.config.first_stage import first_stage_config
from biascon.config.method_settings import resolve_parameters
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import RunError, UsageError
from biascon.evaluation.pipeline import validate
from biascon.losses import LOSSES
from biascon.losses.loss import Loss, get_loss
from biascon.models.features import extract_features
from biascon.report.experiments import find_runs
from biascon.runs.context import RunContext
from biascon.runs.folder import CLASSIFIER, DONE, ENCODER, STEP_LOSSES, lock_folder
from biascon.runs.records import EpochRecord
from biascon.training import loop, stages, steps
from biascon.training.augment import augment
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import Model, build_model
from biascon.training.stages import TrainedNetwork, get_or_train
from tests.run_helpers import evaluate_to_json, note_in_journal

CPU = torch.device("cpu")
TWO_STAGE = [name for name, entry in LOSSES.items() if entry.first_stage]


def smoke_config(loss: str, *settings: str) -> RunConfig:
    config = make_config(loss, preset="smoke", settings=["train.epochs=2", *settings])
    return resolve_parameters(config, "bmnist", {"rho": 0.8}).for_device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, digits: object) -> BiasedDataset:
    from biascon.data import dataset
    from biascon.data.builders import biased_mnist

    folder = tmp_path_factory.mktemp("stages") / "data"
    spec = biased_mnist.BiasedMNISTSpec(0.8)
    about = biased_mnist.describe_biased_mnist(digits, spec)  # type: ignore[arg-type]
    dataset.save(folder, biased_mnist.build_splits(digits, spec), about, replace=False)  # type: ignore[arg-type]
    return load(folder)


def train_in(config: RunConfig, data: BiasedDataset, root: Path) -> TrainedNetwork:
    context = RunContext(config, data, root, CPU)
    with lock_folder(context.folder):
        return get_or_train(context)


def read_tensor_files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*.safetensors"))
    }


@pytest.mark.parametrize("loss", TWO_STAGE)
def test_the_first_stage_network_is_a_run_that_is_trained_once(
    loss: str, data: BiasedDataset, tmp_path: Path
) -> None:
    config, first_config = smoke_config(loss), first_stage_config(smoke_config(loss))
    assert first_config is not None
    train_in(config, data, tmp_path)
    first_folder = RunContext(first_config, data, tmp_path, CPU).folder
    assert first_folder.parent.name == LOSSES[loss].first_stage.loss
    assert (first_folder / ENCODER).is_file()
    assert not (first_folder / DONE).exists()
    first_files = read_tensor_files(tmp_path)
    records: list[EpochRecord] = []
    context = RunContext(config, data, tmp_path, CPU, on_epoch=records.append)
    (context.folder / ENCODER).unlink()
    with lock_folder(context.folder):
        get_or_train(context)
    assert read_tensor_files(tmp_path) == first_files
    assert not [record for record in records if record.stage]
    # Trained alone, the first-stage network has the same bytes.
    alone = tmp_path / "alone"
    train_in(first_config, data, alone)
    name = str(first_folder.relative_to(tmp_path) / ENCODER)
    assert read_tensor_files(alone)[name] == first_files[name]


@pytest.mark.parametrize("loss", TWO_STAGE)
def test_one_call_evaluates_both_stages_and_records_the_first_stage(
    loss: str, data: BiasedDataset, tmp_path: Path
) -> None:
    config = smoke_config(loss)
    folder, evaluation, _ = evaluate_to_json(config, data, root=tmp_path, device=CPU)
    first_config = first_stage_config(config)
    assert evaluation["first_stage"]["digest"] == first_config.digest(data.digest)
    assert evaluation["first_stage"]["loss"] == LOSSES[loss].first_stage.loss
    assert evaluation["evaluated_by"] == "own"
    assert [other["classifier"] for other in evaluation["other_classifiers"]] == ["linear_probe"]
    assert (folder / CLASSIFIER).is_file()
    assert evaluation["unbiased"]["value"] is not None
    # The run of the first-stage network is trained but not evaluated, which gives no warning.
    assert [run.folder for run in find_runs(tmp_path)] == [folder]


def test_first_networks_of_softcon_and_flac_see_colors_but_no_shapes(
    data: BiasedDataset,
) -> None:
    softcon, flac = (
        first_stage_config(smoke_config("softcon")),
        first_stage_config(smoke_config("flac")),
    )
    assert (softcon.loss, softcon.model.encoder) == ("ce", "fastconvnet-1x1")
    assert (flac.loss, flac.model.encoder) == ("bias-ce", "fastconvnet-1x1")
    for config in (softcon, flac):
        kernels = {
            part.kernel_size
            for part in build_model(config, LOSSES[config.loss], data).modules()
            if isinstance(part, torch.nn.Conv2d)
        }
        assert kernels == {(1, 1)}


class SpyLoss:
    """A loss that records the inputs of every call."""

    def __init__(self, loss: Loss, calls: list[dict[str, Tensor]]) -> None:
        self.loss, self.calls = loss, calls

    def __getattr__(self, name: str) -> object:
        return getattr(self.loss, name)

    def __call__(self, z: Tensor, labels: Tensor, bias: Tensor, **inputs: Tensor) -> Tensor:
        self.calls.append({"z": z.detach().clone(), "labels": labels, **inputs})
        return self.loss(z, labels, bias, **inputs)


@pytest.mark.parametrize("choice", ["auto", "same"])
def test_lff_gets_the_losses_of_its_biased_network_at_the_same_step(
    choice: str, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if both networks were trained in one loop: same images, losses of the same step.

    The paper trains both on the same views. By default, the biased network sees plain images.
    """
    calls: dict[str, list[dict[str, Tensor]]] = {"gce": [], "lff": []}
    views: list[Tensor] = []
    monkeypatch.setattr(
        loop, "get_loss", lambda name, **free: SpyLoss(get_loss(name, **free), calls[name])
    )
    monkeypatch.setattr(
        steps, "augment", lambda *args: views.append(augment(*args).clone()) or views[-1]
    )
    config = smoke_config("lff", f"first_stage.augment={choice}")
    train_in(config, data, tmp_path)
    n_steps = len(data.splits["train"]) // config.train.batch_size * config.train.epochs
    n_views = 1 if choice == "auto" else config.augment.views
    assert len(calls["gce"]) == len(calls["lff"]) == n_steps
    assert len(views) == 2 * n_steps
    if choice == "same":
        assert all(map(torch.equal, views[:n_steps], views[n_steps:]))
    for biased, main in zip(calls["gce"], calls["lff"], strict=True):
        assert torch.equal(biased["labels"], main["labels"])
        assert biased["z"].shape[1] == n_views
        labels = biased["labels"].repeat_interleave(n_views)
        losses = F.cross_entropy(biased["z"].flatten(0, 1), labels, reduction="none")
        losses = losses.view(-1, n_views).mean(dim=1)
        torch.testing.assert_close(main["bias_losses"], losses, rtol=1e-5, atol=1e-6)


def test_jtt_weights_the_images_that_the_first_stage_network_misclassifies(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs: dict[str, LossInputs | None] = {}

    def spy(context: RunContext, *, loss_inputs: LossInputs | None) -> Model:
        inputs[context.config.loss] = loss_inputs
        return loop.train(context, loss_inputs=loss_inputs)

    monkeypatch.setattr(stages, "train", spy)
    config = smoke_config("jtt", "loss.up=7", "loss.first_epochs=1")
    train_in(config, data, tmp_path)
    first_config = first_stage_config(config)
    assert first_config is not None
    assert first_config.train.epochs == 1
    first = train_in(first_config, data, tmp_path)
    split = data.splits["train"]
    features = torch.from_numpy(extract_features(first.encoder, split.images, device=CPU))
    assert first.classifier is not None
    is_wrong = first.classifier(features).argmax(1).numpy() != split.labels
    assert 0 < is_wrong.sum() < len(split)
    expected = np.where(is_wrong, 7.0, 1.0)
    assert inputs["jtt"] is not None
    weights = inputs["jtt"].per_image["weights"].numpy()
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-6)
    assert weights.mean() == pytest.approx(1, rel=1e-5)


def test_dfr_has_the_encoder_of_cross_entropy_and_its_own_last_layer(
    data: BiasedDataset, tmp_path: Path
) -> None:
    ce, dfr = (
        evaluate_to_json(smoke_config(loss), data, root=tmp_path, device=CPU)
        for loss in ("ce", "dfr")
    )
    same = [(folder / ENCODER).read_bytes() for folder, *_ in (ce, dfr)]
    assert same[0] == same[1]
    assert ce[1]["unbiased"]["value"] == dfr[1]["other_classifiers"][0]["unbiased"]  # by the probe
    assert dfr[1]["counts"] != ce[1]["counts"]
    assert dfr[1]["validation"] is None  # the last layer is fitted on the validation split
    assert "validation split" in dfr[1]["protocol"]["evaluation"]


def test_a_last_layer_without_a_validation_split_is_refused_before_training(
    data: BiasedDataset, tmp_path: Path
) -> None:
    without = {name: split for name, split in data.splits.items() if name != "val"}
    with pytest.raises(UsageError, match="dfr needs a validation split"):
        evaluate_to_json(
            smoke_config("dfr"),
            dataclasses.replace(data, splits=without),
            root=tmp_path,
            device=CPU,
        )
    assert not list(tmp_path.iterdir())


def test_an_interrupted_first_stage_resumes_to_the_same_weights(
    data: BiasedDataset, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    def stop(record: EpochRecord) -> None:
        if record.stage and record.epoch == 1:
            raise StoppedError

    whole, _ = validate(smoke_config("lff"), data, root=tmp_path / "whole", device=CPU)
    with pytest.raises(StoppedError):
        validate(smoke_config("lff"), data, root=tmp_path / "cut", device=CPU, on_epoch=stop)
    cut, _ = validate(smoke_config("lff"), data, root=tmp_path / "cut", device=CPU)
    assert (cut / ENCODER).read_bytes() == (whole / ENCODER).read_bytes()


def test_a_damaged_first_stage_network_is_refused(data: BiasedDataset, tmp_path: Path) -> None:
    first_config = first_stage_config(smoke_config("lff"))
    train_in(first_config, data, tmp_path)
    path = RunContext(first_config, data, tmp_path, CPU).folder / STEP_LOSSES
    path.write_bytes(path.read_bytes()[:100])
    note_in_journal(path)
    with pytest.raises(RunError, match=r"losses\.safetensors is damaged; delete it or pass"):
        train_in(smoke_config("lff"), data, tmp_path)


def test_a_first_stage_network_in_training_is_waited_for(
    data: BiasedDataset, tmp_path: Path
) -> None:
    first_config = first_stage_config(smoke_config("dfr"))
    first_folder = RunContext(first_config, data, tmp_path, CPU).folder
    networks: list[TrainedNetwork] = []
    with lock_folder(first_folder):
        thread = threading.Thread(
            target=lambda: networks.append(train_in(smoke_config("dfr"), data, tmp_path)),
            daemon=True,
        )
        thread.start()
        thread.join(timeout=1.0)
        assert thread.is_alive()
        assert not networks
    thread.join(timeout=120)
    assert networks
