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

from biascon.config.first_stage import first_config
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import UsageError
from biascon.evaluation.monitor import _follow
from biascon.losses.loss import entry
from biascon.models.encoders import Encoder, build_encoder
from biascon.models.features import extract
from biascon.runs import checkpoint
from biascon.runs.context import Place, trained_on
from biascon.runs.folder import (
    CLASSIFIER,
    ENCODER,
    FEATURES,
    STEP_LOSSES,
    begin,
    exclusive,
    forget,
)
from biascon.training.checks import check
from biascon.training.loop import train
from biascon.training.loss_inputs import Given
from biascon.training.network import build_classifier, classifies, load_weights, place
from biascon.utils.distributed import leads
from biascon.utils.files import write_together
from biascon.utils.seeds import torch_generator

Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Network:
    """A trained encoder, and the classifier that was trained with it, if any."""

    encoder: Encoder
    classifier: nn.Module | None


def obtain(config: RunConfig, data: BiasedDataset, place_: Place, say: Say) -> Network:
    """Return the trained network of a run whose folder is locked: read it, or train what is missing.

    A run that is not judged by the linear probe takes its encoder from the one that is, which is trained once
    for all of them.

    Raises:
        RunError: A file is damaged, or training diverged.
    """
    base, before, folder = trained_on(config, data), config, place_.folder(config, data)
    if config.probe.kind != "linear":
        before = config.trained()
    if base is not data or before is not config:
        if before is not config and (folder / ENCODER).is_file():
            return _own(config, data, place_, None, say)
        if not (folder / ENCODER).is_file():
            network, there = _elsewhere(before, base, place_, say)
            if leads():
                _take_over(network, there, folder, config, place_)
            return network
    first, builds_on = entry(config.loss).first, first_config(config)
    if first is None or builds_on is None:
        return _own(config, data, place_, None, say)
    if first.gives != "encoder" and (folder / ENCODER).is_file():
        return _own(config, data, place_, None, say)
    check(builds_on, data)
    earlier, there = _elsewhere(
        builds_on, data, place_, lambda line: say({**line, "first": f"first {builds_on.loss}"})
    )
    if first.gives == "encoder":
        if leads():
            _take_over(earlier, there, folder, config, place_)
        return earlier
    given = _take(first.gives, earlier, there, config, data, place_.device)
    return _own(config, data, place_, given, say)


def _elsewhere(
    config: RunConfig, data: BiasedDataset, place_: Place, say: Say
) -> tuple[Network, Path]:
    """Return the network of another run, found or trained in its own folder, and that folder."""
    there = place_.folder(config, data)
    with exclusive(there, wait=True) if leads() else nullcontext():
        if leads() and not place_.resume:
            forget(there)
        return obtain(config, data, place_, say), there


def _take_over(
    network: Network, there: Path, folder: Path, config: RunConfig, place_: Place
) -> None:
    """Write another run's network as that of this run, with its features where they are kept."""
    begin(folder, config, str(place_.device))
    _copy_metrics(there, folder)
    for (
        name
    ) in FEATURES:  # the same file twice takes no space; where that cannot be, they are computed
        with suppress(OSError):
            (folder / name).hardlink_to(there / name)
    _save(folder, network)


def _take(
    what: str,
    earlier: Network,
    there: Path,
    config: RunConfig,
    data: BiasedDataset,
    device: torch.device,
) -> Given:
    """Return what the earlier network tells of the training images."""
    if what == "losses":
        return Given(steps={"bias_losses": _read(there / STEP_LOSSES, device)["losses"]})
    split = data.splits["train"]
    features = torch.from_numpy(extract(earlier.encoder, split.images, device=device)).to(device)
    if what == "features":
        return Given(images={"bias_features": features})
    if earlier.classifier is None:  # of a plug-in: what is here trains one
        raise UsageError(f"loss '{config.loss}' asks for errors of a network without a classifier")
    if "up" not in config.parameters:
        raise UsageError(f"loss '{config.loss}' asks for errors, but has no parameter 'up'")
    with torch.inference_mode():
        told = earlier.classifier(features).argmax(dim=1).cpu().numpy()
    weights = np.where(told != split.labels, config.parameters["up"], 1.0)
    return Given(images={"weights": torch.from_numpy(weights / weights.mean()).float().to(device)})


def _own(
    config: RunConfig, data: BiasedDataset, place_: Place, given: Given | None, say: Say
) -> Network:
    """Read the trained network from its folder, or train it."""
    folder, device = place_.folder(config, data), place_.device
    if (folder / ENCODER).is_file():
        return load_network(config, data, folder, device)
    if leads():
        begin(folder, config, str(device))
    follow = _follow(config, data, device)
    model = train(config, data, folder, device=device, given=given, say=say, follow=follow)
    network = Network(model.encoder, model.classifier)
    if leads():
        _save(folder, network)
    return network


def load_network(
    config: RunConfig, data: BiasedDataset, folder: Path, device: torch.device
) -> Network:
    """Return the trained network that a run's folder holds.

    Raises:
        RunError: A file is damaged.
    """
    generator = torch_generator(config.seed, "weights/encoder")
    encoder = load_weights(build_encoder(config.model.encoder, generator), folder / ENCODER)
    classifier = None
    if classifies(config.loss):
        classifier = build_classifier(config, encoder, data)
        load_weights(classifier, folder / CLASSIFIER).to(device)
    return Network(place(encoder, device), classifier)


def _save(folder: Path, network: Network) -> None:
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
        raise checkpoint.damaged(path) from error
