"""Make a configuration: preset, then settings; and compare one with its preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from biascon.config.run_config import MACHINE_SETTINGS, OMITTED_DEFAULTS, RunConfig
from biascon.config.sections import PRETRAINED, SECTIONS
from biascon.config.settings import list_presets, load_preset, parse_settings
from biascon.config.typed_values import build_section
from biascon.errors import UsageError, did_you_mean
from biascon.losses.registry import LossEntry


def make_config(
    loss: str, *, seed: int = 0, preset: str = "cpu", settings: Sequence[str] = ()
) -> RunConfig:
    """Return the configuration of a run: the preset with the given settings.

    Loss parameters in the ``[loss]`` table of the preset that this loss does not have are ignored, so that
    one preset serves every loss. Parameters of ``--set loss.KEY`` must exist.

    Args:
        loss: The name of the loss in the registry.
        seed: The seed, 0 or more.
        preset: The name of a preset, or the path of a TOML file.
        settings: Strings ``section.key=value`` that override the preset.

    Raises:
        UsageError: Keys are unknown (the message lists all of them, with suggestions), or a value has a wrong
            type or is not allowed.
        BiasconError: The preset file cannot be read.
    """
    return _make_config(loss, seed, preset, settings, needs_head=True)


def _make_config(
    loss: str, seed: int, preset: str, settings: Sequence[str], *, needs_head: bool
) -> RunConfig:
    """Return the configuration of ``make_config``.

    Args:
        loss: The name of the loss.
        seed: The seed.
        preset: The preset.
        settings: The settings.
        needs_head: Whether a missing projection head is refused. A configuration that is only compared with
            another one, or only gives its evaluation protocol, may lack the head.
    """
    from biascon.config.method_settings import (
        apply_method_settings,
        check_head,
        mark_dataset_defaults,
    )
    from biascon.losses.loss import canonical_name, default_parameters, get_entry, get_loss
    from biascon.models.encoders import build_on_meta

    loss = canonical_name(loss)
    entry = get_entry(loss)  # refuses an unknown name
    preset_name, preset_tree = load_preset(preset)
    overrides = parse_settings(settings)
    set_by_user = {f"{section}.{key}" for section, values in overrides.items() for key in values}
    if "epochs" in overrides.get("train", {}):
        # A number of epochs that the user sets is not raised to reach the min_steps of the preset.
        overrides["train"].setdefault("min_steps", 0)
    loss_keys = set(default_parameters(loss))
    _check_keys(preset_tree, overrides, loss_keys)
    sections = {
        name: build_section(
            section_type, name, {**preset_tree.get(name, {}), **overrides.get(name, {})}
        )
        for name, section_type in SECTIONS.items()
    }
    _check_protocol_settings(sections["probe"].kind, overrides)
    _check_first_stage_settings(loss, entry, overrides)
    build_on_meta(sections["model"].encoder)  # refuses an unknown name
    parameters = {k: v for k, v in preset_tree.get("loss", {}).items() if k in loss_keys}
    parameters |= overrides.get("loss", {})
    all_parameters = get_loss(loss, **parameters).parameters
    config = RunConfig(
        loss=loss,
        seed=seed,
        preset=preset_name,
        parameters=mark_dataset_defaults(loss, all_parameters, parameters),
        **sections,
    )
    config = apply_method_settings(config, set_by_user)
    if needs_head:
        check_head(config, entry)
    return config


def _check_keys(
    preset_tree: Mapping[str, Any], overrides: Mapping[str, Any], loss_keys: Collection[str]
) -> None:
    """Refuse unknown sections and keys of a preset and of ``--set``.

    An unknown parameter of the loss is listed here only beside other unknown keys. Otherwise ``get_loss``
    refuses it, with the list of the parameters that the loss has.
    """
    unknown = []
    for tree in (preset_tree, overrides):
        for section, values in tree.items():
            if section == "loss" and isinstance(values, dict):
                continue
            if not isinstance(values, dict):
                unknown.append(f"'{section}', which is no table")
            elif section not in SECTIONS:
                unknown.append(f"section '{section}'{did_you_mean(section, [*SECTIONS, 'loss'])}")
            else:
                keys = {
                    field.name
                    for field in dataclasses.fields(SECTIONS[section])
                    if field.metadata.get("is_setting", True)
                }
                unknown += [
                    f"'{section}.{key}'{did_you_mean(key, keys)}"
                    for key in values
                    if key not in keys
                ]
    if unknown:
        unknown += [
            f"'loss.{key}'{did_you_mean(key, loss_keys)}"
            for key in overrides.get("loss", {})
            if key not in loss_keys
        ]
        raise UsageError(f"unknown setting: {', '.join(unknown)}")


def _check_protocol_settings(protocol: str, overrides: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse settings of ``--set`` that the evaluation protocol does not use."""
    unused = [
        f"probe.{key}"
        for key in overrides.get("probe", {})
        if key in ("k", "temperature") and protocol != "knn"
    ]
    unused += [f"finetune.{key}" for key in overrides.get("finetune", {}) if protocol != "finetune"]
    if unused:
        needed = "finetune" if unused[0].startswith("finetune") else "knn"
        raise UsageError(
            f"{', '.join(unused)} would change nothing: the protocol is {protocol}; pass --protocol {needed}"
        )


