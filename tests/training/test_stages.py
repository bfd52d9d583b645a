"""Methods that build on another network: that it is a run of its own, found again, and used as stated."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from biascon.config.first_stage import first_stage_config
from biascon.config.run_config import RunConfig, make_config
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import RunError, UsageError
from biascon.evaluation.pipeline import evaluate, validate
from biascon.losses import LOSSES
from biascon.models.features import extract_features
from biascon.report.experiments import find_runs
from biascon.runs.context import Place
from biascon.runs.folder import CLASSIFIER, DONE, ENCODER, STEP_LOSSES, lock_folder
from biascon.training.augment import augment
from biascon.training.batches import epoch_order
from biascon.training.network import build_model
from biascon.training.optimizer import learning_rate
from biascon.training.stages import TrainedNetwork, get_or_train
from biascon.utils.seeds import torch_generator

CPU = torch.device("cpu")
TWO = [name for name, entry in LOSSES.items() if entry.first_stage]


def smoke(loss: str, *settings: str) -> RunConfig:
    config = make_config(loss, preset="smoke", settings=["train.epochs=2", *settings])
    return config.for_device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, digits: object) -> BiasedDataset:
    from biascon.data import dataset
    from biascon.data.builders import biased_mnist

    folder = tmp_path_factory.mktemp("stages") / "data"
    spec = biased_mnist.BiasedMNISTSpec(0.8)
    about = biased_mnist.describe_biased_mnist(digits, spec)  # type: ignore[arg-type]
    dataset.save(folder, biased_mnist.build_splits(digits, spec), about, replace=False)  # type: ignore[arg-type]
    return load(folder)


def trained(config: RunConfig, data: BiasedDataset, root: Path) -> TrainedNetwork:
    there = Place(root, CPU)
    with lock_folder(there.folder(config, data)):
        return get_or_train(config, data, there, lambda line: None)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*.safetensors"))
    }


@pytest.mark.parametrize("loss", TWO)
def test_the_first_network_is_a_run_of_its_own_and_is_not_trained_twice(
    loss: str, data: BiasedDataset, tmp_path: Path
) -> None:
    config, before = smoke(loss), first_stage_config(smoke(loss))
    assert before is not None
    trained(config, data, tmp_path)
    there = Place(tmp_path, CPU).folder(before, data)
    assert there.parent.name == LOSSES[loss].first_stage.loss
    assert (there / ENCODER).is_file()
    assert not (there / DONE).exists()
    made = files(tmp_path)
    lines: list[dict[str, object]] = []
    (Place(tmp_path, CPU).folder(config, data) / ENCODER).unlink()
    with lock_folder(Place(tmp_path, CPU).folder(config, data)):
        get_or_train(config, data, Place(tmp_path, CPU), lines.append)
    assert files(tmp_path) == made
    assert not [line for line in lines if "first" in line]
    # On its own it is the same run, to the byte.
    alone = tmp_path / "alone"
    trained(before, data, alone)
    name = str(there.relative_to(tmp_path) / ENCODER)
    assert files(alone)[name] == made[name]


@pytest.mark.parametrize("loss", TWO)
def test_the_whole_is_evaluated_by_one_call_and_says_what_it_builds_on(
    loss: str, data: BiasedDataset, tmp_path: Path
) -> None:
    config = smoke(loss)
    folder, evaluation, _ = evaluate(config, data, root=tmp_path, device=CPU)
    before = first_stage_config(config)
    assert evaluation["first"]["digest"] == before.digest(data.digest)
    assert evaluation["first"]["loss"] == LOSSES[loss].first_stage.loss
    assert evaluation["judged"] == "own classifier"
    assert [also["by"] for also in evaluation["also"]] == ["linear probe"]
    assert (folder / CLASSIFIER).is_file()
    assert evaluation["unbiased"]["value"] is not None
    # The run that it builds on is trained and not evaluated: no reason for a warning.
    assert [run.folder for run in find_runs(tmp_path)] == [folder]


def test_the_network_of_softcon_sees_no_shapes_and_that_of_flac_tells_the_bias(
    data: BiasedDataset,
) -> None:
    softcon, flac = first_stage_config(smoke("softcon")), first_stage_config(smoke("flac"))
    assert (softcon.loss, softcon.model.encoder) == ("ce", "fastconvnet-1x1")
    assert (flac.loss, flac.model.encoder) == ("bias-ce", "fastconvnet")
    kernels = {
        part.kernel_size
        for part in build_model(softcon, data).modules()
        if isinstance(part, torch.nn.Conv2d)
    }
    assert kernels == {(1, 1)}


def test_lff_is_the_joint_training_of_its_two_networks(data: BiasedDataset, tmp_path: Path) -> None:
    """Both networks in one loop, as the paper has it, give the weights that the two runs give."""
    config = smoke("lff", "optimizer.weight_decay=0.0")
    got = trained(config, data, tmp_path)
    split, batch = data.splits["train"], config.train.batch_size
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    biased, debiased = (build_model(c, data).train() for c in (first_stage_config(config), config))
    steps = len(split) // batch
    optimizers = [torch.optim.AdamW(m.parameters(), weight_decay=0.0) for m in (biased, debiased)]
    for epoch in range(2):
        order = epoch_order(split, 0, epoch)
        generator = torch_generator(0, f"views/{epoch}")
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            x = augment(images[rows], config.augment, generator, 2)
            y = labels[rows].repeat_interleave(2)
            logits = [model(x)["logits"] for model in (biased, debiased)]
            ce = [F.cross_entropy(out, y, reduction="none").view(-1, 2).mean(1) for out in logits]
            p = logits[0].softmax(1).gather(1, y[:, None]).squeeze(1)
            weight = (ce[0] / (ce[0] + ce[1])).detach()
            losses = (((1 - p**0.7) / 0.7).mean(), (weight * ce[1]).mean())
            for optimizer, value in zip(optimizers, losses, strict=True):
                rate = learning_rate(config.optimizer, epoch * steps + step, 2 * steps)
                optimizer.param_groups[0]["lr"] = rate
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    for name, value in debiased.encoder.state_dict().items():
        torch.testing.assert_close(
            got.encoder.state_dict()[name], value, rtol=2e-3, atol=2e-4, msg=name
        )


def test_jtt_weighs_the_images_that_the_first_network_gets_wrong(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def watch(config: RunConfig, *rest: object, **given: object) -> object:
        seen[config.loss] = given["given"]
        return original(config, *rest, **given)  # type: ignore[arg-type]

    from biascon.training import stages

    original = stages.train
    monkeypatch.setattr(stages, "train", watch)
    config = smoke("jtt", "loss.up=7", "loss.first_epochs=1")
    trained(config, data, tmp_path)
    before = first_stage_config(config)
    assert before.train.epochs == 1
    first = trained(before, data, tmp_path)
    split = data.splits["train"]
    features = torch.from_numpy(extract_features(first.encoder, split.images, device=CPU))
    wrong = first.classifier(features).argmax(1).numpy() != split.labels
    assert 0 < wrong.sum() < len(split)
    expected = np.where(wrong, 7.0, 1.0)
    weights = seen["jtt"].images["weights"].numpy()
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-6)
    assert weights.mean() == pytest.approx(1, rel=1e-5)


def test_dfr_has_the_encoder_of_cross_entropy_and_another_last_layer(
    data: BiasedDataset, tmp_path: Path
) -> None:
    ce, dfr = (evaluate(smoke(loss), data, root=tmp_path, device=CPU) for loss in ("ce", "dfr"))
    same = [(folder / ENCODER).read_bytes() for folder, *_ in (ce, dfr)]
    assert same[0] == same[1]
    assert ce[1]["unbiased"]["value"] == dfr[1]["also"][0]["unbiased"]  # by the probe
    assert dfr[1]["counts"] != ce[1]["counts"]
    assert dfr[1]["validation"] is None  # it was fitted there: no measure of it
    assert "validation split" in dfr[1]["protocol"]["evaluation"]


def test_a_last_layer_without_a_validation_split_is_refused_before_training(
    data: BiasedDataset, tmp_path: Path
) -> None:
    without = {name: split for name, split in data.splits.items() if name != "val"}
    with pytest.raises(UsageError, match="dfr needs a validation split"):
        evaluate(smoke("dfr"), dataclasses.replace(data, splits=without), root=tmp_path, device=CPU)
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_lost_half_way_is_trained_from_where_it_was(
    data: BiasedDataset, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    def stop(line: dict[str, object]) -> None:
        if line.get("first") and line["epoch"] == 1:
            raise StoppedError

    whole, _ = validate(smoke("lff"), data, root=tmp_path / "whole", device=CPU)
    with pytest.raises(StoppedError):
        validate(smoke("lff"), data, root=tmp_path / "cut", device=CPU, on_epoch=stop)
    cut, _ = validate(smoke("lff"), data, root=tmp_path / "cut", device=CPU)
    assert (cut / ENCODER).read_bytes() == (whole / ENCODER).read_bytes()


def test_a_damaged_first_network_is_told(data: BiasedDataset, tmp_path: Path) -> None:
    before = first_stage_config(smoke("lff"))
    trained(before, data, tmp_path)
    path = Place(tmp_path, CPU).folder(before, data) / STEP_LOSSES
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"losses\.safetensors is damaged; delete it or pass"):
        trained(smoke("lff"), data, tmp_path)


def test_a_first_network_that_another_process_trains_is_waited_for(
    data: BiasedDataset, tmp_path: Path
) -> None:
    before = first_stage_config(smoke("dfr"))
    there = Place(tmp_path, CPU).folder(before, data)
    done: list[TrainedNetwork] = []
    with lock_folder(there):
        other = threading.Thread(
            target=lambda: done.append(trained(smoke("dfr"), data, tmp_path)), daemon=True
        )
        other.start()
        other.join(timeout=1.0)
        assert other.is_alive()
        assert not done
    other.join(timeout=120)
    assert done
