"""Short trainings on the colored shapes, and records of what reaches the loss."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from biascon.config.factory import make_config
from biascon.config.method_settings import resolve_parameters
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import BiasconWarning
from biascon.evaluation.protocols import EncoderEvaluation, fit_classifiers
from biascon.losses.loss import Loss, get_loss
from biascon.runs.context import RunContext
from biascon.runs.folder import lock_folder
from biascon.runs.records import Classifier
from biascon.training import loop, stages
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import Model, TrainedNetwork
from biascon.training.stages import get_or_train

CPU = torch.device("cpu")
PLAIN_VIEWS = ("augment.rotation=0", "augment.jitter_p=0", "augment.grayscale_p=0")


def make_context(
    loss: str, data: BiasedDataset, root: Path, *settings: str, seed: int = 0
) -> RunContext:
    """Return a run with the preset ``smoke`` on plain views; ``settings`` change it."""
    all_settings = [*PLAIN_VIEWS, "augment.views=1", "optimizer.lr=5e-3"]
    config: RunConfig = make_config(
        loss, seed=seed, preset="smoke", settings=[*all_settings, *settings]
    )
    manifest = data.manifest
    config = resolve_parameters(config, manifest.builder, manifest.parameters).for_device("cpu")
    torch.set_num_threads(config.train.threads)
    return RunContext(config, data, root, CPU)


def train_run(context: RunContext) -> TrainedNetwork:
    """Train a run, or read its network."""
    with lock_folder(context.folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", BiasconWarning)
        return get_or_train(context)


def unbiased_accuracy(context: RunContext) -> float:
    """Train a run; return the accuracy on the test split, in percent, of the classifier that it trains.

    A run without a classifier is measured by the linear probe. Every (shape, color) cell has as many test
    images as another one, so this is the unbiased accuracy.
    """
    network = train_run(context)
    classifiers = fit_classifiers(EncoderEvaluation(context, network))
    own = [c for c in classifiers if c.kind is Classifier.OWN]
    predictions = (own or classifiers)[0].predict_proba("test").argmax(axis=1)
    return 100 * float(np.mean(predictions == context.data.splits["test"].labels))


@dataclass(frozen=True)
class LossCall:
    """One call of a loss in training.

    Attributes:
        z: What the loss compares.
        labels: Labels of the images.
        bias: Their bias values, or the groups in their place.
        inputs: The tensors by keyword.
        images: The input of the network in this step.
        added_features: What was added to the features before the classifier.
        out: The outputs of the network for these images.
        recomputed_logits: The classifier on the features and the added features.
    """

    z: Tensor
    labels: Tensor
    bias: Tensor
    inputs: dict[str, Tensor]
    images: Tensor
    added_features: Tensor | None
    out: dict[str, Tensor]
    recomputed_logits: Tensor | None


@dataclass(frozen=True)
class RecordedRun:
    """A trained run with the calls of its own loss, not those of its first stage."""

    context: RunContext
    network: TrainedNetwork
    calls: list[LossCall]
    loss_inputs: LossInputs | None


def record_run(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> RecordedRun:
    """Train a run and record what reaches its loss."""
    forwards: list[dict[str, Any]] = []
    calls: list[LossCall] = []
    given: dict[str, LossInputs | None] = {}
    forward, loop_train = Model.forward, loop.train

    def recording_forward(
        model: Model, images: Tensor, added_features: Tensor | None = None
    ) -> dict[str, Tensor]:
        out = forward(model, images, added_features)
        logits = None
        if model.classifier is not None:
            added = 0 if added_features is None else added_features
            logits = model.classifier(out["features"].detach() + added).detach()
        forwards[:] = [
            {
                "images": images.detach().clone(),
                "added_features": added_features,
                "out": {name: value.detach().clone() for name, value in out.items()},
                "recomputed_logits": logits,
            }
        ]
        return out

    class RecordingLoss:
        def __init__(self, loss: Loss) -> None:
            self.loss = loss

        def __getattr__(self, name: str) -> Any:
            return getattr(self.loss, name)

        def __call__(self, z: Tensor, labels: Tensor, bias: Tensor, **inputs: Tensor) -> Tensor:
            if self.loss.name == context.config.loss:
                copies = {name: value.detach().clone() for name, value in inputs.items()}
                calls.append(LossCall(z.detach().clone(), labels, bias, copies, **forwards[0]))
            return self.loss(z, labels, bias, **inputs)

    def recording_train(run: RunContext, *, loss_inputs: LossInputs | None = None) -> Model:
        given[run.config.loss] = loss_inputs
        return loop_train(run, loss_inputs=loss_inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "forward", recording_forward)
        patch.setattr(loop, "get_loss", lambda name, **free: RecordingLoss(get_loss(name, **free)))
        patch.setattr(stages, "train", recording_train)
        network = train_run(context)
    return RecordedRun(context, network, calls, given.get(context.config.loss))