def _check_first_stage_settings(
    loss: str, entry: LossEntry, overrides: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse settings of ``--set`` for the first-stage network of a method that has none."""
    keys = overrides.get("first_stage", {})
    if keys and entry.first_stage is None:
        names = ", ".join(f"first_stage.{key}" for key in keys)
        raise UsageError(f"{names} would change nothing: '{loss}' has no first-stage network")
    if (
        keys.get("epochs", 0)
        and entry.first_stage is not None
        and entry.first_stage.gives == "losses"
    ):
        raise UsageError(
            f"first_stage.epochs cannot be set: '{loss}' takes the losses of its first-stage network at the "
            "same epoch, so that both have as many epochs; pass --set train.epochs=..."
        )


def with_protocol(
    config: RunConfig,
    *,
    protocol: str | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
) -> RunConfig:
    """Return the configuration that evaluates a trained encoder by another protocol.

    Args:
        config: The configuration of the run that trained the encoder.
        protocol: The evaluation protocol, ``probe.kind``. None takes it from ``settings``, else ``linear``.
        preset: The preset whose [probe] and [finetune] are used. None uses [probe] of ``config``, and
            [finetune] of the preset that ``config`` names, or of ``cpu`` if that preset is a file.
        settings: ``probe.KEY=VALUE`` and ``finetune.KEY=VALUE``.

    Raises:
        UsageError: A setting belongs to the training, is unknown, or has a value that is not allowed.
    """
    overrides = parse_settings(settings)
    training_settings = [
        f"'{section}.{key}'"
        for section, values in overrides.items()
        for key in values
        if section not in ("probe", "finetune")
    ]
    if training_settings:
        raise UsageError(
            "the encoder is trained already: expected --set of probe.* or finetune.*, "
            f"but got {', '.join(training_settings)}"
        )
    base_preset = preset or (config.preset if config.preset in list_presets() else "cpu")
    all_settings = [*settings, *([] if protocol is None else [f"probe.kind={protocol}"])]
    if preset is None:
        probe_settings = [
            f"probe.{key}={getattr(config.probe, key)!r}"
            for key in ("c", "tolerance", "max_iterations")
        ]
        all_settings = probe_settings + all_settings
    evaluation_config = _make_config(config.loss, 0, base_preset, all_settings, needs_head=False)
    return dataclasses.replace(
        config, probe=evaluation_config.probe, finetune=evaluation_config.finetune
    )


def find_overrides(config: RunConfig) -> dict[str, Any]:
    """Return the settings that differ from the preset, by ``section.key``.

    ``probe.kind`` is always included if it is not ``linear``. The other settings are included only for a
    preset that comes with the package, because a preset file may have changed since. ``train.precision`` is
    left out if it is what the preset gives on the device of the training.
    """
    protocol = {} if config.probe.kind == "linear" else {"probe.kind": config.probe.kind}
    if config.preset not in list_presets():
        return protocol
    base = _make_config(config.loss, config.seed, config.preset, (), needs_head=False)
    # Compare under the same protocol: a setting that only one protocol uses is not a difference.
    base = dataclasses.replace(base, probe=dataclasses.replace(base.probe, kind=config.probe.kind))
    if config.train.precision != "auto":  # precision auto of the preset means that of the device
        resolved = base.for_device(config.train.device).train.precision
        base = dataclasses.replace(base, train=dataclasses.replace(base.train, precision=resolved))
    preset_settings, settings = (
        {
            section: {**OMITTED_DEFAULTS.get(section, {}), **tree.get(section, {})}
            for section in SECTIONS
        }
        for tree in (base.as_dict(), config.as_dict())
    )
    changed = {
        f"{section}.{key}": value
        for section in SECTIONS
        for key, value in settings[section].items()
        if key != "kind"
        and (section, key) not in MACHINE_SETTINGS
        and value != preset_settings[section].get(key)
        and not (key == "weights" and _is_resolved(value, preset_settings[section].get(key)))
    }
    if base.model.weights != "none" and config.model.weights == "none":
        changed["model.weights"] = "none"
    return changed | protocol


def _is_resolved(weights: str, preset_weights: str | None) -> bool:
    """Whether ``weights`` is the digest of the pretrained weights that the preset asks for."""
    return preset_weights == PRETRAINED and weights.startswith(f"{PRETRAINED}:")
