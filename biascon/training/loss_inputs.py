"""What a loss is given beyond the batch: counts, weights, and what a network trained before tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from biascon.data.dataset import BiasedDataset
from biascon.errors import UsageError


@dataclass
class LossInputs:
    """Tensors on the device of training, by the names of ``biascon.losses.NEEDS``.

    Attributes:
        whole: The same for every batch, such as ``counts``. ``group_weights`` changes as training goes
            and is part of the checkpoint.
        images: ``(N, ...)``: a row for each training image.
        steps: ``(epochs, N)``: a number for each training image in each epoch.
    """

    constant: dict[str, Tensor] = field(default_factory=dict)
    per_image: dict[str, Tensor] = field(default_factory=dict)
    per_step: dict[str, Tensor] = field(default_factory=dict)

    def batch(
        self, names: Sequence[str], epoch: int, rows: Tensor, out: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the inputs of a loss for one batch.

        Args:
            names: Of the inputs.
            epoch: From 0.
            rows: ``(B,)`` the images of the batch.
            out: What the network gives for them.
        """
        found = {}
        for name in names:
            if name in self.constant:
                found[name] = self.constant[name]
            elif name in self.per_image:
                found[name] = self.per_image[name][rows]
            elif name in self.per_step:
                found[name] = self.per_step[name][epoch, rows]
            else:
                found[name] = out[name]
        return found

    def merged(self, other: LossInputs | None) -> LossInputs:
        """Return this together with another."""
        if other is None:
            return self
        return LossInputs(
            {**self.constant, **other.constant},
            {**self.per_image, **other.per_image},
            {**self.per_step, **other.per_step},
        )

    def check(self, loss: str, names: Sequence[str]) -> None:
        """Refuse to train a loss without its inputs.

        Raises:
            UsageError: One is missing that the network itself does not give.
        """
        there = {*self.constant, *self.per_image, *self.per_step, "logits", "features"}
        missing = [name for name in names if name not in there]
        if missing:
            raise UsageError(
                f"loss '{loss}' needs {', '.join(missing)} of another network: "
                "train it with biascon.training.stages.obtain or the command line"
            )

    def state(self) -> dict[str, Tensor]:
        """Return what changes as training goes."""
        return {k: v for k, v in self.constant.items() if k == "group_weights"}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Set what changes as training goes."""
        for name in self.state():
            self.constant[name].copy_(state[name])


def count_inputs(names: Sequence[str], data: BiasedDataset, device: torch.device) -> LossInputs:
    """Return what can be made of the training split's (label, bias) counts alone."""
    table = data.splits["train"].counts(data.n_labels, data.n_bias)
    counts = torch.from_numpy(table).to(device)
    given = LossInputs()
    if "counts" in names:
        given.constant["counts"] = counts
    if "group_weights" in names:  # uniform over the groups that there are
        given.constant["group_weights"] = (counts > 0) / (counts > 0).sum()
    return given
