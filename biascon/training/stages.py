"""From a configuration to its trained network, computed once: read from the run folder, or trained.

A method that builds on another network (``LossEntry.first``) gets it here: that network is a run of its own
in its own folder, found or trained first, and shared by every method that needs the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from biascon.config.first_stage import first_stage_config
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import UsageError
from biascon.evaluation.monitor import online_probe
from biascon.losses.loss import get_entry
from biascon.models.encoders import Encoder, build_encoder
from biascon.models.features import extract_features
from biascon.runs import checkpoint
from biascon.runs.context import Place, training_dataset
from biascon.runs.folder import (
    CLASSIFIER,
    ENCODER,
    FEATURES,
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

EpochCallback = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained encoder, and the classifier that was trained with it, if any."""

    encoder: Encoder
    classifier: nn.Module | None


def get_or_train(
    config: RunConfig, data: BiasedDataset, place_: Place, on_epoch: EpochCallback
) -> TrainedNetwork:
    """Return the trained network of a run whose folder is locked: read it, or train what is missing.

    A run that is not judged by the linear probe takes its encoder from the one that is, which is trained once
    for all of them.

    Raises:
        RunError: A file is damaged, or training diverged.
    """
    base, before, folder = training_dataset(config, data), config, place_.folder(config, data)
    if config.probe.kind != "linear":
        before = config.training_config()
    if base is not data or before is not config:
        if before is not config and (folder / ENCODER).is_file():
            return _load_or_train(config, data, place_, None, on_epoch)
        if not (folder / ENCODER).is_file():
            network, there = _get_or_train_other(before, base, place_, on_epoch)
            if is_main_process():
                _copy_network(network, there, folder, config, place_)
            return network
    first, builds_on = get_entry(config.loss).first_stage, first_stage_config(config)
    if first is None or builds_on is None:
        return _load_or_train(config, data, place_, None, on_epoch)
    if first.gives != "encoder" and (folder / ENCODER).is_file():
        return _load_or_train(config, data, place_, None, on_epoch)
    check_run(builds_on, data)
    earlier, there = _get_or_train_other(
        builds_on, data, place_, lambda line: on_epoch({**line, "first": f"first {builds_on.loss}"})
    )
    if first.gives == "encoder":
        if is_main_process():
            _copy_network(earlier, there, folder, config, place_)
        return earlier
    given = _first_stage_inputs(first.gives, earlier, there, config, data, place_.device)
    return _load_or_train(config, data, place_, given, on_epoch)


def _get_or_train_other(
    config: RunConfig, data: BiasedDataset, place_: Place, on_epoch: EpochCallback
) -> tuple[TrainedNetwork, Path]:
    """Return the network of another run, found or trained in its own folder, and that folder."""
    there = place_.folder(config, data)
    with lock_folder(there, wait=True) if is_main_process() else nullcontext():
        if is_main_process() and not place_.resume:
            delete_partial(there)
        return get_or_train(config, data, place_, on_epoch), there


def _copy_network(
    network: TrainedNetwork, there: Path, folder: Path, config: RunConfig, place_: Place
) -> None:
    """Write another run's network as that of this run, with its features where they are kept."""
    write_config(folder, config, str(place_.device))
    _copy_metrics(there, folder)
    for (
        name
    ) in FEATURES:  # the same file twice takes no space; where that cannot be, they are computed
        with suppress(OSError):
            (folder / name).hardlink_to(there / name)
    _save(folder, network)


def _first_stage_inputs(
    what: str,
    earlier: TrainedNetwork,
    there: Path,
    config: RunConfig,
    data: BiasedDataset,
    device: torch.device,
) -> LossInputs:
    """Return what the earlier network tells of the training images."""
    if what == "losses":
        return LossInputs(per_step={"bias_losses": _read(there / STEP_LOSSES, device)["losses"]})
    split = data.splits["train"]
    features = torch.from_numpy(extract_features(earlier.encoder, split.images, device=device)).to(
        device
    )
    if what == "features":
        return LossInputs(per_image={"bias_features": features})
    if earlier.classifier is None:  # of a plug-in: what is here trains one
        raise UsageError(f"loss '{config.loss}' asks for errors of a network without a classifier")
    if "up" not in config.parameters:
        raise UsageError(f"loss '{config.loss}' asks for errors, but has no parameter 'up'")
    with torch.inference_mode():
        told = earlier.classifier(features).argmax(dim=1).cpu().numpy()
    weights = np.where(told != split.labels, config.parameters["up"], 1.0)
    return LossInputs(
        per_image={"weights": torch.from_numpy(weights / weights.mean()).float().to(device)}
    )


def _load_or_train(
    config: RunConfig,
    data: BiasedDataset,
    place_: Place,
    given: LossInputs | None,
    on_epoch: EpochCallback,
) -> TrainedNetwork:
    """Read the trained network from its folder, or train it."""
    folder, device = place_.folder(config, data), place_.device
    if (folder / ENCODER).is_file():
        return load_network(config, data, folder, device)
    if is_main_process():
        write_config(folder, config, str(device))
    follow = online_probe(config, data, device)
    model = train(
        config, data, folder, device=device, given=given, on_epoch=on_epoch, monitor=follow
    )
    network = TrainedNetwork(model.encoder, model.classifier)
    if is_main_process():
        _save(folder, network)
    return network


def load_network(
    config: RunConfig, data: BiasedDataset, folder: Path, device: torch.device
) -> TrainedNetwork:
    """Return the trained network that a run's folder holds.

    Raises:
        RunError: A file is damaged.
    """
    generator = torch_generator(config.seed, "weights/encoder")
    encoder = load_weights(build_encoder(config.model.encoder, generator), folder / ENCODER)
    classifier = None
    if trains_classifier(config.loss):
        classifier = build_classifier(config, encoder, data)
        load_weights(classifier, folder / CLASSIFIER).to(device)
    return TrainedNetwork(to_channels_last(encoder, device), classifier)


def _save(folder: Path, network: TrainedNetwork) -> None:
    files: dict[Path, bytes | str] = {folder / ENCODER: _bytes(network.encoder)}
    if network.classifier is not None:
        files = {folder / CLASSIFIER: _bytes(network.classifier), **files}
    write_together(files)


def _copy_metrics(there: Path, folder: Path) -> None:
    """A run that takes another's encoder as it is has that one's training history."""
    write_together({folder / "metrics.jsonl": (there / "metrics.jsonl").read_bytes()})


def _bytes(module: nn.Module) -> bytes:
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    return to_bytes(state)


def _read(path: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        return {k: v.to(device) for k, v in load_file(path).items()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise checkpoint.damaged_file_error(path) from error
