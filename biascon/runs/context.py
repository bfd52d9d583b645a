"""The context of a run: where it is computed and stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.losses.loss import uses_bias_labels
from biascon.runs.folder import (
    run_folder,
)


@dataclass(frozen=True)
class Place:
    """Where and how runs are computed.

    Attributes:
        root: The folder of runs.
        device: Where to compute.
        resume: Whether an interrupted run goes on from its last epoch, or starts anew.
    """

    root: Path
    device: torch.device
    resume: bool = True

    def folder(self, config: RunConfig, data: BiasedDataset) -> Path:
        """Return the folder of a run."""
        return run_folder(self.root, data.name, config, config.digest(data.digest))


def training_dataset(config: RunConfig, data: BiasedDataset) -> BiasedDataset:
    """Return the dataset whose run trains the network: the one as read, where the bias is not looked at.

    A view of a dataset by another attribute has the same images and labels; a method that is given no bias
    labels, and is not measured by them as it trains, gives the same network on both.
    """
    shares = (
        data.base is not None
        and config.train.probe_every == 0
        and not uses_bias_labels(config.loss)
    )
    return data.base if shares and data.base is not None else data
