"""Validation metrics during training: a linear probe of the encoder, fitted after an epoch."""

from __future__ import annotations

from biascon.data.dataset import BiasedDataset
from biascon.errors import UsageError
from biascon.evaluation.measurements import TOP, measure_accuracies, top_k
from biascon.models.encoders import Encoder
from biascon.models.features import extract_features
from biascon.probing.linear_probe import fit
from biascon.runs.context import Monitor, RunContext
from biascon.runs.records import Accuracies
from biascon.utils.types import Array

LOGGED = ("top1", "unbiased", "bias_aligned", "bias_conflicting")


def validation_accuracies(data: BiasedDataset, scores: Array) -> Accuracies:
    """Return the accuracies that are logged after an epoch, with top-5 for more than five classes.

    Args:
        data: The dataset, with the split ``val``.
        scores: float ``(N, K)``, a score for each validation image and class.
    """
    val = data.splits["val"]
    accuracies = measure_accuracies(val, scores.argmax(axis=1), data)
    values = {name: accuracies[name] for name in LOGGED}
    if data.n_labels > TOP:
        values["top5"] = float(top_k(val.labels, scores, TOP).mean())
    return Accuracies(accuracies.n, values)


def build_monitor(context: RunContext) -> Monitor | None:
    """Return the function that measures an encoder while it trains, None where the run is not monitored.

    The function fits a linear probe on the training split and measures it on the validation split.

    Raises:
        UsageError: The dataset has no validation split.
    """
    config, data, device = context.config, context.data, context.device
    if config.train.probe_every == 0:
        return None
    if "val" not in data.splits:
        raise UsageError(
            "train.probe_every measures on the validation split, but the dataset has none; "
            "make the dataset with --val-protocol held-out"
        )
    train, val = data.splits["train"], data.splits["val"]

    def monitor(encoder: Encoder) -> Accuracies:
        features = extract_features(encoder, train.images, device=device)
        probe = fit(features, train.labels, data.n_labels, config.probe, device=device)
        scores = probe.probabilities(extract_features(encoder, val.images, device=device))
        return validation_accuracies(data, scores)

    return monitor
