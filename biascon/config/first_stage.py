"""The configuration of the first-stage network of a method."""

from __future__ import annotations

import dataclasses
from typing import Any

from biascon.config.run_config import RunConfig
from biascon.losses.loss import get_entry, get_loss
from biascon.models.encoders import KERNEL_1X1_SUFFIX


def first_stage_config(config: RunConfig) -> RunConfig | None:
    """Return the configuration of the network that a run builds on, None if it builds on none."""
    config = config.training_config()  # how this run is judged is nothing to that one
    first = get_entry(config.loss).first_stage
    if first is None:
        return None
    changed: dict[str, Any] = {}
    if first.narrow and not config.model.encoder.endswith(KERNEL_1X1_SUFFIX):
        name = config.model.encoder + KERNEL_1X1_SUFFIX
        changed["model"] = dataclasses.replace(  # other shapes: no weights of the whole network fit
            config.model, encoder=name, weights="none", file=None
        )
    if "first_epochs" in config.parameters:
        epochs = config.parameters["first_epochs"]
        changed["train"] = dataclasses.replace(config.train, epochs=epochs, min_steps=0)
    followed = changed.get(
        "train", config.train
    )  # only the network that is asked about is followed
    changed["train"] = dataclasses.replace(followed, probe_every=0)
    parameters = get_loss(first.loss).parameters
    return dataclasses.replace(config, loss=first.loss, parameters=parameters, **changed)
