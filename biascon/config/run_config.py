"""RunConfig: every setting of a run, from a preset (TOML) and ``--set section.key=value``.

Unknown keys are an error that lists all of them. The digest of a run covers its configuration and the
digest of its dataset. Two runs with the same digest are the same run.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from biascon.config.sections import (
    FILE,
    PRETRAINED,
    SECTIONS,
    AugmentConfig,
    EncoderOrigin,
    FinetuneConfig,
    ModelConfig,
    OptimizerConfig,
    ProbeConfig,
    TrainConfig,
    validation_errors,
)
from biascon.config.settings import list_presets, load_preset, parse_settings
from biascon.errors import UsageError, did_you_mean
from biascon.utils.files import digest_of

__all__ = [
    "FILE",
    "PRETRAINED",
    "SECTIONS",
    "AugmentConfig",
    "EncoderOrigin",
    "FinetuneConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ProbeConfig",
    "RunConfig",
    "TrainConfig",
    "free_loss_parameters",
    "make_config",
    "read_config",
    "with_protocol",
]  # fmt: skip
# Increased when a release trains other weights from the same configuration.
RECIPE_VERSION = 4


@dataclass(frozen=True)
class RunConfig:
    """The configuration of one run: a loss, a seed and every setting.

    Attributes:
        loss: The name of the loss in the registry.
        seed: The seed of initial weights, order of images and views. Each has its own random generator.
        preset: The name of the preset that the settings start from.
        parameters: All parameters of the loss, including those at their defaults.
        model: The encoder and the projection head.
        augment: The augmentation.
        optimizer: The optimizer of the training.
        train: Length, batch and precision of the training.
        probe: The evaluation protocol and the linear probe.
        finetune: The settings of fine-tuning.
        origin: The run that trained the encoder on another dataset. This run then evaluates that encoder.
            None if the encoder is trained on the dataset of this run.
    """

    loss: str
    seed: int = 0
    preset: str = "cpu"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    origin: EncoderOrigin | None = None

    def __post_init__(self) -> None:
        errors = validation_errors(
            self.model, self.augment, self.optimizer, self.train, self.probe, self.finetune
        )
        if self.seed < 0:
            errors = [f"seed to be 0 or more, but got {self.seed}", *errors]
        if errors:
            raise UsageError(f"expected {'; '.join(errors)}")

    def for_device(self, device_type: str, processes: int = 1) -> RunConfig:
        """Return this configuration with the settings that depend on the machine.

        Precision ``auto`` becomes the precision of the device. The number of processes is set if it is
        above 1. Both are then part of the digest.

        Args:
            device_type: The type of the device, such as ``cpu`` or ``cuda``.
            processes: The number of processes that train the network together.
        """
        train = self.train
        if train.precision == "auto":
            precision = "bfloat16" if device_type == "cuda" else "float32"
            train = dataclasses.replace(train, precision=precision)
        if processes > 1:
            train = dataclasses.replace(train, processes=processes)
        return dataclasses.replace(self, train=train)

    def training_config(self) -> RunConfig:
        """Return the configuration of the run that trains the encoder of this run.

        It has the same settings, and the linear probe as its evaluation protocol.
        """
        default = ProbeConfig()
        probe = dataclasses.replace(
            self.probe, kind=default.kind, k=default.k, temperature=default.temperature
        )
        return dataclasses.replace(self, probe=probe, finetune=FinetuneConfig())

    def overrides(self) -> dict[str, Any]:
        """Return the settings that differ from the preset, by ``section.key``.

        ``probe.kind`` is always included if it is not ``linear``. The other settings are included only for a
        preset that comes with the package, because a preset file may have changed since.
        """
        protocol = {} if self.probe.kind == "linear" else {"probe.kind": self.probe.kind}
        if self.preset not in list_presets():
            return protocol
        base = make_config(self.loss, seed=self.seed, preset=self.preset)
        # Compare under the same protocol: a setting that only one protocol uses is not a difference.
        base = dataclasses.replace(
            base, probe=dataclasses.replace(base.probe, kind=self.probe.kind)
        )
        preset_settings, settings = base.as_dict(), self.as_dict()
        changed = {
            f"{section}.{key}": value
            for section in SECTIONS
            for key, value in settings.get(section, {}).items()
            if key != "kind"
            and value != preset_settings[section].get(key)
            and (section, key, value) not in _RESOLVED_PRECISIONS
            and not (key == "weights" and _is_resolved(value, preset_settings[section].get(key)))
        }
        if base.model.weights != "none" and self.model.weights == "none":
            changed["model.weights"] = "none"
        return changed | protocol

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as plain data (tuples as lists), in the order of the sections.

        Settings that have no effect are omitted, so adding a new option does not change the digests of
        existing runs.
        """
        names = {"loss": self.loss, "seed": self.seed, "preset": self.preset}
        sections = {
            name: _to_plain_data(dataclasses.asdict(getattr(self, name))) for name in SECTIONS
        }
        for key, default in _OMITTED_TRAIN_DEFAULTS.items():
            if sections["train"][key] == default:
                del sections["train"][key]
        del sections["model"]["file"]
        if self.model.weights == "none":
            del sections["model"]["weights"]
        for key in _UNUSED_PROBE_KEYS[self.probe.kind]:
            del sections["probe"][key]
        if self.probe.kind != "finetune":
            del sections["finetune"]
        if self.origin is not None:
            sections["origin"] = dataclasses.asdict(self.origin)
        return {**names, "parameters": _to_plain_data(dict(self.parameters)), **sections}

    def digest(self, dataset_digest: str) -> str:
        """Return the SHA-256 that identifies this run on a dataset.

        Args:
            dataset_digest: The digest of the dataset.
        """
        return digest_of(
            {"config": self.as_dict(), "dataset": dataset_digest, "recipe": RECIPE_VERSION}
        )


