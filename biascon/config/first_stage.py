"""The configuration of the first-stage network of a method."""

from __future__ import annotations

import dataclasses

from biascon.config.run_config import RunConfig
from biascon.losses.loss import get_entry, get_loss
from biascon.models.encoders import add_1x1_suffix, has_1x1_kernels


def first_stage_config(config: RunConfig) -> RunConfig | None:
    """Return the configuration of the first-stage network of a run, None if its method has no first stage.

    The evaluation protocol does not affect the first-stage network. Validation metrics during training are
    computed for the network of the run only, not for the first-stage network.
    """
    config = config.training_config()
    first_stage = get_entry(config.loss).first_stage
    if first_stage is None:
        return None
    model, train = config.model, config.train
    if first_stage.kernel_1x1 and not has_1x1_kernels(model.encoder):
        # Pretrained weights do not fit an encoder with 1 x 1 kernels.
        encoder = add_1x1_suffix(model.encoder)
        model = dataclasses.replace(model, encoder=encoder, weights="none", file=None)
    if "first_epochs" in config.parameters:
        train = dataclasses.replace(train, epochs=config.parameters["first_epochs"], min_steps=0)
    train = dataclasses.replace(train, probe_every=0, record_losses=first_stage.gives == "losses")
    parameters = get_loss(first_stage.loss).parameters
    return dataclasses.replace(
        config, loss=first_stage.loss, parameters=parameters, model=model, train=train
    )
