"""What a loss is given beyond the batch: counts, weights, and what a network trained before tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from biascon.data.dataset import BiasedDataset
from biascon.errors import UsageError


@dataclass
class Given:
    """Tensors on the device of training, by the names of ``biascon.losses.NEEDS``.

    Attributes:
        whole: The same for every batch, such as ``counts``. ``group_weights`` changes as training goes
            and is part of the checkpoint.
        images: ``(N, ...)``: a row for each training image.
        steps: ``(epochs, N)``: a number for each training image in each epoch.
    """

    whole: dict[str, Tensor] = field(default_factory=dict)
    images: dict[str, Tensor] = field(default_factory=dict)
    steps: dict[str, Tensor] = field(default_factory=dict)

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
            if name in self.whole:
                found[name] = self.whole[name]
            elif name in self.images:
                found[name] = self.images[name][rows]
            elif name in self.steps:
                found[name] = self.steps[name][epoch, rows]
            else:
                found[name] = out[name]
        return found

    def also(self, other: Given | None) -> Given:
        """Return this together with another."""
        if other is None:
            return self
        return Given(
            {**self.whole, **other.whole},
            {**self.images, **other.images},
            {**self.steps, **other.steps},
        )

    def check(self, loss: str, names: Sequence[str]) -> None:
        """Refuse to train a loss without its inputs.

        Raises:
            UsageError: One is missing that the network itself does not give.
        """
        there = {*self.whole, *self.images, *self.steps, "logits", "features"}
        missing = [name for name in names if name not in there]
        if missing:
            raise UsageError(
                f"loss '{loss}' needs {', '.join(missing)} of another network: "
                "train it with biascon.training.stages.obtain or the command line"
            )

    def state(self) -> dict[str, Tensor]:
        """Return what changes as training goes."""
        return {k: v for k, v in self.whole.items() if k == "group_weights"}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Set what changes as training goes."""
        for name in self.state():
            self.whole[name].copy_(state[name])


def from_counts(names: Sequence[str], data: BiasedDataset, device: torch.device) -> Given:
    """Return what can be made of the training split's (label, bias) counts alone."""
    table = data.splits["train"].counts(data.n_labels, data.n_bias)
    counts = torch.from_numpy(table).to(device)
    given = Given()
    if "counts" in names:
        given.whole["counts"] = counts
    if "group_weights" in names:  # uniform over the groups that there are
        given.whole["group_weights"] = (counts > 0) / (counts > 0).sum()
    return given