_OMITTED_TRAIN_DEFAULTS = {
    "processes": 1,
    "micro_batch": 0,
    "compile": False,
    "probe_every": 0,
    "record_losses": False,
}
_UNUSED_PROBE_KEYS = {
    "linear": ("kind", "k", "temperature"),
    "knn": (),
    "finetune": ("k", "temperature"),
}
_RESOLVED_PRECISIONS = (("train", "precision", "float32"), ("train", "precision", "bfloat16"))


def _is_resolved(weights: str, preset_weights: str | None) -> bool:
    """Whether ``weights`` is the digest of the pretrained weights that the preset asks for."""
    return preset_weights == PRETRAINED and weights.startswith(f"{PRETRAINED}:")


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
    from biascon.losses.loss import default_parameters, get_entry, get_loss
    from biascon.models.encoders import build_on_meta

    get_entry(loss)  # refuses an unknown name
    preset_name, preset_tree = load_preset(preset)
    overrides = parse_settings(settings)
    if "epochs" in overrides.get("train", {}):
        # A number of epochs that the user sets is not raised to reach the min_steps of the preset.
        overrides["train"].setdefault("min_steps", 0)
    loss_keys = set(default_parameters(loss))
    _check_keys(preset_tree, overrides, loss_keys)
    sections = {
        name: _build(section_type, name, {**preset_tree.get(name, {}), **overrides.get(name, {})})
        for name, section_type in SECTIONS.items()
    }
    _check_protocol_settings(sections["probe"].kind, overrides)
    build_on_meta(sections["model"].encoder)  # refuses an unknown name
    parameters = {k: v for k, v in preset_tree.get("loss", {}).items() if k in loss_keys}
    parameters |= overrides.get("loss", {})
    all_parameters = get_loss(loss, **parameters).parameters
    return RunConfig(
        loss=loss, seed=seed, preset=preset_name, parameters=all_parameters, **sections
    )


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


def read_config(tree: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that the ``config.toml`` of a run holds.

    Args:
        tree: The parsed file.

    Raises:
        KeyError: A section is missing or unknown.
        TypeError: A key of a section is missing or unknown.
        UsageError: A value is not allowed.
    """
    names = {key: tree[key] for key in ("loss", "seed", "preset", "parameters")}
    sections = {
        name: _build(section_type, name, tree[name] if name != "finetune" else tree.get(name, {}))
        for name, section_type in SECTIONS.items()
    }
    origin = EncoderOrigin(**tree["origin"]) if "origin" in tree else None
    unknown = set(tree) - {*names, *SECTIONS, "origin"}
    if unknown:
        raise KeyError(f"unknown: {sorted(unknown)}")
    return RunConfig(**names, **sections, origin=origin)


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
    evaluation_config = make_config(config.loss, preset=base_preset, settings=all_settings)
    return dataclasses.replace(
        config, probe=evaluation_config.probe, finetune=evaluation_config.finetune
    )


def free_loss_parameters(config: RunConfig) -> dict[str, Any]:
    """Return the parameters of the loss of a run, without those that the name of the loss fixes."""
    from biascon.losses.loss import get_entry

    return {k: v for k, v in config.parameters.items() if k not in get_entry(config.loss).fixed}


def _build(section_type: type, section: str, values: Mapping[str, Any]) -> Any:
    """Return a section of the given type with the values of a TOML table."""
    hints = typing.get_type_hints(section_type)
    return section_type(
        **{key: _coerce(hints[key], value, f"{section}.{key}") for key, value in values.items()}
    )


def _coerce(hint: Any, value: Any, setting: str) -> Any:
    """Convert a TOML value to the type of a field.

    Raises:
        UsageError: The value has another type.
    """
    if typing.get_origin(hint) is tuple:
        item_types = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"expected {setting} to be a list, but got {value!r}")
        if item_types[-1] is not Ellipsis and len(value) != len(item_types):
            raise UsageError(
                f"expected {setting} to have {len(item_types)} values, but got {value!r}"
            )
        return tuple(_coerce(item_types[0], item, setting) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"expected {setting} to be of type {hint.__name__}, but got {value!r}")
    return value


def _to_plain_data(value: Any) -> Any:
    """Return a value with mappings as dictionaries and tuples as lists."""
    if isinstance(value, (dict, types.MappingProxyType)):
        return {key: _to_plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain_data(item) for item in value]
    return value
