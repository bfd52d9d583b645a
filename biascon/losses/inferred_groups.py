"""Variants of methods without bias labels: ``groupdro@eiil`` takes groups that a first stage infers."""

from __future__ import annotations

import dataclasses

from biascon.errors import UsageError, unknown_name
from biascon.losses.registry import FirstStage, LossEntry, Requirement

SEPARATOR = "@"
# EIIL (Creager et al., ICML 2021) divides the images by the errors of an early reference network.
INFERENCES: dict[str, FirstStage] = {"eiil": FirstStage("ce", "environments", epochs=1)}


def with_inferred_groups(name: str, entry: LossEntry, inference: str) -> LossEntry:
    """Return the entry of a method whose groups are inferred, so that it uses no bias labels.

    Inferred groups take the place of the bias values of the training images. A method whose first-stage
    network predicts the bias gets a first-stage network that predicts the inferred groups.

    Args:
        name: The name of the method.
        entry: Its entry.
        inference: A key of ``INFERENCES``.

    Raises:
        UsageError: The inference is unknown, the method uses no bias labels, or it needs bias labels of
            held-out images.
    """
    if inference not in INFERENCES:
        raise unknown_name("inference of groups", inference, INFERENCES)
    if Requirement.HELD_OUT_BIAS in entry.requires:
        raise UsageError(
            f"'{name}' fits its last layer on held-out bias labels, but groups are inferred for training "
            "images only; choose afr, which needs no bias labels"
        )
    first_stage, paper = entry.first_stage, f"{entry.paper}; EIIL: Creager et al., ICML 2021"
    if first_stage is None and entry.groups_by_bias:
        return dataclasses.replace(entry, first_stage=INFERENCES[inference], paper=paper)
    if first_stage is not None and first_stage.loss == "bias-ce":
        network = dataclasses.replace(
            first_stage, loss=f"{first_stage.loss}{SEPARATOR}{inference}", per_attribute=False
        )
        return dataclasses.replace(entry, first_stage=network, paper=paper)
    raise UsageError(
        f"'{name}' uses no bias labels: expected a method marked † before @{inference}"
    )
