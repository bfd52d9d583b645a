"""What a first-stage network gives to its method, and which images it is trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from biascon.config.augmentation import Augmentation
from biascon.config.factory import make_config
from biascon.config.first_stage import first_stage_config
from biascon.config.method_settings import resolve_parameters
from biascon.config.run_config import AugmentConfig, RunConfig
from biascon.data.bias_views import view_by_attributes
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import BiasconWarning, UsageError
from biascon.evaluation import protocols
from biascon.losses import LOSSES
from biascon.models.features import extract_features
from biascon.models.preprocess import normalize
from biascon.runs.context import RunContext
from biascon.runs.folder import SELECTED, lock_folder
from biascon.runs.records import SelectedImages
from biascon.training import first_stage_inputs, loop, stages, steps
from biascon.training.augment import augment
from biascon.training.batches import BatchLoader, split_held_out
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import Model, TrainedNetwork
from tests.run_helpers import evaluate_to_json
from tests.small_datasets import write_faces

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:the linear probe did not converge")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BiasedDataset:
    return load(write_faces(tmp_path_factory.mktemp("stages") / "faces"))


def make(loss: str, *settings: str) -> RunConfig:
    sets = ["train.epochs=1", "train.batch_size=32", *settings]
    config = make_config(loss, preset="smoke", settings=sets)
    return resolve_parameters(config, "made", {}).for_device("cpu")


def train_in(config: RunConfig, data: BiasedDataset, root: Path) -> TrainedNetwork:
    context = RunContext(config, data, root, CPU)
    with lock_folder(context.folder):
        return stages.get_or_train(context)


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> dict[str, LossInputs | None]:
    """Return the inputs that each network is trained with, by its loss; filled while training."""
    seen: dict[str, LossInputs | None] = {}

    def spy(context: RunContext, *, loss_inputs: LossInputs | None) -> Model:
        seen[context.config.loss] = loss_inputs
        return loop.train(context, loss_inputs=loss_inputs)

    monkeypatch.setattr(stages, "train", spy)
    return seen


class TestViews:
    @pytest.mark.parametrize("choice", ["auto", "same"])
    def test_a_first_network_sees_plain_images_unless_the_user_says_otherwise(
        self, choice: str, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[tuple[Augmentation, int, Tensor, Tensor]] = []

        def spy(images: Tensor, augmentation: Augmentation, *rest: Any) -> Tensor:
            views = augment(images, augmentation, *rest)
            calls.append((augmentation, rest[1], images, views.clone()))
            return views

        monkeypatch.setattr(steps, "augment", spy)
        config = make("jtt", f"first_stage.augment={choice}")
        train_in(config, data, tmp_path)
        n_steps = 120 // 32
        first, second = calls[:n_steps], calls[n_steps:]
        assert len(second) == n_steps
        assert all(call[0] == config.augment for call in second)
        for augmentation, n_views, images, views in first:
            if choice == "same":
                assert augmentation == config.augment
                assert n_views == 2
                continue
            assert (n_views, augmentation.jitter_p, augmentation.grayscale_p) == (1, 0, 0)
            torch.testing.assert_close(views, normalize(images), rtol=0, atol=1e-5)

    def test_a_plain_augmentation_leaves_every_image_as_it_is(self, data: BiasedDataset) -> None:
        images = torch.from_numpy(data.splits["train"].images[:8])
        plain = AugmentConfig.plain()
        views = augment(images, plain, torch.Generator().manual_seed(0), plain.views)
        torch.testing.assert_close(views, normalize(images), rtol=0, atol=1e-5)


class TestSelectedImages:
    def test_jtt_records_its_error_set(
        self, data: BiasedDataset, tmp_path: Path, inputs: dict[str, LossInputs | None]
    ) -> None:
        config = make("jtt", "loss.up=5")
        folder, evaluation, _ = evaluate_to_json(config, data, root=tmp_path)
        assert inputs["jtt"] is not None
        weights = inputs["jtt"].per_image["weights"].numpy()
        selected = weights > weights.min()
        conflicting = ~data.splits["train"].aligned
        assert 0 < selected.sum() < len(selected)
        np.testing.assert_allclose(weights[selected] / weights.min(), 5, rtol=1e-6)
        record = json.loads((folder / SELECTED).read_text())
        both = int((selected & conflicting).sum())
        assert record == {
            "kind": "images that the first-stage network misclassifies",
            "n": 120,
            "selected": int(selected.sum()),
            "conflicting": int(conflicting.sum()),
            "selected_conflicting": both,
            "recall": both / conflicting.sum(),
            "precision": both / selected.sum(),
        }
        assert evaluation["selected_images"] == record

    def test_an_empty_error_set_gives_a_warning_and_equal_weights(
        self,
        data: BiasedDataset,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        inputs: dict[str, LossInputs | None],
    ) -> None:
        right = torch.nn.functional.one_hot(torch.from_numpy(data.splits["train"].labels), 2)
        monkeypatch.setattr(first_stage_inputs, "_logits", lambda *_: right.float())
        with pytest.warns(BiasconWarning, match="error set is empty .* plain ce"):
            train_in(make("jtt"), data, tmp_path)
        assert inputs["jtt"] is not None
        assert (inputs["jtt"].per_image["weights"] == 1).all()

    def test_without_an_alignment_only_the_size_is_recorded(
        self, data: BiasedDataset, tmp_path: Path
    ) -> None:
        by_product = view_by_attributes(data, ["race", "age"])
        config = make("cnc")
        train_in(config, by_product, tmp_path)
        folder = RunContext(config, by_product, tmp_path, CPU).folder
        record = SelectedImages.from_json(json.loads((folder / SELECTED).read_text()))
        assert (record.conflicting, record.selected_conflicting) == (None, None)
        assert (record.recall, record.precision) == (None, None)
        assert record.describe().endswith("of 120 training images")


@pytest.mark.parametrize("loss", ["cnc", "lc"])
def test_predicted_labels_take_the_place_of_the_bias_values(
    loss: str, data: BiasedDataset, tmp_path: Path, inputs: dict[str, LossInputs | None]
) -> None:
    config = make(loss)
    train_in(config, data, tmp_path)
    first_config = first_stage_config(config)
    assert first_config is not None
    first = train_in(first_config, data, tmp_path)
    split, given = data.splits["train"], inputs[loss]
    features = torch.from_numpy(extract_features(first.encoder, split.images, device=CPU))
    assert first.classifier is not None
    assert given is not None
    assert given.groups is not None
    assert np.array_equal(given.groups.bias, first.classifier(features).argmax(1).numpy())
    assert np.array_equal(given.groups.labels, split.labels)
    assert (given.groups.n_labels, given.groups.n_bias) == (2, 2)
    assert not LOSSES[loss].uses_bias_labels


class TestBadd:
    def test_there_is_a_network_for_each_attribute_of_a_product(
        self, data: BiasedDataset, tmp_path: Path, inputs: dict[str, LossInputs | None]
    ) -> None:
        by_product = view_by_attributes(data, ["race", "age"])
        config = make("badd", "loss.m=0.5")
        folder, evaluation, _ = evaluate_to_json(config, by_product, root=tmp_path)
        first_config = first_stage_config(config)
        assert first_config is not None
        assert first_config.model.encoder.endswith("-1x1")
        total = torch.zeros(120, 128)
        digests = []
        for attribute, n_values in (("race", 2), ("age", 3)):
            view = view_by_attributes(data, [attribute])
            context = RunContext(first_config, view, tmp_path, CPU)
            digests.append(context.digest)
            network = train_in(first_config, view, tmp_path)
            assert network.classifier is not None
            total += torch.from_numpy(
                extract_features(network.encoder, view.splits["train"].images, device=CPU)
            )
            sizes = {len(p) for p in network.classifier.parameters()}
            assert sizes == {n_values}
        assert evaluation["first_stage"]["digest"] == digests[0]
        assert evaluation["first_stage"]["others"] == digests[1:]
        given = inputs["badd"]
        assert given is not None
        assert given.added_features is not None
        torch.testing.assert_close(given.added_features, 0.5 * total)
        # At test time the classifier sees the features alone.
        features = load_file(folder / "features-test.safetensors")
        classifier = load_file(folder / "classifier.safetensors")
        (test_features,) = features.values()
        logits = test_features @ classifier["0.weight"].T + classifier["0.bias"]
        table = pq.read_table(folder / "predictions.parquet").to_pandas()
        scores = torch.tensor(table[["score_0", "score_1"]].to_numpy()).float()
        torch.testing.assert_close(scores, logits.softmax(dim=1).float(), rtol=1e-4, atol=1e-5)

    def test_one_attribute_has_one_network(self, data: BiasedDataset, tmp_path: Path) -> None:
        train_in(make("badd"), data, tmp_path)
        assert len(list(tmp_path.glob("*/bias-ce/*/encoder.safetensors"))) == 1

    def test_a_dataset_without_a_bias_attribute_is_refused(self, tmp_path: Path) -> None:
        from tests.small_datasets import write_plain

        plain = load(write_plain(tmp_path / "plain"))
        with pytest.raises(UsageError, match="needs bias labels, but plain has no bias attribute"):
            evaluate_to_json(make("badd"), plain, root=tmp_path / "runs")
        assert not list((tmp_path / "runs").glob("*/*/*/encoder.safetensors"))


def test_afr_fits_its_layer_on_the_images_that_its_encoder_has_not_seen(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_seen: set[int] = set()
    fits: list[tuple[np.ndarray, ...]] = []
    load_batches, fit_weighted = BatchLoader.batches, protocols.fit_weighted

    def spied_batches(self: BatchLoader, rows: list[Tensor]) -> Iterator[Tensor]:
        rows_seen.update(int(row) for batch in rows for row in batch)
        return load_batches(self, rows)

    def spied_fit(
        features: np.ndarray, labels: np.ndarray, weights: np.ndarray, *rest: Any, **options: Any
    ) -> Any:
        fits.append((features, labels, weights))
        return fit_weighted(features, labels, weights, *rest, **options)

    monkeypatch.setattr(BatchLoader, "batches", spied_batches)
    monkeypatch.setattr(protocols, "fit_weighted", spied_fit)
    config = make("afr", "loss.gamma=3", "train.epochs=3")
    folder, evaluation, _ = evaluate_to_json(config, data, root=tmp_path)
    kept, held_out = split_held_out(120, 24, config.seed)
    assert rows_seen <= set(kept.tolist())
    assert len(rows_seen) > 90
    ((features, labels, weights),) = fits
    split = data.splits["train"]
    (all_features,) = load_file(folder / "features-train.safetensors").values()
    assert np.array_equal(features, all_features.numpy()[held_out])
    assert np.array_equal(labels, split.labels[held_out])
    classifier = load_file(folder / "classifier.safetensors")
    logits = torch.from_numpy(features) @ classifier["0.weight"].T + classifier["0.bias"]
    p = logits.softmax(dim=1).numpy()[np.arange(24), labels].astype(float)
    expected = np.exp(-3 * p) / np.bincount(labels)[labels]
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
    assert (
        "24 training images that the encoder has not seen" in evaluation["protocol"]["evaluation"]
    )
    assert evaluation["first_stage"]["loss"] == "ce"
    assert evaluation["validation"]["unbiased"] is not None


def test_a_batch_larger_than_the_images_that_are_kept_is_refused(
    data: BiasedDataset, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"at most 96 images .* held out for the last layer"):
        evaluate_to_json(make("afr", "train.batch_size=100"), data, root=tmp_path)
