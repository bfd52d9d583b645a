"""Extra tensors for a loss: group counts, sample weights, and outputs of the first-stage network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from biascon.data.dataset import BiasedDataset
from biascon.errors import UsageError
from biascon.losses.registry import LossEntry, Requirement
from biascon.training.batches import TrainingGroups
from biascon.utils.distributed import from_main_process


@dataclass
class LossInputs:
    """Tensors on the training device, by the names of ``biascon.losses.NEEDS``.

    Attributes:
        constant: Tensors that are the same for every batch, such as ``counts``. ``group_weights`` changes
            during training and is part of the checkpoint.
        per_image: ``(N, ...)``: a row for each training image.
        per_step: ``(epochs, N)``: a number for each training image in each epoch.
        added_features: ``(N, F)``: added to the features of each training image before the classifier; None
            for nothing.
        groups: The groups that take the place of the bias values; None to use the bias values.
    """

    constant: dict[str, Tensor] = field(default_factory=dict)
    per_image: dict[str, Tensor] = field(default_factory=dict)
    per_step: dict[str, Tensor] = field(default_factory=dict)
    added_features: Tensor | None = None
    groups: TrainingGroups | None = None

    def batch(
        self, names: Sequence[str], epoch: int, rows: Tensor, out: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the inputs of a loss for one batch.

        Args:
            names: The names of the inputs.
            epoch: The epoch, from 0.
            rows: ``(B,)``, the images of the batch.
            out: The outputs of the network for these images.
        """
        inputs = {}
        for name in names:
            if name in self.constant:
                inputs[name] = self.constant[name]
            elif name in self.per_image:
                inputs[name] = self.per_image[name][rows]
            elif name in self.per_step:
                inputs[name] = self.per_step[name][epoch, rows]
            else:
                inputs[name] = out[name]
        return inputs

    def merged(self, other: LossInputs | None) -> LossInputs:
        """Return these inputs together with other ones."""
        if other is None:
            return self
        return LossInputs(
            {**self.constant, **other.constant},
            {**self.per_image, **other.per_image},
            {**self.per_step, **other.per_step},
            other.added_features,
            other.groups,
        )

    def from_main_process(self) -> LossInputs:
        """Return the inputs of the main process, so that rounding of several devices changes no group."""
        groups = self.groups
        if groups is not None:
            bias = from_main_process(torch.from_numpy(groups.bias)).numpy()
            groups = dataclasses.replace(groups, bias=bias)
        added = self.added_features
        return LossInputs(
            self.constant,
            {name: from_main_process(x) for name, x in self.per_image.items()},
            {name: from_main_process(x) for name, x in self.per_step.items()},
            None if added is None else from_main_process(added),
            groups,
        )

    def check(self, loss: str, entry: LossEntry) -> None:
        """Refuse to train a loss without its inputs.

        Raises:
            UsageError: An input is missing that the network itself does not give.
        """
        available = {*self.constant, *self.per_image, *self.per_step, *_FROM_TRAINING}
        missing: list[str] = [name for name in entry.tensor_inputs if name not in available]
        if entry.infers_bias and self.groups is None:
            missing.append("groups")
        if Requirement.ADDED_BIAS_FEATURES in entry.requires and self.added_features is None:
            missing.append("features")
        if missing:
            raise UsageError(
                f"loss '{loss}' needs {', '.join(missing)} of a first-stage network: "
                "train the run with biascon.evaluate or the command line"
            )

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that change during training."""
        return {k: v for k, v in self.constant.items() if k == "group_weights"}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Set the tensors that change during training."""
        for name in self.state():
            self.constant[name].copy_(state[name])


# Inputs that the network and the steps give.
_FROM_TRAINING = ("logits", "features", "partner_labels", "partner_bias", "mix")


def dataset_groups(data: BiasedDataset) -> TrainingGroups:
    """Return the labels and the bias values of the training images."""
    split = data.splits["train"]
    return TrainingGroups(split.labels, split.bias, data.n_labels, data.n_bias)


def make_count_inputs(
    names: Sequence[str], groups: TrainingGroups, device: torch.device
) -> LossInputs:
    """Return the inputs that are functions of the (label, bias) counts of the training images."""
    counts = torch.from_numpy(groups.counts()).to(device)
    inputs = LossInputs()
    if "counts" in names:
        inputs.constant["counts"] = counts
    if "group_weights" in names:  # uniform over the cells that have images
        inputs.constant["group_weights"] = (counts > 0) / (counts > 0).sum()
    return inputs
