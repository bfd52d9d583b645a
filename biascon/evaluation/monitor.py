"""What is told of the validation split after an epoch: top-1, top-5, and the accuracies by cells."""

from __future__ import annotations

from typing import Any

import torch

from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import UsageError
from biascon.evaluation.linear_probe import fit
from biascon.evaluation.measurements import TOP, measure_accuracies, top_k
from biascon.models.encoders import Encoder
from biascon.models.features import extract_features
from biascon.training.loop import Monitor
from biascon.utils.types import Array

KEPT = ("n", "top1", "unbiased", "bias_aligned", "bias_conflicting")


def validation_accuracies(data: BiasedDataset, scores: Array) -> dict[str, Any]:
    """Return the accuracies of scores ``(N, K)`` on the validation split, top-5 where K is more than 5."""
    val = data.splits["val"]
    found = measure_accuracies(val, scores.argmax(axis=1), data)
    told: dict[str, Any] = {key: found[key] for key in KEPT}
    if data.n_labels > TOP:
        told["top5"] = float(top_k(val.labels, scores, TOP).mean())
    return told


def online_probe(config: RunConfig, data: BiasedDataset, device: torch.device) -> Monitor | None:
    """Return what measures an encoder while it trains: a probe of the training split, on validation."""
    if config.train.probe_every == 0:
        return None
    if "val" not in data.splits:
        raise UsageError(
            "train.probe_every measures on validation, but the dataset has no such split"
        )
    train_, val = data.splits["train"], data.splits["val"]

    def follow(encoder: Encoder) -> dict[str, Any]:
        features = extract_features(encoder, train_.images, device=device)
        probe = fit(features, train_.labels, data.n_labels, config.probe)
        scores = probe.probabilities(extract_features(encoder, val.images, device=device))
        return {"probe": validation_accuracies(data, scores)}

    return follow
