"""The steps of an epoch: which images a step takes, and how the network sees them.

Most losses see one batch of augmented views. Some methods need a second set of images in a step: partners
that the images are mixed with, or a batch of its own for the classifier beside a contrastive term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biascon.config.run_config import RunConfig
from biascon.data.dataset import Split
from biascon.losses.registry import LossEntry, Requirement
from biascon.models.preprocess import normalize
from biascon.training.augment import augment
from biascon.training.batches import (
    Sampling,
    TrainingGroups,
    epoch_order,
    oversampled_order,
    split_held_out,
)
from biascon.training.mixup import PartnerIndex, draw_group_mix, draw_mix
from biascon.utils.distributed import rank, world_size
from biascon.utils.seeds import derive_seed


@dataclass(frozen=True)
class Step:
    """The images of one step.

    Attributes:
        rows: int64 ``(B,)``: the images whose outputs the loss compares.
        second: int64 ``(C,)``: the partners of these images, or the images of the classifier; None without.
        mix: float32 ``(B,)``: the share of each image in the mixture with its partner; None without.
    """

    rows: Tensor
    second: Tensor | None = None
    mix: Tensor | None = None

    @property
    def all_rows(self) -> Tensor:
        """The rows whose images the step loads."""
        return self.rows if self.second is None else torch.cat((self.rows, self.second))

    def share(self) -> Step:
        """Return the part of the step that this process computes."""
        parts = (self.rows, self.second, self.mix)
        return Step(*(None if part is None else _own_part(part) for part in parts))  # type: ignore[arg-type]


def _own_part(values: Tensor) -> Tensor:
    size = len(values) // world_size()
    return values[rank() * size : (rank() + 1) * size]


def to_device(steps: Sequence[Step], device: torch.device) -> list[Step]:
    """Return steps whose tensors are on a device. Each kind of tensor is copied once for all steps.

    A copy in every step would make the host wait for the device, because its source is not pinned memory.
    """
    if device.type == "cpu" or not steps:
        return list(steps)
    kinds: list[list[Any]] = [
        [step.rows for step in steps],
        [step.second for step in steps],
        [step.mix for step in steps],
    ]
    for k, tensors in enumerate(kinds):
        if tensors[0] is not None:
            copied = torch.cat(tensors).to(device)
            kinds[k] = list(torch.split(copied, [len(tensor) for tensor in tensors]))
    return [Step(*tensors) for tensors in zip(*kinds, strict=True)]


@dataclass(frozen=True)
class StepPlan:
    """Makes the steps of every epoch of a run.

    Attributes:
        config: The configuration of the run.
        entry: The registry entry of its loss.
        split: The training split.
        groups: The labels and groups of the training images, as the method sees them.
        kept: int64: the rows that the run trains on.
        partners: Draws the partners of images, for a method that mixes images; else None.
    """

    config: RunConfig
    entry: LossEntry
    split: Split
    groups: TrainingGroups
    kept: Any
    partners: PartnerIndex | None

    @classmethod
    def make(
        cls, config: RunConfig, entry: LossEntry, split: Split, groups: TrainingGroups
    ) -> StepPlan:
        """Return the plan of a run."""
        held_out = config.train.count_held_out(len(split))
        kept, _ = split_held_out(len(split), held_out, config.seed)
        partners = None
        if mixes_images(entry):
            partners = PartnerIndex(groups.labels, groups.bias)
        return cls(config, entry, split, groups, kept, partners)

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return len(self.kept) // self.config.train.batch_size

    def epoch(self, epoch: int) -> list[Step]:
        """Return the steps of an epoch, counted from 0; a last batch that is not full is left out."""
        config, batch = self.config, self.config.train.batch_size
        order = epoch_order(self.groups.take(self.kept), config.seed, epoch, _sampling(self.entry))
        rows = torch.from_numpy(self.kept)[order[: self.steps * batch]]
        batches = list(torch.split(rows, batch))
        if self.partners is not None:
            return self._mixed(batches, epoch)
        if not has_separate_classifier_batch(config, self.entry):
            return [Step(rows) for rows in batches]
        oversample = config.parameters.get("oversample", 1.0)
        size = config.parameters.get("contrast_batch", 0) or batch
        if oversample == 1 and size == batch:
            # The classifier sees the same images, without augmentation.
            return [Step(rows, rows) for rows in batches]
        # Inferred groups take the place of the bias: group 0 is the larger one.
        aligned = self.groups.bias == 0 if self.entry.infers_bias else self.split.aligned
        drawn = oversampled_order(
            aligned[self.kept], oversample, self.steps * size, config.seed, epoch
        )
        contrast = torch.split(torch.from_numpy(self.kept)[drawn], size)
        return [Step(*pair) for pair in zip(contrast, batches, strict=True)]

    def _mixed(self, batches: list[Tensor], epoch: int) -> list[Step]:
        """Return steps with partners for every image of the batches."""
        parameters, partners = self.config.parameters, self.partners
        if partners is None:
            return []
        bits = np.random.PCG64(derive_seed(self.config.seed, f"mix/{epoch}"))
        steps = []
        for rows in batches:
            if "partner_bias" in self.entry.tensor_inputs:
                chosen = partners.choose_conflicting(rows, bits)
                mix = draw_group_mix(parameters["alpha"], len(rows), bits)
            else:
                chosen = partners.choose(rows, parameters["p_label"], bits)
                mix = draw_mix(parameters["alpha"], len(rows), bits)
            steps.append(Step(rows, chosen, mix))
        return steps


def mixes_images(entry: LossEntry) -> bool:
    """Whether a method mixes each image with a partner."""
    return "mix" in entry.tensor_inputs


def has_separate_classifier_batch(config: RunConfig, entry: LossEntry) -> bool:
    """Whether the classifier beside a contrastive term sees other images or views than this term."""
    if entry.input_kind != "embeddings" or "logits" not in entry.tensor_inputs:
        return False
    parameters = config.parameters
    return (
        config.augment.plain_classifier
        or parameters.get("oversample", 1.0) > 1
        or parameters.get("contrast_batch", 0) > 0
    )


def _sampling(entry: LossEntry) -> Sampling:
    if Requirement.GROUP_SAMPLING in entry.requires:
        return "groups"
    return "subsampled groups" if Requirement.GROUP_SUBSAMPLING in entry.requires else "natural"


@dataclass(frozen=True)
class NetworkInput:
    """The input of the network in a step.

    Attributes:
        x: float32 ``(N, 3, H, W)``.
        views: V, the views of each image of the loss.
        classifier_views: The views of each image of the classifier, if it has images of its own; else 0.
    """

    x: Tensor
    views: int
    classifier_views: int = 0


def network_input(
    images: Tensor, step: Step, config: RunConfig, entry: LossEntry, generator: torch.Generator
) -> NetworkInput:
    """Return what the network sees in a step.

    Args:
        images: uint8 ``(B, 3, H, W)``, or ``(B + C, 3, H, W)`` for a step with a second set of images.
        step: The step, the share of this process.
        config: The configuration of the run.
        entry: The registry entry of its loss.
        generator: The generator of the views.
    """
    augmentation, plain = config.augment, config.augment.plain_classifier
    part = (rank(), world_size())

    def see(batch: Tensor, *, is_plain: bool) -> Tensor:
        if is_plain:
            return normalize(batch)
        return augment(batch, augmentation, generator, augmentation.views, part)

    is_classifier = entry.input_kind == "logits"
    views = 1 if plain and is_classifier else augmentation.views
    if step.second is None:
        return NetworkInput(see(images, is_plain=plain and is_classifier), views)
    n = len(step.rows)
    if step.mix is not None:
        first, second = (see(half, is_plain=plain) for half in (images[:n], images[n:]))
        share = step.mix.to(first.device).repeat_interleave(views)[:, None, None, None]
        return NetworkInput(torch.lerp(second, first, share), views)
    first, second = see(images[:n], is_plain=False), see(images[n:], is_plain=plain)
    return NetworkInput(torch.cat((first, second)), views, len(second) // len(images[n:]))
