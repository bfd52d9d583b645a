"""Settings and parameters that a method replaces by its own: projection head, scale, values for a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from biascon.config.run_config import RunConfig
from biascon.errors import UsageError
from biascon.losses.loss import default_parameters, get_entry
from biascon.losses.registry import LossEntry, Scale

AUTO = "auto"  # a parameter whose value depends on the dataset
SCALED_PRESET = "cpu"


def apply_method_settings(config: RunConfig, set_by_user: Collection[str]) -> RunConfig:
    """Return the configuration with the settings that belong to the method.

    A method whose authors have no projection head gets none. Under the preset ``cpu`` the learning rate and
    the epochs are multiplied by ``LossEntry.cpu_scale``. What the user sets is not changed. The values of the
    preset stay in ``RunConfig.preset_values``.

    Args:
        config: The configuration that follows from the preset and the user.
        set_by_user: The settings of the user, as ``section.key``.
    """
    entry = get_entry(config.loss)
    values: dict[str, Any] = {}
    if entry.input_kind == "embeddings" and entry.head == "none" and config.model.head:
        values["model.head"] = ()
    if config.preset == SCALED_PRESET and entry.cpu_scale != Scale():
        scale, train = entry.cpu_scale, config.train
        values["optimizer.lr"] = config.optimizer.lr * scale.lr
        values["train.epochs"] = max(1, round(train.epochs * scale.epochs))
        values["train.min_steps"] = round(train.min_steps * scale.epochs)
        if "train.epochs" in set_by_user:
            del values["train.min_steps"]
    changed = config.with_values({k: v for k, v in values.items() if k not in set_by_user})
    replaced = [name for name in values if changed.plain_value(name) != config.plain_value(name)]
    return dataclasses.replace(
        changed, preset_values={name: config.plain_value(name) for name in replaced}
    )


def check_head(config: RunConfig, entry: LossEntry) -> None:
    """Refuse a run without a projection head whose method needs one.

    Raises:
        UsageError: The message has the setting that adds a head.
    """
    if entry.input_kind == "embeddings" and entry.head == "needed" and not config.model.head:
        raise UsageError(
            f"loss '{config.loss}' needs a projection head, but model.head is empty; "
            "pass --set model.head=[128,128]"
        )


def mark_dataset_defaults(
    loss: str, parameters: Mapping[str, Any], set_by_user: Collection[str]
) -> dict[str, Any]:
    """Return the parameters, with ``"auto"`` for those whose default depends on the dataset.

    Args:
        loss: The name of the loss.
        parameters: All parameters of the loss.
        set_by_user: The names of the parameters that the user or the preset sets.
    """
    names = {name for defaults in get_entry(loss).dataset_defaults for name in defaults.values}
    return {k: AUTO if k in names and k not in set_by_user else v for k, v in parameters.items()}


def resolve_parameters(
    config: RunConfig, builder: str, dataset_parameters: Mapping[str, Any]
) -> RunConfig:
    """Return the configuration with the parameters of the loss for a dataset.

    Args:
        config: A configuration. Parameters without ``"auto"`` are not changed.
        builder: The builder of the dataset.
        dataset_parameters: The parameters that the dataset was built with.
    """
    if AUTO not in config.parameters.values():
        return config
    values = parameters_for_dataset(config.loss, builder, dataset_parameters)
    parameters = {k: values[k] if v == AUTO else v for k, v in config.parameters.items()}
    return dataclasses.replace(config, parameters=parameters)


def parameters_for_dataset(
    loss: str,
    builder: str,
    dataset_parameters: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the parameters of a loss that a user does not set, for a dataset.

    Args:
        loss: The name of the loss.
        builder: The builder of the dataset.
        dataset_parameters: The parameters that the dataset was built with.
        given: Values of parameters, on which the defaults of others may depend.
    """
    values = default_parameters(loss, given)
    for defaults in get_entry(loss).dataset_defaults:
        if defaults.builder == builder and all(
            dataset_parameters.get(key) == value for key, value in defaults.where.items()
        ):
            values |= defaults.values
    return values
