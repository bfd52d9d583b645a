"""What reaches each loss in training: which features, of what norm, of which images and how often."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from biascon.config.first_stage import first_stage_config
from biascon.data.dataset import BiasedDataset
from biascon.evaluation.protocols import EncoderEvaluation, fit_classifiers
from biascon.losses import LOSSES
from biascon.losses.loss import get_entry
from biascon.losses.registry import Requirement
from biascon.models.features import extract_features
from biascon.models.preprocess import normalize
from biascon.training.loss_inputs import dataset_groups
from biascon.training.steps import Step, StepPlan
from tests.methods.colored_shapes import N_CLASSES, write_colored_shapes
from tests.methods.short_runs import CPU, RecordedRun, make_context, record_run, train_run

N, BATCH = 640, 64
STRONG_VIEWS = ("augment.rotation=20", "augment.jitter_p=1", "augment.grayscale_p=0.5")
Record = Callable[..., RecordedRun]
ENCODER_FEATURES = ("biascon", "biascon+biasbal", "softcon", "fairkl", "cnc")
# Methods whose loss is called in a training of their own: dfr and afr take the encoder of ce.
TRAINED = [
    name
    for name, entry in LOSSES.items()
    if entry.first_stage is None or entry.first_stage.gives != "encoder"
]
BALANCED = [name for name in TRAINED if Requirement.GROUP_SAMPLING in LOSSES[name].requires]
SUBSAMPLED = [name for name in TRAINED if Requirement.GROUP_SUBSAMPLING in LOSSES[name].requires]
NATURAL = [name for name in TRAINED if name not in (*BALANCED, *SUBSAMPLED)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BiasedDataset:
    return write_colored_shapes(tmp_path_factory.mktemp("shapes") / "data", n=N, rho=0.9)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory, data: BiasedDataset) -> Record:
    """Return a function that trains a method for one epoch; equal arguments give the same run."""
    root, runs = tmp_path_factory.mktemp("runs"), dict[tuple[str, ...], RecordedRun]()

    def get(loss: str, *settings: str) -> RecordedRun:
        key = (loss, *settings)
        if key not in runs:
            # A folder of its own: the first stage of another method may be this very run.
            folder = root / str(len(runs))
            context = make_context(loss, data, folder, "train.epochs=1", *settings)
            with pytest.MonkeyPatch.context() as monkeypatch:
                runs[key] = record_run(context, monkeypatch)
        return runs[key]

    return get


def steps_of(run: RecordedRun) -> list[Step]:
    """Return the steps of the first epoch, from the plan of the run."""
    context = run.context
    split, groups = context.data.splits["train"], dataset_groups(context.data)
    return StepPlan.make(context.config, context.entry, split, groups).epoch(0)


def count_cells(labels: np.ndarray, bias: np.ndarray) -> np.ndarray:
    counts = np.zeros((N_CLASSES, N_CLASSES), np.int64)
    np.add.at(counts, (labels, bias), 1)
    return counts


def drawn_cells(run: RecordedRun) -> np.ndarray:
    """Return how often each (label, bias or group) cell reached the loss."""
    labels, bias = (
        torch.cat([getattr(call, name) for call in run.calls]).numpy()
        for name in ("labels", "bias")
    )
    assert len(labels) == N
    return count_cells(labels, bias)


def binomial_bound(n: int, p: float) -> float:
    return 5 * math.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("loss", ["supcon", "simclr", "contex", "eps_supinfonce", "fscl"])
def test_a_contrast_with_a_head_compares_its_normalized_outputs(loss: str, record: Record) -> None:
    run = record(loss, "augment.views=2")
    width = run.context.config.model.head[-1]
    for call in run.calls:
        assert call.z.shape == (BATCH, 2, width)
        torch.testing.assert_close(call.z.norm(dim=-1), torch.ones(BATCH, 2))
        assert call.out["features"].shape == (2 * BATCH, 128)


@pytest.mark.parametrize("loss", ENCODER_FEATURES)
def test_a_contrast_without_a_head_compares_normalized_encoder_features(
    loss: str, record: Record
) -> None:
    run = record(loss, "augment.views=2")
    assert run.context.config.model.head == ()
    for call in run.calls:
        features = call.out["features"][: 2 * BATCH]
        torch.testing.assert_close(call.z.flatten(0, 1), F.normalize(features, dim=1))
        torch.testing.assert_close(call.z.norm(dim=-1), torch.ones(BATCH, 2))


@pytest.mark.parametrize("loss", ENCODER_FEATURES)
def test_a_head_that_the_user_sets_comes_before_the_contrast(loss: str, record: Record) -> None:
    run = record(loss, "augment.views=2", "model.head=[16]")
    assert {call.z.shape[-1] for call in run.calls} == {16}


@pytest.mark.parametrize("loss", ["flac", "end"])
def test_a_regularizer_of_features_gets_the_outputs_of_the_encoder(
    loss: str, record: Record
) -> None:
    run = record(loss)
    for call in run.calls:
        features = call.inputs["features"]
        assert torch.equal(features, call.out["features"][:, None])
        assert torch.equal(call.z, call.out["logits"][:, None])
        assert float((features.norm(dim=-1) - 1).abs().min()) > 0.01


@pytest.mark.parametrize("loss", ["flac", "softcon"])
def test_each_image_has_its_own_bias_features(loss: str, record: Record) -> None:
    run = record(loss, *([] if loss == "flac" else ["augment.views=2"]))
    expected = bias_features(run)
    for step, call in zip(steps_of(run), run.calls, strict=True):
        assert torch.equal(call.inputs["bias_features"], expected[step.rows])


def bias_features(run: RecordedRun) -> torch.Tensor:
    """Return the features of the first-stage network of a run for its training images."""
    context = run.context
    config = first_stage_config(context.config)
    assert config is not None
    first = train_run(context.for_run(config))
    images = context.data.splits["train"].images
    return torch.from_numpy(extract_features(first.encoder, images, device=CPU))


def test_badd_adds_bias_features_in_training_and_none_at_evaluation(record: Record) -> None:
    run = record("badd", "loss.m=0.5")
    added = 0.5 * bias_features(run)
    for step, call in zip(steps_of(run), run.calls, strict=True):
        assert call.added_features is not None
        torch.testing.assert_close(call.added_features, added[step.rows])
        torch.testing.assert_close(call.z[:, 0], call.recomputed_logits)
    encoder, classifier = run.network.encoder, run.network.classifier
    assert classifier is not None
    test = run.context.data.splits["test"]
    features = torch.from_numpy(extract_features(encoder, test.images, device=CPU))
    with torch.inference_mode():
        expected = classifier(features).softmax(dim=1).numpy()
    headline = fit_classifiers(EncoderEvaluation(run.context, run.network))[0]
    np.testing.assert_allclose(headline.predict_proba("test"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["biascon", "softcon"])
def test_a_plain_classifier_sees_images_as_they_are_beside_an_augmented_contrast(
    loss: str, record: Record
) -> None:
    run = record(loss, "augment.views=2", "augment.plain_classifier=true", *STRONG_VIEWS)
    images = torch.from_numpy(np.array(run.context.data.splits["train"].images))
    for step, call in zip(steps_of(run), run.calls, strict=True):
        plain = normalize(images[step.rows])
        assert torch.equal(call.images[2 * BATCH :], plain)
        assert call.inputs["logits"].shape == (BATCH, 1, N_CLASSES)
        assert torch.equal(call.inputs["logits"][:, 0], call.out["logits"][2 * BATCH :])
        assert torch.equal(call.inputs["logit_labels"], call.labels)
        views = call.images[: 2 * BATCH].view(BATCH, 2, *plain.shape[1:])
        is_plain = [torch.equal(views[i, v], plain[i]) for i in range(BATCH) for v in range(2)]
        assert not any(is_plain)


@pytest.mark.parametrize("loss", ["ce", "groupdro", "flac"])
def test_a_classifier_alone_sees_one_plain_view_with_plain_classifier(
    loss: str, record: Record
) -> None:
    run = record(loss, "augment.views=2", "augment.plain_classifier=true", *STRONG_VIEWS)
    images = torch.from_numpy(np.array(run.context.data.splits["train"].images))
    for step, call in zip(steps_of(run), run.calls, strict=True):
        assert call.z.shape == (BATCH, 1, N_CLASSES)
        assert torch.equal(call.images, normalize(images[step.rows]))


@pytest.mark.parametrize("loss", ["biascon", "biascon+biasbal"])
def test_only_the_contrast_oversamples_conflicting_images(loss: str, record: Record) -> None:
    run = record(loss, "augment.views=2", "loss.oversample=10", "loss.contrast_batch=32")
    split, steps = run.context.data.splits["train"], steps_of(run)
    labels = torch.from_numpy(split.labels)
    drawn, seen = [], []
    for step, call in zip(steps, run.calls, strict=True):
        assert step.second is not None
        assert call.z.shape[:2] == (32, 2)
        assert call.inputs["logits"].shape[0] == BATCH
        assert torch.equal(call.labels, labels[step.rows])
        assert torch.equal(call.inputs["logit_labels"], labels[step.second])
        drawn.append((call.labels != call.bias).numpy())
        seen.append(step.second.numpy())
    assert sorted(np.concatenate(seen)) == list(range(N))
    n_conflicting = int((~split.aligned).sum())
    share = 10 * n_conflicting / (10 * n_conflicting + N - n_conflicting)
    n_drawn = 32 * len(steps)
    assert share > 0.5
    assert abs(np.concatenate(drawn).sum() - n_drawn * share) < binomial_bound(n_drawn, share)


@pytest.mark.parametrize("loss", [*BALANCED, "groupdro@eiil"])
def test_a_balanced_method_draws_every_group_equally_often(loss: str, record: Record) -> None:
    entry = get_entry(loss)
    run = record(loss, *(["augment.views=2"] if entry.input_kind == "embeddings" else []))
    groups = dataset_groups(run.context.data)
    if entry.infers_bias:
        assert run.loss_inputs is not None
        assert run.loss_inputs.groups is not None
        groups = run.loss_inputs.groups
    exists = count_cells(groups.labels, groups.bias) > 0
    share = 1 / exists.sum()
    drawn = drawn_cells(run)
    assert exists.sum() > N_CLASSES
    assert not drawn[~exists].any()
    assert abs(drawn[exists] - N * share).max() < binomial_bound(N, share)


@pytest.mark.parametrize("loss", SUBSAMPLED)
def test_subsampling_gives_the_same_number_of_images_of_every_group(
    loss: str, record: Record
) -> None:
    run = record(loss)
    smallest = count_cells(
        run.context.data.splits["train"].labels, run.context.data.splits["train"].bias
    ).min()
    assert smallest == 5
    size = smallest * N_CLASSES**2  # of a subsample
    labels, bias = (
        torch.cat([getattr(call, name) for call in run.calls]).numpy()
        for name in ("labels", "bias")
    )
    for start in range(0, N - size + 1, size):
        part = slice(start, start + size)
        assert (count_cells(labels[part], bias[part]) == smallest).all()
    rows = torch.cat([step.rows for step in steps_of(run)]).numpy()
    assert len(set(rows[:size])) == size  # without replacement
    assert set(rows[:size]) != set(rows[size : 2 * size])  # drawn anew


@pytest.mark.parametrize("loss", NATURAL)
def test_other_methods_see_every_image_once_an_epoch(loss: str, record: Record) -> None:
    is_contrast = LOSSES[loss].input_kind == "embeddings"
    run = record(loss, *(["augment.views=2"] if is_contrast else []))
    labels = torch.cat([call.labels for call in run.calls]).numpy()
    rows = torch.cat([step.rows for step in steps_of(run)]).numpy()
    assert sorted(rows) == list(range(N))
    assert np.array_equal(labels, run.context.data.splits["train"].labels[rows])
