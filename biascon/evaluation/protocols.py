"""Who judges a trained encoder: a linear probe, nearest neighbors, fine-tuning, the method's own classifier.

The protocol (``probe.kind``) is part of a run's configuration, and what judged stands in its evaluation. All
are fitted on the training split and measured on validation; what they tell of the test split is asked last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import nn

from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.evaluation.features import cached_features
from biascon.evaluation.fine_tuning import finetune, probabilities
from biascon.evaluation.knn import KNNClassifier
from biascon.evaluation.linear_probe import fit, fit_balanced
from biascon.evaluation.measurements import measure_accuracies
from biascon.losses.loss import get_entry
from biascon.training.stages import EpochCallback, TrainedNetwork
from biascon.utils.types import Array

PredictProba = Callable[[str], Array]
OWN = "own classifier"


@dataclass(frozen=True)
class FittedClassifier:
    """What judges an encoder.

    Attributes:
        name: ``"linear probe"``, ``"kNN"``, ``"fine-tuning"`` or ``"own classifier"``.
        text: What it is, for the protocol.
        scores: The name of a split to probabilities ``(N, K)``.
        about: How its fitting ended, None if it was trained with the encoder.
        validation: Accuracies on the validation split, None where there is none or it was fitted there.
    """

    name: str
    description: str
    predict_proba: PredictProba
    fit_info: dict[str, Any] | None
    validation: dict[str, Any] | None


@dataclass(frozen=True)
class Bench:
    """What the judges of a run share.

    Attributes:
        config: The run.
        network: Its trained network.
        data: The dataset that it is judged on.
        folder: Its folder, locked.
        device: Where to compute.
    """

    config: RunConfig
    network: TrainedNetwork
    data: BiasedDataset
    folder: Path
    device: torch.device

    def features(self, part: str) -> Array:
        """Return float32 ``(N, D)``: the frozen features of a split."""
        split = self.data.splits[part]
        return cached_features(self.folder, part, split, self.network.encoder, device=self.device)


def fit_classifiers(bench: Bench, say: EpochCallback) -> list[FittedClassifier]:
    """Return the judge of the protocol and, where the method has one, its own classifier; first who counts.

    Under ``linear`` a method that is judged by its own classifier is; the other protocols are asked for, and
    count for every method.
    """
    known, kind = get_entry(bench.config.loss), bench.config.probe.kind
    with threadpool_limits(
        bench.config.train.threads
    ):  # sums over threads differ in their last bits
        found = [_KINDS[kind](bench, say)]
        own = _own_classifier(bench)
    if own is not None:
        found.append(own)
    return found[::-1] if kind == "linear" and known.evaluated_by == "classifier" else found


def _linear(bench: Bench, say: EpochCallback) -> FittedClassifier:
    config, data = bench.config.probe, bench.data
    probe = fit(bench.features("train"), data.splits["train"].labels, data.n_labels, config)
    text = f"linear probe on frozen features ({_solver(bench)})"
    about = {"iterations": probe.iterations, "converged": probe.converged}
    return _measured_classifier(
        bench, "linear probe", text, lambda part: probe.probabilities(bench.features(part)), about
    )


def _knn(bench: Bench, say: EpochCallback) -> FittedClassifier:
    config, data = bench.config.probe, bench.data
    labels = data.splits["train"].labels
    voters = KNNClassifier(
        bench.features("train"), labels, data.n_labels, config.k, config.temperature, bench.device
    )
    k = min(config.k, len(labels))
    text = f"weighted {k}-nearest-neighbor vote on frozen features (temperature {config.temperature:g})"
    return _measured_classifier(
        bench, "kNN", text, lambda part: voters.probabilities(bench.features(part)), {"k": k}
    )


def _finetune(bench: Bench, say: EpochCallback) -> FittedClassifier:
    config, data, device = bench.config.finetune, bench.data, bench.device
    model = finetune(
        bench.config,
        data,
        bench.folder,
        device=device,
        on_epoch=lambda line: say({**line, "first": "fine-tuning"}),
    )
    text = (
        f"encoder and a linear layer fine-tuned on the training split ({config.epochs} epochs, "
        f"batch {config.batch_size}, {config.name}, learning rate {config.lr:g})"
    )

    def scores(part: str) -> Array:
        return probabilities(model, data.splits[part].images, device=device)

    return _measured_classifier(bench, "fine-tuning", text, scores, {"epochs": config.epochs})


_KINDS = {"linear": _linear, "knn": _knn, "finetune": _finetune}


def _own_classifier(bench: Bench) -> FittedClassifier | None:
    """Return the method's own classifier as a judge, None where it has none, or none of this dataset."""
    known, data, config = get_entry(bench.config.loss), bench.data, bench.config
    if config.origin is not None:
        return None
    if "held-out groups" in known.needs:  # a dataset without validation was refused before training
        val = data.splits["val"]
        last = fit_balanced(
            bench.features("val"),
            val.labels,
            val.bias,
            data.n_labels,
            config.probe,
            seed=config.seed,
        )
        text = (
            f"last layer fitted on group-balanced draws of the validation split ({_solver(bench)})"
        )
        about = {"iterations": last.iterations, "converged": last.converged}
        return FittedClassifier(
            OWN, text, lambda part: last.probabilities(bench.features(part)), about, None
        )  # it was fitted on validation
    if bench.network.classifier is None or known.predicts != "labels":
        return None
    soft = _softmax(bench.network.classifier)
    text = "the classifier that the method trains"
    return _measured_classifier(bench, OWN, text, lambda part: soft(bench.features(part)), None)


def _measured_classifier(
    bench: Bench, name: str, text: str, scores: PredictProba, about: dict[str, Any] | None
) -> FittedClassifier:
    """Return a judge, measured on validation where there is such a split."""
    found = None
    if "val" in bench.data.splits:
        told = scores("val").argmax(axis=1)
        found = measure_accuracies(bench.data.splits["val"], told, bench.data)
    return FittedClassifier(name, text, scores, about, found)


def _solver(bench: Bench) -> str:
    return f"C = {bench.config.probe.c:g}, tolerance {bench.config.probe.tolerance:g}"


def _softmax(classifier: nn.Module) -> Callable[[Array], Array]:
    """Return what maps features to the probabilities of a linear classifier, on the CPU."""
    classifier = classifier.cpu()

    def scores(features: Array) -> Array:
        with torch.inference_mode():
            told: Array = classifier(torch.from_numpy(features)).softmax(dim=1).numpy()
        return told

    return scores
