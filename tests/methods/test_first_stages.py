"""What a first-stage network finds on the colored shapes, and what the method makes of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from biascon.config.first_stage import first_stage_config
from biascon.config.run_config import AugmentConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import BiasconWarning
from biascon.losses.flac import flac
from biascon.losses.loss import get_loss
from biascon.models.encoders import has_1x1_kernels
from biascon.models.features import extract_features
from biascon.runs.context import RunContext
from biascon.runs.folder import ENCODER, SELECTED, STEP_LOSSES, lock_folder
from biascon.training.network import TrainedNetwork
from biascon.training.stages import get_or_train
from tests.methods.colored_shapes import N_CLASSES, write_colored_shapes
from tests.methods.short_runs import CPU, RecordedRun, make_context, record_run, train_run

EPOCHS = "train.epochs=4"
SHAPE_READ_OUT = 0.6  # at most; 0.25 is chance
Record = Callable[..., RecordedRun]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BiasedDataset:
    return write_colored_shapes(tmp_path_factory.mktemp("shapes") / "data")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def record(root: Path, data: BiasedDataset) -> Record:
    """Return a function that trains a method and records it; equal arguments give the same run."""
    runs = dict[tuple[str, ...], RecordedRun]()

    def get(loss: str, *settings: str) -> RecordedRun:
        key = (loss, *settings)
        if key not in runs:
            with pytest.MonkeyPatch.context() as monkeypatch:
                runs[key] = record_run(make_context(loss, data, root, *settings), monkeypatch)
        return runs[key]

    return get


def first_stage_of(run: RecordedRun) -> tuple[RunContext, TrainedNetwork]:
    config = first_stage_config(run.context.config)
    assert config is not None
    context = run.context.for_run(config)
    return context, train_run(context)


def features_of(network: TrainedNetwork, data: BiasedDataset, split: str) -> np.ndarray:
    return extract_features(network.encoder, data.splits[split].images, device=CPU)


def predictions_of(network: TrainedNetwork, data: BiasedDataset, split: str) -> np.ndarray:
    assert network.classifier is not None
    with torch.inference_mode():
        logits = network.classifier(torch.from_numpy(features_of(network, data, split)))
    return logits.argmax(dim=1).numpy()


def test_the_bias_network_of_flac_names_the_color_and_not_the_shape(
    record: Record, data: BiasedDataset
) -> None:
    context, network = first_stage_of(record("flac", EPOCHS))
    assert has_1x1_kernels(context.config.model.encoder)
    assert context.config.augment == AugmentConfig.plain()
    for name in ("train", "test"):
        split = data.splits[name]
        named = predictions_of(network, data, name) == split.bias
        assert named[~split.aligned].mean() > 0.98
    # A read-out of the shape, fitted where shape and color are independent, finds little.
    val, test = data.splits["val"], data.splits["test"]
    readout = LogisticRegression(max_iter=200).fit(features_of(network, data, "val"), val.labels)
    right = readout.predict(features_of(network, data, "test")) == test.labels
    assert right[~test.aligned].mean() < SHAPE_READ_OUT


def test_a_first_stage_sees_augmented_views_only_on_demand(
    data: BiasedDataset, tmp_path: Path
) -> None:
    jitter = ("augment.jitter_p=0.8", "augment.grayscale_p=0.2")
    for loss in ("flac", "softcon", "badd", "jtt", "lff", "cnc", "lc", "groupdro@eiil"):
        for setting, is_plain in (("auto", True), ("plain", True), ("same", False)):
            context = make_context(
                loss, data, tmp_path, f"first_stage.augment={setting}", "augment.views=2", *jitter
            )
            first = first_stage_config(context.config)
            assert first is not None
            expected = AugmentConfig.plain() if is_plain else context.config.augment
            assert first.augment == expected


def mask_by_hand(call: dict[str, Tensor], delta: float) -> Tensor:
    """Return bool ``(B, B)``: the pairs that FLAC counts, from its formula."""
    unit = call["bias_features"].double()
    unit = unit / unit.norm(dim=1, keepdim=True)
    distance = ((unit[:, None] - unit[None]) ** 2).sum(-1).add(1e-6).sqrt()
    similarity = 1 / (1 + distance**delta)
    threshold = (similarity.max() + similarity.min()) / 2
    same = call["labels"][:, None] == call["labels"][None]
    counted = torch.where(same, similarity < threshold, similarity > threshold)
    return counted.fill_diagonal_(False)


def test_flac_compares_the_pairs_that_the_true_bias_labels_name(record: Record) -> None:
    run = record("flac", EPOCHS)
    n_counted = n_true = n_both = 0
    for call in run.calls:
        mask = mask_by_hand(
            {"labels": call.labels, **call.inputs}, run.context.config.parameters["delta"]
        )
        same_label = call.labels[:, None] == call.labels[None]
        same_bias = call.bias[:, None] == call.bias[None]
        expected = same_label != same_bias
        n_counted, n_true = n_counted + int(mask.sum()), n_true + int(expected.sum())
        n_both += int((mask & expected).sum())
    assert n_true > 1000
    assert n_both / n_counted > 0.9  # precision
    assert n_both / n_true > 0.9  # recall


def test_flac_moves_only_the_features_of_pairs_that_count(record: Record) -> None:
    n_still = n_moved = 0
    run = record("flac", EPOCHS)
    for call in run.calls[:25]:
        features = call.inputs["features"].clone().requires_grad_()
        value = flac(
            call.z,
            call.labels,
            features=features,
            bias_features=call.inputs["bias_features"],
            alpha=1.0,
        )
        (gradient,) = torch.autograd.grad(value, features)
        moves = gradient.abs().amax(dim=(1, 2)) > 0
        mask = mask_by_hand({"labels": call.labels, **call.inputs}, delta=0.5)
        # A row with one pair has p = q = 1 and asks for nothing.
        rows = mask & (mask.sum(dim=1, keepdim=True) > 1)
        in_pair = rows.any(dim=1) | rows.any(dim=0)
        assert torch.equal(moves, in_pair)
        n_still, n_moved = n_still + int((~moves).sum()), n_moved + int(moves.sum())
    assert n_still > 100
    assert n_moved > 100


def test_the_norm_of_the_features_does_not_change_flac(record: Record) -> None:
    for call in record("flac", EPOCHS).calls[:5]:
        inputs = {
            "features": call.inputs["features"],
            "bias_features": call.inputs["bias_features"],
        }
        value = flac(call.z, call.labels, **inputs)
        for name in inputs:
            scaled = flac(call.z, call.labels, **{**inputs, name: 10 * inputs[name]})
            torch.testing.assert_close(scaled, value, rtol=1e-4, atol=1e-6)


def test_the_error_set_of_jtt_is_that_of_its_first_network_and_nearly_the_conflicting_images(
    record: Record, data: BiasedDataset
) -> None:
    run = record("jtt", EPOCHS, "loss.up=7")
    split = data.splits["train"]
    first, network = first_stage_of(run)
    assert (first.config.train.epochs, first.config.augment) == (1, AugmentConfig.plain())
    errors = predictions_of(network, data, "train") != split.labels
    found = int((errors & ~split.aligned).sum())
    stated = json.loads((run.context.folder / SELECTED).read_text())
    n_conflicting = int((~split.aligned).sum())
    assert (stated["n"], stated["selected"]) == (len(split), int(errors.sum()))
    assert (stated["conflicting"], stated["selected_conflicting"]) == (n_conflicting, found)
    assert stated["recall"] == found / n_conflicting > 0.8
    assert stated["precision"] == found / errors.sum() > 0.8
    assert run.loss_inputs is not None
    weights = run.loss_inputs.per_image["weights"].numpy()
    np.testing.assert_allclose(weights[errors], 7 * weights[~errors][0], rtol=1e-6)
    assert np.unique(weights[~errors]).size == 1
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    for call in run.calls:
        assert np.isin(call.inputs["weights"].numpy(), weights).all()


def test_an_empty_error_set_is_said_and_is_cross_entropy(tmp_path: Path) -> None:
    # Without a conflicting image the color is enough: the first network makes no error.
    data = write_colored_shapes(tmp_path / "data", n=640, rho=1.0)
    settings = ("train.epochs=1", "first_stage.epochs=4")
    context = make_context("jtt", data, tmp_path / "warned", *settings)
    with lock_folder(context.folder), pytest.warns(BiasconWarning, match="error set is empty"):
        get_or_train(context)
    stated = json.loads((context.folder / SELECTED).read_text())
    assert (stated["selected"], stated["precision"]) == (0, None)
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = record_run(make_context("jtt", data, tmp_path / "recorded", *settings), monkeypatch)
    jtt, ce = get_loss("jtt"), get_loss("ce")
    for call in run.calls:
        assert torch.equal(call.inputs["weights"], torch.ones(len(call.labels)))
        value = jtt(call.z, call.labels, **call.inputs)
        torch.testing.assert_close(value, ce(call.z, call.labels))


def test_the_biased_network_of_lff_loses_on_conflicting_images(
    record: Record, data: BiasedDataset
) -> None:
    run = record("lff", EPOCHS)
    first, _ = first_stage_of(run)
    losses = load_file(first.folder / STEP_LOSSES)["losses"].numpy()
    aligned = data.splits["train"].aligned
    assert losses.shape == (4, len(aligned))
    for epoch in (2, 3):
        assert losses[epoch, ~aligned].mean() > 3 * losses[epoch, aligned].mean()
    for call in run.calls[-25:]:
        given = call.inputs["bias_losses"].numpy()
        assert np.isin(given, losses[3]).all()


@pytest.mark.parametrize("loss", ["cnc", "lc"])
def test_predicted_groups_are_the_predictions_of_the_first_network(
    loss: str, record: Record, data: BiasedDataset
) -> None:
    run = record(loss, "train.epochs=2", *(["augment.views=2"] if loss == "cnc" else []))
    _, network = first_stage_of(run)
    assert run.loss_inputs is not None
    assert run.loss_inputs.groups is not None
    split, predicted = data.splits["train"], predictions_of(network, data, "train")
    assert np.array_equal(run.loss_inputs.groups.bias, predicted)
    assert np.array_equal(run.loss_inputs.groups.labels, split.labels)
    if loss == "lc":
        counts = np.zeros((N_CLASSES, N_CLASSES), np.int64)
        np.add.at(counts, (split.labels, predicted), 1)
        assert np.array_equal(run.calls[0].inputs["counts"].numpy(), counts)


def test_inferred_groups_read_no_bias_label_of_the_training_images(tmp_path: Path) -> None:
    data = write_colored_shapes(tmp_path / "data", n=640, rho=0.9)
    train = data.splits["train"]
    bias, aligned = train.bias.copy(), train.aligned.copy()
    rng = np.random.default_rng(0)
    for label in range(N_CLASSES):  # within a label, so that every count of a cell stays
        rows = np.flatnonzero(train.labels == label)
        moved = rng.permutation(rows)
        bias[rows], aligned[rows] = train.bias[moved], train.aligned[moved]
    poisoned = dataclasses.replace(
        data,
        splits={**data.splits, "train": dataclasses.replace(train, bias=bias, aligned=aligned)},
    )
    uses_bias = {
        **dict.fromkeys(("groupdro@eiil", "biasbal@eiil", "flac@eiil", "biascon@eiil"), False),
        **dict.fromkeys(("jtt", "lff"), False),
        **dict.fromkeys(("groupdro", "flac"), True),
    }
    differs = {}
    for loss in uses_bias:
        settings = ["train.epochs=1"]
        if loss.startswith("biascon"):
            settings += ["augment.views=2", "loss.oversample=10"]
        encoders = []
        for name, of_run in (("true", data), ("poisoned", poisoned)):
            context = make_context(loss, of_run, tmp_path / name, *settings)
            train_run(context)
            encoders.append((context.folder / ENCODER).read_bytes())
        differs[loss] = encoders[0] != encoders[1]
    assert differs == uses_bias
