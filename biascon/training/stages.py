"""Get the trained network of a run: read it from a run folder, or train what is missing.

A method that builds on a first-stage network (``LossEntry.first_stage``) gets that network here. The
first-stage network is a run of its own in a folder of its own. Every method that needs the same first-stage
network shares it.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from biascon.config.first_stage import first_stage_config
from biascon.errors import UsageError
from biascon.losses.registry import FirstStage
from biascon.models.encoders import Encoder, build_encoder
from biascon.models.features import extract_features
from biascon.runs import checkpoint
from biascon.runs.context import RunContext
from biascon.runs.folder import (
    CLASSIFIER,
    ENCODER,
    FEATURES,
    METRICS_LOG,
    STEP_LOSSES,
    delete_partial,
    lock_folder,
    write_config,
)
from biascon.training.checks import check_run
from biascon.training.loop import train
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import (
    build_classifier,
    load_weights,
    to_channels_last,
    trains_classifier,
)
from biascon.utils.distributed import is_main_process
from biascon.utils.files import write_together
from biascon.utils.seeds import torch_generator


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained encoder, and the classifier that was trained with it, if any."""

    encoder: Encoder
    classifier: nn.Module | None


def get_or_train(context: RunContext) -> TrainedNetwork:
    """Return the trained network of a run whose folder is locked: read it, or train what is missing.

    Two kinds of run take their network from another run, which is trained once for all of them: a run with
    another evaluation protocol than the linear probe, and a run on another view of the dataset.

    Raises:
        RunError: A file is damaged, or training diverged.
    """
    config = context.config
    uses_linear_probe = config.probe.kind == "linear"
    has_encoder = (context.folder / ENCODER).is_file()
    if has_encoder and not uses_linear_probe:
        return _load_or_train(context, None)
    trained_elsewhere = not uses_linear_probe or context.training_data is not context.data
    if trained_elsewhere and not has_encoder:
        training_config = config if uses_linear_probe else config.training_config()
        source = context.for_run(training_config, context.training_data)
        return _copy_network(_get_or_train_other(source), source, context)
    first_stage = context.entry.first_stage
    first_config = first_stage_config(config)
    if first_stage is None or first_config is None:
        return _load_or_train(context, None)
    if has_encoder and first_stage.gives != "encoder":
        return _load_or_train(context, None)
    check_run(first_config, context.data)
    first_context = context.for_run(first_config, stage=f"first {first_config.loss}")
    first_network = _get_or_train_other(first_context)
    if first_stage.gives == "encoder":
        return _copy_network(first_network, first_context, context)
    return _load_or_train(
        context, _first_stage_inputs(first_stage, first_network, first_context, context)
    )


def _get_or_train_other(context: RunContext) -> TrainedNetwork:
    """Return the network of another run, read from its folder or trained there."""
    with lock_folder(context.folder, wait=True) if is_main_process() else nullcontext():
        if is_main_process() and not context.resume:
            delete_partial(context.folder)
        return get_or_train(context)


def _copy_network(
    network: TrainedNetwork, source: RunContext, context: RunContext
) -> TrainedNetwork:
    """Write the network of another run into the folder of this run, and return it.

    The training log is copied, for the encoder has that history. The features are linked where the file
    system can link files; elsewhere they are computed again.
    """
    if is_main_process():
        folder = context.folder
        write_config(folder, context.config, str(context.device))
        write_together({folder / METRICS_LOG: (source.folder / METRICS_LOG).read_bytes()})
        for name in FEATURES:
            with suppress(OSError):
                (folder / name).hardlink_to(source.folder / name)
        _save(folder, network)
    return network


def _first_stage_inputs(
    first_stage: FirstStage,
    network: TrainedNetwork,
    first_context: RunContext,
    context: RunContext,
) -> LossInputs:
    """Return the outputs of the first-stage network for the training images.

    Raises:
        UsageError: The loss of a plug-in asks for something that its first-stage network does not give.
    """
    config, device = context.config, context.device
    if first_stage.gives == "losses":
        losses = _read(first_context.folder / STEP_LOSSES, device)["losses"]
        return LossInputs(per_step={"bias_losses": losses})
    split = context.data.splits["train"]
    features = torch.from_numpy(extract_features(network.encoder, split.images, device=device))
    features = features.to(device)
    if first_stage.gives == "features":
        return LossInputs(per_image={"bias_features": features})
    if network.classifier is None:
        raise UsageError(
            f"loss '{config.loss}' asks for the errors of its first-stage network, but the loss "
            f"'{first_stage.loss}' of that network trains no classifier"
        )
    if "up" not in config.parameters:
        raise UsageError(
            f"loss '{config.loss}' asks for the errors of its first-stage network, but has no "
            "parameter 'up' (the weight of a misclassified image)"
        )
    with torch.inference_mode():
        predictions = network.classifier(features).argmax(dim=1).cpu().numpy()
    weights = np.where(predictions != split.labels, config.parameters["up"], 1.0)
    weights = weights / weights.mean()
    return LossInputs(per_image={"weights": torch.from_numpy(weights).float().to(device)})


def _load_or_train(context: RunContext, loss_inputs: LossInputs | None) -> TrainedNetwork:
    """Read the trained network from the folder of its run, or train it."""
    if (context.folder / ENCODER).is_file():
        return load_network(context)
    if is_main_process():
        write_config(context.folder, context.config, str(context.device))
    model = train(context, loss_inputs=loss_inputs)
    network = TrainedNetwork(model.encoder, model.classifier)
    if is_main_process():
        _save(context.folder, network)
    return network


def load_network(context: RunContext) -> TrainedNetwork:
    """Return the trained network that the folder of a run holds.

    Raises:
        RunError: A file is damaged.
    """
    config, folder, device = context.config, context.folder, context.device
    generator = torch_generator(config.seed, "weights/encoder")
    encoder = load_weights(build_encoder(config.model.encoder, generator), folder / ENCODER)
    classifier = None
    if trains_classifier(context.entry):
        classifier = build_classifier(config, context.entry, encoder, context.data)
        load_weights(classifier, folder / CLASSIFIER).to(device)
    return TrainedNetwork(to_channels_last(encoder, device), classifier)


def _save(folder: Path, network: TrainedNetwork) -> None:
    files: dict[Path, bytes | str] = {folder / ENCODER: _to_bytes(network.encoder)}
    if network.classifier is not None:
        files = {folder / CLASSIFIER: _to_bytes(network.classifier), **files}
    write_together(files)


def _to_bytes(module: nn.Module) -> bytes:
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    return to_bytes(state)


def _read(path: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        return {k: v.to(device) for k, v in load_file(path).items()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise checkpoint.damaged_file_error(path) from error
