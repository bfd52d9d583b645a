"""Seconds of an epoch of every method beside ``ce``, for each network that it trains."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biascon.config.factory import make_config
from biascon.config.first_stage import first_stage_config
from biascon.config.method_settings import resolve_parameters
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.losses.loss import get_entry, list_losses
from biascon.losses.registry import Requirement
from biascon.runs.context import RunContext
from biascon.runs.records import EpochRecord
from biascon.training.batches import TrainingGroups
from biascon.training.loop import train
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import count_groups

ROUNDS = 5  # measured epochs of each method; the methods take turns


def seconds_of_methods(data: BiasedDataset, device: torch.device) -> list[dict[str, Any]]:
    """Return the seconds of an epoch of every method, and their ratio to ``ce``.

    A row is the main network of a method or its first-stage network. Two networks that are trained in the
    same way have one row.

    Args:
        data: The dataset, with the split ``train``.
        device: The device.
    """
    torch.set_num_threads(2)
    configs = _configs(data)
    seconds: dict[str, list[float]] = {name: [] for name in configs}
    for _ in range(ROUNDS):
        for name, config in configs.items():
            seconds[name].append(_seconds(config, data, device))
    of_ce = statistics.median(seconds["ce"])
    return [
        {
            "what": name,
            "seconds an epoch": round(statistics.median(values), 3),
            "of ce's": round(statistics.median(values) / of_ce, 2),
        }
        for name, values in seconds.items()
    ]


def _configs(data: BiasedDataset) -> dict[str, RunConfig]:
    """Return the configuration of every network, by the name of its method and stage."""
    configs: dict[str, RunConfig] = {}
    for loss in ["ce", *(name for name in list_losses() if name != "ce"), "groupdro@eiil"]:
        entry = get_entry(loss)
        config = resolve_parameters(
            make_config(loss, settings=["train.epochs=1"]),
            data.manifest.builder,
            data.manifest.parameters,
        )
        if entry.first_stage is None or entry.first_stage.gives != "encoder":
            configs[loss] = config
        first = first_stage_config(config)
        if first is not None:
            train_config = dataclasses.replace(first.train, epochs=1)
            configs[f"{loss}, first stage {first.loss}"] = dataclasses.replace(
                first, train=train_config
            )
    configs["biascon, oversample=10, contrast_batch=64"] = make_config(
        "biascon",
        settings=["train.epochs=1", "loss.oversample=10", "loss.contrast_batch=64"],
    )
    unique: dict[str, RunConfig] = {}
    for name, config in configs.items():
        if config not in unique.values():
            unique[name] = config
    return unique


def _seconds(config: RunConfig, data: BiasedDataset, device: torch.device) -> float:
    """Train one epoch and return its seconds."""
    records: list[EpochRecord] = []
    with tempfile.TemporaryDirectory() as root:
        context = RunContext(config, data, Path(root), device, on_epoch=records.append)
        context.folder.mkdir(parents=True)
        train(context, loss_inputs=_made_inputs(context))
    return records[0].seconds


def _made_inputs(context: RunContext) -> LossInputs:
    """Return made outputs of a first-stage network: their values do not change the time."""
    entry, data, device = context.entry, context.data, context.device
    split, rng = data.splits["train"], np.random.default_rng(0)
    n, dim = len(split), 128

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(rng.random(shape, dtype=np.float32)).to(device)

    made = LossInputs()
    if "bias_features" in entry.tensor_inputs:
        made.per_image["bias_features"] = draw(n, dim)
    if "weights" in entry.tensor_inputs:
        made.per_image["weights"] = draw(n)
    if "bias_losses" in entry.tensor_inputs:
        made.per_step["bias_losses"] = draw(1, n)
    if Requirement.ADDED_BIAS_FEATURES in entry.requires:
        made.added_features = draw(n, dim)
    if entry.infers_bias:
        m = count_groups(entry, data)
        made.groups = TrainingGroups(split.labels, split.bias % m, data.n_labels, m)
    return made
