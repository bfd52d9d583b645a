"""Search spaces: the parameters that all methods share, and the own parameters of a method.

A shared parameter has the same distribution for every method. It is stated relative to the preset, so that
one rule serves every preset. The own parameters are in the registry entry of the method
(``LossEntry.search``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from biascon.config.factory import make_config
from biascon.config.run_config import RunConfig
from biascon.config.settings import format_setting
from biascon.errors import UsageError, did_you_mean
from biascon.losses.loss import canonical_name, default_parameters, get_entry
from biascon.utils.distributions import Choice, Complement, Distribution, LogUniform, Uniform

STRENGTH = "augment.strength"  # a factor of several settings of the augmentation
TEMPERATURE = "loss.temperature"
SHARED = (
    "optimizer.lr",
    "optimizer.weight_decay",
    "train.batch_size",
    "train.epochs",
    TEMPERATURE,
    STRENGTH,
)
MAX_HUE = 0.5


@dataclass(frozen=True)
class Method:
    """A method of a study: a loss with settings that all of its trials have.

    Attributes:
        name: The name of the method in the study.
        loss: The name of the loss in the registry.
        settings: The settings of every trial, as ``section.key=value``.
        space: The distributions of its parameters, by ``section.key``: shared ones first, in the order of
            ``SHARED``, then its own.
    """

    name: str
    loss: str
    settings: tuple[str, ...]
    space: Mapping[str, Distribution]

    def to_json(self) -> dict[str, Any]:
        """Return the method as plain data."""
        space = {key: distribution.to_json() for key, distribution in self.space.items()}
        return {"loss": self.loss, "settings": list(self.settings), "space": space}


def shared_space(preset: RunConfig) -> dict[str, Distribution]:
    """Return the distributions of the shared parameters for a preset.

    The learning rate is log-uniform from an eighth to four times that of the preset. The weight decay is
    log-uniform from 1e-6 to 1e-2. The batch size is half, one or two times that of the preset. The number of
    epochs is an integer from 60 % to 140 % of that of the preset. The temperature is log-uniform from 0.03 to
    0.5. The strength of the augmentation is a factor, uniform from 0.5 to 1.5.

    Args:
        preset: A configuration with the values of the preset.
    """
    lr, batch, epochs = preset.optimizer.lr, preset.train.batch_size, preset.train.epochs
    sizes = dict.fromkeys(size for size in (batch // 2, batch, 2 * batch) if size >= 2)
    shortest, longest = math.ceil(0.6 * epochs), math.floor(1.4 * epochs)
    return {
        "optimizer.lr": LogUniform(lr / 8, lr * 4),
        "optimizer.weight_decay": LogUniform(1e-6, 1e-2),
        "train.batch_size": Choice(tuple(sizes)),
        "train.epochs": Choice(tuple(range(shortest, longest + 1))),
        TEMPERATURE: LogUniform(0.03, 0.5),
        STRENGTH: Uniform(0.5, 1.5),
    }


def make_method(
    name: str,
    loss: str,
    preset: str,
    *,
    settings: tuple[str, ...] = (),
    changed: Mapping[str, Distribution | None] | None = None,
) -> Method:
    """Return a method of a study with its search space.

    A parameter that ``settings`` sets is not searched. The temperature belongs only to losses that have one.

    Args:
        name: The name of the method in the study.
        loss: The name of the loss.
        preset: The preset of the study.
        settings: The settings of every trial.
        changed: Distributions that replace those of the registry, or are added; None removes one.

    Raises:
        UsageError: A name is unknown, or a complement is of a parameter that is not searched.
    """
    loss = canonical_name(loss)
    config = make_config(loss, preset=preset, settings=settings)
    defaults = default_parameters(loss, config.parameters)
    shared = shared_space(config.without_method_settings())
    own = {f"loss.{key}": distribution for key, distribution in get_entry(loss).search.items()}
    space: dict[str, Distribution] = {**shared, **own}
    if "temperature" not in defaults:
        del space[TEMPERATURE]
    fixed = {setting.partition("=")[0].strip() for setting in settings}
    for key, distribution in (changed or {}).items():
        _check_key(name, key, defaults)
        space.pop(key, None)
        if distribution is not None:
            space[key] = distribution
    space = {key: distribution for key, distribution in space.items() if key not in fixed}
    for key, distribution in space.items():
        if isinstance(distribution, Complement) and _source(key, distribution) not in space:
            raise UsageError(
                f"method '{name}': {key} is 1 - {distribution.of}, but {_source(key, distribution)} is not "
                "searched"
            )
    order = {key: k for k, key in enumerate(SHARED)}
    return Method(
        name, loss, settings, dict(sorted(space.items(), key=lambda item: order.get(item[0], 99)))
    )


def _check_key(method: str, key: str, defaults: Mapping[str, Any]) -> None:
    """Refuse a searched parameter of the loss that the loss does not have."""
    section, _, parameter = key.partition(".")
    if section == "loss" and parameter not in defaults:
        raise UsageError(
            f"method '{method}': the loss has no parameter '{parameter}'{did_you_mean(parameter, defaults)}"
        )


def _source(key: str, complement: Complement) -> str:
    return f"{key.partition('.')[0]}.{complement.of}"


def complete(space: Mapping[str, Distribution], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all parameters of a space, with the complements computed.

    Args:
        space: The distributions by ``section.key``.
        drawn: The values of the parameters that are drawn.
    """
    values = {}
    for key, distribution in space.items():
        if isinstance(distribution, Complement):
            values[key] = float(f"{1 - drawn[_source(key, distribution)]:.6g}")
        else:
            values[key] = drawn[key]
    return values


def to_settings(values: Mapping[str, Any], preset: RunConfig) -> tuple[str, ...]:
    """Return the settings ``section.key=value`` of a trial.

    ``augment.strength`` multiplies the angle of the rotation, the strengths of the jitter (hue at most 0.5)
    and the probability of a grayscale view (at most 1).

    Args:
        values: The values by ``section.key``.
        preset: A configuration with the values of the preset.
    """
    settings: dict[str, Any] = {}
    for key, value in values.items():
        if key != STRENGTH:
            settings[key] = value
            continue
        augment = preset.augment
        *factors, hue = (float(f"{value * strength:.6g}") for strength in augment.jitter)
        settings["augment.rotation"] = min(180.0, float(f"{value * augment.rotation:.6g}"))
        settings["augment.jitter"] = [*factors, min(MAX_HUE, hue)]
        settings["augment.grayscale_p"] = min(1.0, float(f"{value * augment.grayscale_p:.6g}"))
    return tuple(format_setting(key, value) for key, value in settings.items())
