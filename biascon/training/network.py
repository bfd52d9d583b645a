"""The network of a run: an encoder with what its loss needs on top."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from biascon.config.resolve import resolve_weights
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import DataError, UsageError
from biascon.losses.registry import LossEntry
from biascon.models.encoders import Encoder, build_encoder, build_head
from biascon.models.weights import match_state_dict, read_blob, read_weights
from biascon.runs.checkpoint import damaged_file_error
from biascon.runs.folder import read_artifact
from biascon.utils.seeds import torch_generator

N_ENVIRONMENTS = 2  # EIIL divides the images into two groups
ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Model(nn.Module):
    """An encoder with a projection head, a linear classifier, or both on top.

    The head is the identity for a method that contrasts the features of the encoder.
    """

    def __init__(
        self, encoder: Encoder, head: nn.Module | None, classifier: nn.Module | None
    ) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.head, self.classifier = head, classifier

    def forward(self, images: Tensor, added_features: Tensor | None = None) -> dict[str, Tensor]:
        """Map images to ``features`` (N, F), and ``z`` (N, D) unit vectors, ``logits`` (N, K).

        Args:
            images: ``(N, 3, H, W)``.
            added_features: ``(N, F)``, added to the features before the classifier; None for nothing.
        """
        features = self.encoder(images)
        out = {"features": features}
        if self.head is not None:
            out["z"] = F.normalize(self.head(features).float(), dim=1)
        if self.classifier is not None:
            is_plain = added_features is None
            out["logits"] = self.classifier(features if is_plain else features + added_features)
        return out


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained encoder, and the classifier that was trained with it, if any."""

    encoder: Encoder
    classifier: nn.Module | None


def build_model(config: RunConfig, entry: LossEntry, data: BiasedDataset) -> Model:
    """Return the network of a run before its first step, on the CPU, with the initial weights of its encoder.

    Args:
        config: The configuration of the run.
        entry: The registry entry of its loss.
        data: The dataset, for the number of classes.
    """
    encoder = build_encoder(config.model.encoder, torch_generator(config.seed, "weights/encoder"))
    initialize_encoder(encoder, config)
    head = classifier = None
    if entry.input_kind == "embeddings":
        # Without a projection head, the embeddings are the features of the encoder.
        generator = torch_generator(config.seed, "weights/head")
        widths = config.model.head
        head = build_head(encoder.dim, widths, generator) if widths else nn.Identity()
    if trains_classifier(entry):
        classifier = build_classifier(config, entry, encoder, data)
    return Model(encoder, head, classifier)


def trains_classifier(entry: LossEntry) -> bool:
    """Whether a run with this loss trains a linear classifier."""
    return entry.input_kind == "logits" or "logits" in entry.tensor_inputs


def build_classifier(
    config: RunConfig, entry: LossEntry, encoder: Encoder, data: BiasedDataset
) -> nn.Module:
    """Return the freshly initialized linear classifier of a run, on the CPU."""
    n = data.n_labels if entry.predicts == "labels" else count_groups(entry, data)
    return build_head(encoder.dim, (n,), torch_generator(config.seed, "weights/classifier"))


def count_groups(entry: LossEntry, data: BiasedDataset) -> int:
    """Return M, the number of bias values or of the groups that take their place in training."""
    if entry.first_stage is None or not entry.first_stage.replaces_bias:
        return data.n_bias
    return N_ENVIRONMENTS if entry.first_stage.gives == "environments" else data.n_labels


def to_channels_last(module: ModuleT, device: torch.device) -> ModuleT:
    """Move a network to a device, its kernels channels-last."""
    moved: ModuleT = module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def load_weights(module: ModuleT, path: Path) -> ModuleT:
    """Give a network the weights of a file of a run folder, and return it.

    Raises:
        RunError: The file does not have the bytes that were written, or is of another network.
    """
    try:
        module.load_state_dict(load(read_artifact(path.parent, path.name)))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise damaged_file_error(path) from error
    return module


def initialize_encoder(encoder: Encoder, config: RunConfig) -> None:
    """Give a freshly built encoder the weights that its configuration says; drawn ones stay.

    Raises:
        DataError: The file is not one of weights, does not fit, or has changed.
        UsageError: Only the digest of a file is known.
    """
    if config.model.weights == "none":
        return
    path = resolve_weights(config).model.file
    if path is None:
        raise UsageError(f"model.weights is {config.model.weights}, but its file is not known")
    blob = read_blob(path)
    if hashlib.sha256(blob).hexdigest() != config.model.weights.partition(":")[2]:
        raise DataError(f"{path} has changed since the run was configured; start the command again")
    own = encoder.state_dict()
    encoder.load_state_dict(
        {**own, **match_state_dict(own, read_weights(blob, path), path, config.model.encoder)}
    )
