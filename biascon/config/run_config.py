"""RunConfig: every setting of a run, from a preset (TOML) and ``--set section.key=value``.

Unknown keys are an error that lists all of them. The digest of a run covers its configuration and the
digest of its dataset. Two runs with the same digest are the same run.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from biascon.config.limits import MAX_SEED
from biascon.config.sections import (
    FILE,
    PRETRAINED,
    SECTIONS,
    TF32,
    AugmentConfig,
    EncoderOrigin,
    FinetuneConfig,
    FirstStageConfig,
    ModelConfig,
    OptimizerConfig,
    ProbeConfig,
    TrainConfig,
    validation_errors,
)
from biascon.config.typed_values import build_section, check_types
from biascon.errors import UsageError
from biascon.utils.files import digest_of
from biascon.utils.text import show_value

__all__ = [
    "FILE",
    "PRETRAINED",
    "SECTIONS",
    "AugmentConfig",
    "EncoderOrigin",
    "FinetuneConfig",
    "FirstStageConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ProbeConfig",
    "RunConfig",
    "TrainConfig",
    "read_config",
]  # fmt: skip
# Increased when a release trains other weights from the same configuration.
RECIPE_VERSION = 6


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
        first_stage: The first-stage network, for a method that has one.
        probe: The evaluation protocol and the linear probe.
        finetune: The settings of fine-tuning.
        origin: The run that trained the encoder on another dataset. This run then evaluates that encoder.
            None if the encoder is trained on the dataset of this run.
        preset_values: The values of the preset that the method replaces by its own, by ``section.key``.
    """

    loss: str
    seed: int = 0
    preset: str = "cpu"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    first_stage: FirstStageConfig = field(default_factory=FirstStageConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    origin: EncoderOrigin | None = None
    preset_values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in SECTIONS:
            check_types(name, getattr(self, name))
        errors = validation_errors(
            self.model,
            self.augment,
            self.optimizer,
            self.train,
            self.first_stage,
            self.probe,
            self.finetune,
        )
        if type(self.seed) is not int:
            raise UsageError(f"expected seed to be an integer, but got {show_value(self.seed)}")
        if not 0 <= self.seed <= MAX_SEED:
            expected = "0 or more" if self.seed < 0 else f"at most {MAX_SEED}"
            errors = [f"seed to be {expected}, but got {show_value(self.seed)}", *errors]
        if errors:
            raise UsageError(f"expected {'; '.join(errors)}")

    def for_device(self, device_type: str, processes: int = 1) -> RunConfig:
        """Return this configuration with the settings that depend on the machine.

        The kind of the device is set. Precision ``auto`` becomes the precision of the device. ``tf32`` gets
        its default where it has no effect. The number of processes is set if it is above 1. All of these
        are part of the digest.

        Args:
            device_type: The type of the device, such as ``cpu`` or ``cuda``.
            processes: The number of processes that train the network together.
        """
        train = dataclasses.replace(self.train, device=device_type)
        if device_type != "cuda":
            train = dataclasses.replace(train, tf32=TF32[0])
        if train.precision == "auto":
            precision = "bfloat16" if device_type == "cuda" else "float32"
            train = dataclasses.replace(train, precision=precision)
        if processes > 1:
            train = dataclasses.replace(train, processes=processes)
        return dataclasses.replace(self, train=train)

    def for_evaluation(self, device_type: str) -> RunConfig:
        """Return the configuration that evaluates a trained encoder on a device.

        The run that trained the encoder keeps its kind of device. Another kind for the evaluation is part of
        the digest.

        Args:
            device_type: The type of the device, such as ``cpu`` or ``cuda``.
        """
        other = "" if device_type == self.train.device else device_type
        return dataclasses.replace(self, probe=dataclasses.replace(self.probe, device=other))

    def training_config(self) -> RunConfig:
        """Return the configuration of the run that trains the encoder of this run.

        It has the same settings, and the linear probe as its evaluation protocol.
        """
        default = ProbeConfig()
        probe = dataclasses.replace(
            self.probe,
            kind=default.kind,
            k=default.k,
            temperature=default.temperature,
            device=default.device,
        )
        return dataclasses.replace(self, probe=probe, finetune=FinetuneConfig())

    def with_values(self, values: Mapping[str, Any]) -> RunConfig:
        """Return this configuration with other values of settings.

        Args:
            values: The values by ``section.key``.
        """
        sections: dict[str, Any] = {}
        for name, value in values.items():
            section, _, key = name.partition(".")
            previous = sections.get(section, getattr(self, section))
            sections[section] = dataclasses.replace(
                previous, **{key: tuple(value) if isinstance(value, list) else value}
            )
        return dataclasses.replace(self, **sections)

    @property
    def method_settings(self) -> dict[str, Any]:
        """The settings whose value comes from the method instead of the preset, by ``section.key``."""
        return {name: self.plain_value(name) for name in self.preset_values}

    def plain_value(self, name: str) -> Any:
        """Return the value of the setting ``section.key`` as plain data."""
        section, _, key = name.partition(".")
        return _to_plain_data(getattr(getattr(self, section), key))

    def without_method_settings(self) -> RunConfig:
        """Return this configuration with the values of the preset in place of those of the method."""
        return dataclasses.replace(self.with_values(self.preset_values), preset_values={})

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as plain data (tuples as lists), in the order of the sections.

        Settings that have no effect are omitted, so adding a new option does not change the digests of
        existing runs.
        """
        names = {"loss": self.loss, "seed": self.seed, "preset": self.preset}
        sections = {
            name: _to_plain_data(dataclasses.asdict(getattr(self, name))) for name in SECTIONS
        }
        for section, defaults in OMITTED_DEFAULTS.items():
            for key, default in defaults.items():
                if sections[section][key] == default:
                    del sections[section][key]
        if not sections["first_stage"]:
            del sections["first_stage"]
        del sections["model"]["file"]
        if self.model.weights == "none":
            del sections["model"]["weights"]
        for key in _UNUSED_PROBE_KEYS[self.probe.kind]:
            del sections["probe"][key]
        if self.probe.kind != "finetune":
            del sections["finetune"]
        if self.origin is not None:
            sections["origin"] = dataclasses.asdict(self.origin)
        if self.preset_values:
            sections["preset_values"] = _to_plain_data(dict(self.preset_values))
        return {**names, "parameters": _to_plain_data(dict(self.parameters)), **sections}

    def digest(self, dataset_digest: str) -> str:
        """Return the SHA-256 that identifies this run on a dataset.

        Args:
            dataset_digest: The digest of the dataset.
        """
        return digest_of(
            {"config": self.as_dict(), "dataset": dataset_digest, "recipe": RECIPE_VERSION}
        )


# Settings that are left out of a configuration at these values, so that new settings change no digest.
OMITTED_DEFAULTS: dict[str, dict[str, Any]] = {
    "augment": {"plain_classifier": False},
    "train": {
        "processes": 1,
        "micro_batch": 0,
        "compile": False,
        "probe_every": 0,
        "deterministic": False,
        "tf32": TF32[0],
        "device": "cpu",
        "record_losses": False,
        "held_out": 0.0,
    },
    "first_stage": {"augment": "auto", "epochs": 0},
    "probe": {"device": ""},
}
# Settings of the machine, which no command line states.
MACHINE_SETTINGS = (("train", "device"), ("probe", "device"))
_OPTIONAL_SECTIONS = ("finetune", "first_stage")
_UNUSED_PROBE_KEYS = {
    "linear": ("kind", "k", "temperature"),
    "knn": (),
    "finetune": ("k", "temperature"),
}


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
        name: build_section(
            section_type, name, tree.get(name, {}) if name in _OPTIONAL_SECTIONS else tree[name]
        )
        for name, section_type in SECTIONS.items()
    }
    origin = EncoderOrigin(**tree["origin"]) if "origin" in tree else None
    unknown = set(tree) - {*names, *SECTIONS, "origin", "preset_values"}
    if unknown:
        raise KeyError(f"unknown: {sorted(unknown)}")
    preset_values = tree.get("preset_values", {})
    return RunConfig(**names, **sections, origin=origin, preset_values=preset_values)


def _to_plain_data(value: Any) -> Any:
    """Return a value with mappings as dictionaries and tuples as lists."""
    if isinstance(value, (dict, types.MappingProxyType)):
        return {key: _to_plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain_data(item) for item in value]
    return value
