"""Evaluation protocols for a trained encoder: linear probe, kNN, fine-tuning, the method's own classifier.

The protocol (``probe.kind``) is part of the configuration of a run. Every classifier is fitted on the
training split and measured on the validation split. The test split is predicted last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from biascon.errors import UsageError
from biascon.evaluation.features import cached_features
from biascon.evaluation.fine_tuning import finetune, predict_proba
from biascon.evaluation.knn import KNNClassifier
from biascon.evaluation.measurements import measure_accuracies
from biascon.losses.registry import Requirement
from biascon.probing.linear_probe import fit, fit_balanced, fit_weighted
from biascon.runs.context import RunContext
from biascon.runs.records import Accuracies, Classifier
from biascon.training.batches import split_held_out
from biascon.training.network import TrainedNetwork
from biascon.utils.types import Array

PredictProba = Callable[[str], Array]
HALF_BLOCK = 16_384  # rows of float16 features that are converted at a time


@dataclass(frozen=True)
class FittedClassifier:
    """A classifier of images that is fitted and can predict a split.

    Attributes:
        kind: The kind of the classifier.
        description: The classifier and its settings, for the protocol of the evaluation.
        predict_proba: Maps the name of a split to probabilities ``(N, K)``.
        fit_info: How the fit ended, None if the classifier was trained with the encoder.
        validation: The accuracies on the validation split, None without such a split or if the classifier
            was fitted on it.
    """

    kind: Classifier
    description: str
    predict_proba: PredictProba
    fit_info: Mapping[str, Any] | None
    validation: Accuracies | None


@dataclass(frozen=True)
class EncoderEvaluation:
    """A trained network with the run that evaluates it.

    Attributes:
        context: The run, its folder locked.
        network: The trained network.
    """

    context: RunContext
    network: TrainedNetwork

    def features(self, part: str) -> Array:
        """Return the features of a split ``(N, D)``, as ``cached_features`` gives them."""
        return cached_features(self.context, part, self.network.encoder)


def fit_classifiers(evaluation: EncoderEvaluation) -> list[FittedClassifier]:
    """Return the fitted classifiers; the first one gives the headline numbers.

    The classifiers are that of the protocol and, where the method has one, the method's own classifier.
    Under the protocol ``linear`` a method that changes the classifier is evaluated with its own. Under the
    other protocols every method is evaluated with the classifier of the protocol.
    """
    context = evaluation.context
    kind = context.config.probe.kind
    # Sums over threads differ in their last bits.
    with threadpool_limits(context.config.train.threads):
        of_protocol = _FIT_BY_PROTOCOL[kind](evaluation)
        own = _own_classifier(evaluation)
    if own is None:
        return [of_protocol]
    own_is_first = kind == "linear" and context.entry.evaluated_by == "classifier"
    return [own, of_protocol] if own_is_first else [of_protocol, own]


def _fit_linear_probe(evaluation: EncoderEvaluation) -> FittedClassifier:
    config, data = evaluation.context.config.probe, evaluation.context.data
    probe = fit(
        evaluation.features("train"),
        data.splits["train"].labels,
        data.n_labels,
        config,
        device=evaluation.context.device,
    )
    return _measured_classifier(
        evaluation,
        Classifier.LINEAR_PROBE,
        f"linear probe on frozen features ({_solver_settings(evaluation)})",
        lambda part: probe.probabilities(evaluation.features(part)),
        {"iterations": probe.iterations, "converged": probe.converged},
    )


def _fit_knn(evaluation: EncoderEvaluation) -> FittedClassifier:
    context = evaluation.context
    config, data = context.config.probe, context.data
    labels = data.splits["train"].labels
    knn = KNNClassifier(
        evaluation.features("train"),
        labels,
        data.n_labels,
        config.k,
        config.temperature,
        context.device,
    )
    k = min(config.k, len(labels))
    return _measured_classifier(
        evaluation,
        Classifier.KNN,
        f"weighted {k}-nearest-neighbor vote on frozen features (temperature {config.temperature:g})",
        lambda part: knn.probabilities(evaluation.features(part)),
        {"k": k},
    )


def _finetune(evaluation: EncoderEvaluation) -> FittedClassifier:
    context = evaluation.context
    config, data, device = context.config.finetune, context.data, context.device
    model = finetune(context)
    return _measured_classifier(
        evaluation,
        Classifier.FINE_TUNED,
        f"encoder and a linear layer fine-tuned on the training split ({config.epochs} epochs, "
        f"batch {config.batch_size}, {config.name}, learning rate {config.lr:g})",
        lambda part: predict_proba(model, data.splits[part].images, device=device),
        {"epochs": config.epochs},
    )


_FIT_BY_PROTOCOL: Mapping[str, Callable[[EncoderEvaluation], FittedClassifier]] = {
    "linear": _fit_linear_probe,
    "knn": _fit_knn,
    "finetune": _finetune,
}


def _own_classifier(evaluation: EncoderEvaluation) -> FittedClassifier | None:
    """Return the classifier of the method itself, None where the method or the dataset has none."""
    context, classifier = evaluation.context, evaluation.network.classifier
    if context.config.origin is not None:  # the encoder was trained on another dataset
        return None
    if Requirement.HELD_OUT_BIAS in context.entry.requires:
        return _fit_last_layer(evaluation)
    if Requirement.HELD_OUT_TRAINING in context.entry.requires:
        return _fit_reweighted_layer(evaluation)
    if classifier is None or context.entry.predicts != "labels":
        return None
    predict = _softmax_of(classifier)
    return _measured_classifier(
        evaluation,
        Classifier.OWN,
        "the classifier that the method trains",
        lambda part: predict(evaluation.features(part)),
        None,
    )


def _fit_last_layer(evaluation: EncoderEvaluation) -> FittedClassifier:
    """Return a last layer that is fitted on the validation split, and so is not measured on it."""
    config, data = evaluation.context.config, evaluation.context.data
    val = data.splits["val"]
    layer = fit_balanced(
        evaluation.features("val"),
        val.labels,
        val.bias,
        data.n_labels,
        config.probe,
        seed=config.seed,
        device=evaluation.context.device,
    )
    settings = _solver_settings(evaluation)
    return FittedClassifier(
        Classifier.OWN,
        f"last layer fitted on group-balanced draws of the validation split ({settings})",
        lambda part: layer.probabilities(evaluation.features(part)),
        {"iterations": layer.iterations, "converged": layer.converged},
        None,
    )


def _fit_reweighted_layer(evaluation: EncoderEvaluation) -> FittedClassifier:
    """Return the last layer of AFR, fitted on the training images that the encoder has not seen."""
    context, classifier = evaluation.context, evaluation.network.classifier
    config, data = context.config, context.data
    first_stage = context.entry.first_stage
    if classifier is None or first_stage is None:
        raise UsageError(f"loss '{config.loss}' needs a first-stage network with a classifier")
    split = data.splits["train"]
    _, rows = split_held_out(len(split), int(len(split) * first_stage.held_out), config.seed)
    features, labels = evaluation.features("train")[rows], split.labels[rows]
    probabilities = _softmax_of(classifier)(features)
    p_label = probabilities[np.arange(len(rows)), labels].astype(np.float64)
    sizes = np.bincount(labels, minlength=data.n_labels)
    gamma = config.parameters["gamma"]
    weights = np.exp(-gamma * p_label) / sizes[labels]
    layer = fit_weighted(
        features, labels, weights, data.n_labels, config.probe, device=context.device
    )
    settings = _solver_settings(evaluation)
    return _measured_classifier(
        evaluation,
        Classifier.OWN,
        f"last layer fitted on {len(rows):,} training images that the encoder has not seen, with weights "
        f"exp(-{gamma:g} p) / n of the label ({settings})",
        lambda part: layer.probabilities(evaluation.features(part)),
        {"iterations": layer.iterations, "converged": layer.converged},
    )


def _measured_classifier(
    evaluation: EncoderEvaluation,
    kind: Classifier,
    description: str,
    predict_proba: PredictProba,
    fit_info: Mapping[str, Any] | None,
) -> FittedClassifier:
    """Return a classifier with its accuracies on the validation split, where there is such a split."""
    data, validation = evaluation.context.data, None
    if "val" in data.splits:
        predictions = predict_proba("val").argmax(axis=1)
        validation = measure_accuracies(data.splits["val"], predictions, data, keep_counts=True)
    return FittedClassifier(kind, description, predict_proba, fit_info, validation)


def _solver_settings(evaluation: EncoderEvaluation) -> str:
    config = evaluation.context.config.probe
    return f"C = {config.c:g}, tolerance {config.tolerance:g}"


def _softmax_of(classifier: nn.Module) -> Callable[[Array], Array]:
    """Return the function that maps features to the probabilities of a linear classifier, on the CPU."""
    classifier = classifier.cpu()

    def predict(features: Array) -> Array:
        size = len(features) if features.dtype == np.float32 else HALF_BLOCK
        with torch.inference_mode():
            blocks = [
                classifier(torch.from_numpy(features[start : start + size]).float()).softmax(dim=1)
                for start in range(0, len(features), size)
            ]
        probabilities: Array = torch.cat(blocks).numpy()
        return probabilities

    return predict
