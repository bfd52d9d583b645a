"""The context of a run: what it is, on which data, where it is computed and stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.losses.loss import get_entry, uses_bias_labels
from biascon.losses.registry import LossEntry
from biascon.models.encoders import Encoder
from biascon.runs.folder import run_folder
from biascon.runs.records import Accuracies, EpochRecord

EpochCallback = Callable[[EpochRecord], None]
Monitor = Callable[[Encoder], Accuracies]


def ignore_epoch(record: EpochRecord) -> None:
    """Do nothing with an epoch."""


@dataclass(frozen=True)
class RunContext:
    """A run and the place where it is computed.

    Attributes:
        config: The configuration of the run.
        data: The dataset that the run is trained and evaluated on.
        root: The folder of all runs.
        device: The device to compute on.
        resume: Whether an interrupted run resumes from its last epoch. Otherwise it starts again.
        on_epoch: Called with the record of each epoch.
        build_monitor: Builds, from the context of the run that trains, the function that measures an
            encoder on validation while it trains; None for a run that is not monitored.
        keep_features: Whether the finished run keeps its features. They are in its folder while it is
            computed.
        recompute: Whether a damaged file of an interrupted run is computed again. Otherwise it is an error.
        stage: What is trained, if it is not the network of the run itself.
    """

    config: RunConfig
    data: BiasedDataset
    root: Path
    device: torch.device
    resume: bool = True
    on_epoch: EpochCallback = ignore_epoch
    build_monitor: Callable[[RunContext], Monitor | None] = field(
        default=lambda context: None, repr=False
    )
    keep_features: bool = True
    recompute: bool = False
    stage: str = ""

    @cached_property
    def entry(self) -> LossEntry:
        """The registry entry of the loss."""
        return get_entry(self.config.loss)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the configuration, the dataset and the recipe version."""
        return self.config.digest(self.data.digest)

    @cached_property
    def folder(self) -> Path:
        """The run folder."""
        return run_folder(self.root, self.data.name, self.config, self.digest)

    @cached_property
    def training_data(self) -> BiasedDataset:
        """The dataset of the run that trains the network; see ``training_dataset``."""
        return training_dataset(self.config, self.data)

    def for_run(
        self, config: RunConfig, data: BiasedDataset | None = None, *, stage: str = ""
    ) -> RunContext:
        """Return the context of another run in the same place.

        Args:
            config: The configuration of the other run.
            data: Its dataset; None for the dataset of this run.
            stage: The name of the other run in the records of its epochs.
        """
        on_epoch = self.on_epoch

        def on_epoch_of_stage(record: EpochRecord) -> None:
            on_epoch(dataclasses.replace(record, stage=stage))

        return dataclasses.replace(
            self,
            config=config,
            data=self.data if data is None else data,
            on_epoch=on_epoch_of_stage if stage else on_epoch,
            stage=stage or self.stage,
        )


def training_dataset(config: RunConfig, data: BiasedDataset) -> BiasedDataset:
    """Return the dataset whose run trains the network.

    A view of a dataset by another bias attribute has the same images and labels as the dataset itself. A
    method without bias labels, which is not measured by bias values while it trains, gives the same
    network on both. Its network is then trained once, on the dataset itself.
    """
    if data.base is None or config.train.probe_every or uses_bias_labels(config.loss):
        return data
    return data.base
