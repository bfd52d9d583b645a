"""The configuration of the first-stage network of a method."""

from __future__ import annotations

import dataclasses

from biascon.config.run_config import AugmentConfig, FirstStageConfig, RunConfig
from biascon.losses.loss import get_entry, get_loss
from biascon.losses.registry import FirstStage
from biascon.models.encoders import add_1x1_suffix, has_1x1_kernels, remove_1x1_suffix


def first_stage_config(config: RunConfig) -> RunConfig | None:
    """Return the configuration of the first-stage network of a run, None if its method has no first stage.

    The evaluation protocol does not affect the first-stage network. Validation metrics during training are
    computed for the network of the run only, not for the first-stage network.
    """
    entry = get_entry(config.loss)
    first_stage = entry.first_stage
    if first_stage is None:
        return None
    settings, parameters, length = config.first_stage, config.parameters, config.train
    config = config.training_config().without_method_settings()
    model, train, augment = config.model, config.train, config.augment
    if first_stage.gives == "losses":
        # The method takes the losses of the same epoch, so both networks have as many epochs.
        train = dataclasses.replace(train, epochs=length.epochs, min_steps=length.min_steps)
    if first_stage.kernel_1x1 and not has_1x1_kernels(model.encoder):
        # Pretrained weights do not fit an encoder with 1 x 1 kernels.
        encoder = add_1x1_suffix(model.encoder)
        model = dataclasses.replace(model, encoder=encoder, weights="none", file=None)
    if first_stage.gives == "environments":
        # The reference network of the inference sees shapes, also below a network that sees only colors.
        model = dataclasses.replace(model, encoder=remove_1x1_suffix(model.encoder))
    epochs = settings.epochs or parameters.get("first_epochs", first_stage.epochs)
    if epochs:
        train = dataclasses.replace(train, epochs=epochs, min_steps=0)
    train = dataclasses.replace(
        train,
        probe_every=0,
        record_losses=first_stage.gives == "losses",
        held_out=first_stage.held_out,
    )
    if uses_plain_views(config.first_stage.augment, first_stage):
        augment = AugmentConfig.plain()
    return dataclasses.replace(
        config,
        loss=first_stage.loss,
        parameters=get_loss(first_stage.loss).parameters,
        model=model,
        augment=augment,
        train=train,
        first_stage=FirstStageConfig(),
    )


def uses_plain_views(setting: str, first_stage: FirstStage) -> bool:
    """Whether a first-stage network is trained on images without augmentation.

    Args:
        setting: ``first_stage.augment`` of the run.
        first_stage: The first stage of the method.
    """
    return setting == "plain" or (setting == "auto" and first_stage.plain_views)
