"""What a method takes from its first-stage networks, as inputs of its training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from biascon.errors import BiasconWarning, UsageError
from biascon.losses.registry import FirstStage, Requirement
from biascon.models.features import extract_features
from biascon.runs import checkpoint
from biascon.runs.context import RunContext
from biascon.runs.folder import SELECTED, STEP_LOSSES, read_artifact, write_artifacts
from biascon.runs.records import SelectedImages
from biascon.training.batches import TrainingGroups
from biascon.training.inferred_groups import infer_environments
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import TrainedNetwork, count_groups
from biascon.utils.distributed import is_main_process
from biascon.utils.files import pretty_json
from biascon.utils.seeds import torch_generator
from biascon.utils.types import Array

ONE_GROUP = "all images are in one group: the method has nothing to work with in this run"


@dataclass(frozen=True)
class FirstStageNetwork:
    """A first-stage network and its run."""

    context: RunContext
    network: TrainedNetwork


def first_stage_inputs(
    context: RunContext, first_stage: FirstStage, stages: Sequence[FirstStageNetwork]
) -> LossInputs:
    """Return what a method takes from its first-stage networks. The main process writes ``first_stage.json``.

    Args:
        context: The run of the method.
        first_stage: The first stage of its registry entry.
        stages: The first-stage networks: one, or one for each bias attribute.

    Raises:
        UsageError: The loss of a plug-in asks for something that its first-stage network does not give.
    """
    stage, device = stages[0], context.device
    if first_stage.gives == "losses":
        losses = _read(stage.context.folder / STEP_LOSSES, device)["losses"]
        return LossInputs(per_step={"bias_losses": losses})
    if first_stage.gives == "features":
        return _bias_features(context, stages)
    logits = _logits(context, stage)
    split = context.data.splits["train"]
    labels = torch.from_numpy(split.labels)
    predictions = logits.argmax(dim=1)
    if first_stage.gives == "errors":
        errors = (predictions != labels).numpy()
        _record(context, "images that the first-stage network misclassifies", errors)
        return LossInputs(per_image={"weights": _error_weights(context, errors)})
    if first_stage.gives == "predictions":
        differs = (predictions != labels).numpy()
        _record(context, "images with another predicted label", differs)
        _warn_if_none(context, differs, ONE_GROUP)
        groups = predictions.numpy()
    else:
        generator = torch_generator(context.config.seed, "environments")
        groups = infer_environments(logits, labels, generator=generator).numpy()
        _record(context, "images of the smaller inferred group", groups == 1)
        _warn_if_none(context, groups == 1, ONE_GROUP)
    n_groups = count_groups(context.entry, context.data)
    return LossInputs(groups=TrainingGroups(split.labels, groups, context.data.n_labels, n_groups))


def _bias_features(context: RunContext, stages: Sequence[FirstStageNetwork]) -> LossInputs:
    """Return the features of the first-stage networks: an input of the loss, or of the classifier."""
    images, device = context.data.splits["train"].images, context.device
    features = [
        torch.from_numpy(extract_features(stage.network.encoder, images, device=device))
        for stage in stages
    ]
    if Requirement.ADDED_BIAS_FEATURES in context.entry.requires:
        total = torch.stack(features).sum(dim=0) * context.config.parameters["m"]
        return LossInputs(added_features=total.to(device))
    return LossInputs(per_image={"bias_features": features[0].to(device)})


def _logits(context: RunContext, stage: FirstStageNetwork) -> Tensor:
    """Return float32 ``(N, K)`` on the CPU: the logits of a first-stage network for the training images."""
    classifier, device = stage.network.classifier, context.device
    if classifier is None:
        raise UsageError(
            f"loss '{context.config.loss}' asks for the predictions of its first-stage network, but the "
            f"loss '{stage.context.config.loss}' of that network trains no classifier"
        )
    images = context.data.splits["train"].images
    features = torch.from_numpy(extract_features(stage.network.encoder, images, device=device))
    with torch.inference_mode():
        logits: Tensor = classifier(features.to(device)).float().cpu()
    return logits.clone()


def _error_weights(context: RunContext, errors: Array) -> Tensor:
    """Return float32 ``(N,)``: weights of mean 1, ``up`` times as large for misclassified images."""
    _warn_if_none(
        context,
        errors,
        "the error set is empty and every image has the same weight: this run is plain ce",
    )
    weights = np.where(errors, context.config.parameters["up"], 1.0)
    return torch.from_numpy(weights / weights.mean()).float().to(context.device)


def _warn_if_none(context: RunContext, selected: Array, consequence: str) -> None:
    """Warn if the first-stage network singles out no image."""
    if not selected.any():
        warnings.warn(
            f"{context.config.loss}: the first-stage network classifies every training image correctly, so "
            f"that {consequence}",
            BiasconWarning,
            stacklevel=4,
        )


def _record(context: RunContext, kind: str, selected: Array) -> None:
    """Write the record of the selected images into the run folder."""
    split, knows_aligned = context.data.splits["train"], context.data.knows_aligned
    conflicting = ~split.aligned
    record = SelectedImages(
        kind,
        len(split),
        int(selected.sum()),
        int(conflicting.sum()) if knows_aligned else None,
        int((selected & conflicting).sum()) if knows_aligned else None,
    )
    if is_main_process():
        write_artifacts(context.folder, {SELECTED: pretty_json(record.to_json())})


def _read(path: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        return {k: v.to(device) for k, v in load(read_artifact(path.parent, path.name)).items()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise checkpoint.damaged_file_error(path) from error
