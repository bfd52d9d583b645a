"""RunConfig: every number of a run, from a preset (TOML) and ``--set section.key=value``.

An unknown key is an error, all wrong keys at once. The digest of a run covers its configuration and
the dataset's digest, so that two runs with one digest are the same run.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
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
RECIPE_VERSION = 4  # raised when the same configuration would train other weights


@dataclass(frozen=True)
class RunConfig:
    """One run: a loss and a seed under a preset.

    Attributes:
        loss: The registry's name.
        seed: Decides weights, order and views, each by its own purpose.
        preset: Where the numbers came from.
        parameters: The loss's parameters, defaults included.
        origin: Where the encoder comes from, if from another dataset; this run then only judges it.
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
        wrong = validation_errors(
            self.model, self.augment, self.optimizer, self.train, self.probe, self.finetune
        )
        if self.seed < 0:
            wrong = [f"seed to be 0 or more, but got {self.seed}", *wrong]
        if wrong:
            raise UsageError(f"expected {'; '.join(wrong)}")

    def for_device(self, device_type: str, processes: int = 1) -> RunConfig:
        """Return this configuration with what the machine decides, so that the digest says it.

        Precision ``auto`` is resolved; of several processes their number is set.
        """
        train = self.train
        if train.precision == "auto":
            precision = "bfloat16" if device_type == "cuda" else "float32"
            train = dataclasses.replace(train, precision=precision)
        if processes > 1:
            train = dataclasses.replace(train, processes=processes)
        return dataclasses.replace(self, train=train)

    def training_config(self) -> RunConfig:
        """Return the run that trains this one's encoder: itself, judged by the linear probe."""
        plain = ProbeConfig()
        probe = dataclasses.replace(
            self.probe, kind=plain.kind, k=plain.k, temperature=plain.temperature
        )
        return dataclasses.replace(self, probe=probe, finetune=FinetuneConfig())

    def overrides(self) -> dict[str, Any]:
        """Return the settings that differ from the packaged preset, by ``section.key``.

        ``probe.kind`` is always among them if it is not ``linear``. For a preset that is a file, it is the
        only one.
        """
        protocol = {} if self.probe.kind == "linear" else {"probe.kind": self.probe.kind}
        if self.preset not in list_presets():
            return protocol
        base = make_config(self.loss, seed=self.seed, preset=self.preset)
        # A setting that only one of the two protocols uses is no difference.
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
            and (section, key, value) not in _RESOLVED
            and not (key == "weights" and _same_weights(value, preset_settings[section].get(key)))
        }
        if base.model.weights != "none" and self.model.weights == "none":
            changed["model.weights"] = "none"
        return changed | protocol

    def as_dict(self) -> dict[str, Any]:
        """Return plain data (tuples as lists), in the order of the sections.

        What is not used is not said, so that what is new here leaves the digests of runs without it alone.
        """
        flat = {"loss": self.loss, "seed": self.seed, "preset": self.preset}
        sections = {name: _plain(dataclasses.asdict(getattr(self, name))) for name in SECTIONS}
        for key, usual in _UNSAID.items():
            if sections["train"][key] == usual:
                del sections["train"][key]
        del sections["model"]["file"]
        if self.model.weights == "none":
            del sections["model"]["weights"]
        kind = self.probe.kind
        for key in {"linear": ("kind", "k", "temperature"), "finetune": ("k", "temperature")}.get(
            kind, ()
        ):
            del sections["probe"][key]
        if kind != "finetune":
            del sections["finetune"]
        if self.origin is not None:
            sections["origin"] = dataclasses.asdict(self.origin)
        return {**flat, "parameters": _plain(dict(self.parameters)), **sections}

    def digest(self, dataset_digest: str) -> str:
        """Return the SHA-256 that names this run on that dataset."""
        return digest_of(
            {"config": self.as_dict(), "dataset": dataset_digest, "recipe": RECIPE_VERSION}
        )


_UNSAID = {
    "processes": 1,
    "micro_batch": 0,
    "compile": False,
    "probe_every": 0,
    "record_losses": False,
}  # of [train]: only said where not so
_RESOLVED = (("train", "precision", "float32"), ("train", "precision", "bfloat16"))


def _same_weights(weights: str, preset_weights: str | None) -> bool:
    """Whether the preset asks for the weights of torchvision and the run has them."""
    return preset_weights == PRETRAINED and weights.startswith(f"{PRETRAINED}:")


def make_config(
    loss: str, *, seed: int = 0, preset: str = "cpu", settings: Sequence[str] = ()
) -> RunConfig:
    """Resolve a run's configuration.

    Loss parameters of the preset's ``[loss]`` table that this loss does not have are left out, so
    that one preset serves every loss; those of ``--set loss.KEY`` must fit it.

    Args:
        loss: The registry's name.
        seed: 0 or more.
        preset: A preset's name, or the path of a TOML file.
        settings: ``section.key=value`` strings that override the preset.

    Raises:
        UsageError: Unknown keys (all at once, with suggestions) or values of the wrong kind.
    """
    from biascon.losses.loss import default_parameters, get_entry, get_loss
    from biascon.models.encoders import build_on_meta

    get_entry(loss)
    name, tree = load_preset(preset)
    override = parse_settings(settings)
    if "epochs" in override.get("train", {}):
        override["train"].setdefault("min_steps", 0)  # who asks for three epochs gets three
    wrong = []
    for part in (tree, override):
        for section, values in part.items():
            if section == "loss" and isinstance(values, dict):
                continue
            known = SECTIONS.get(section)
            if not isinstance(values, dict):
                wrong.append(f"'{section}', which is no table")
                continue
            if known is None:
                wrong.append(f"section '{section}'{did_you_mean(section, [*SECTIONS, 'loss'])}")
                continue
            keys = {f.name for f in dataclasses.fields(known) if f.metadata.get("said", True)}
            wrong += [f"'{section}.{k}'{did_you_mean(k, keys)}" for k in values if k not in keys]
    free = default_parameters(loss)
    if wrong:  # a wrong parameter of the loss alone is told by the loss, with those that it has
        asked = override.get("loss", {})
        wrong += [f"'loss.{k}'{did_you_mean(k, free)}" for k in asked if k not in free]
        raise UsageError(f"unknown setting: {', '.join(wrong)}")
    parameters = {k: v for k, v in tree.get("loss", {}).items() if k in free}
    parameters |= override.get("loss", {})
    sections = {
        section: _build(known, section, {**tree.get(section, {}), **override.get(section, {})})
        for section, known in SECTIONS.items()
    }
    kind = sections["probe"].kind
    unused = [
        f"probe.{k}"
        for k in override.get("probe", {})
        if k in ("k", "temperature") and kind != "knn"
    ]
    unused += [f"finetune.{k}" for k in override.get("finetune", {}) if kind != "finetune"]
    if unused:
        protocol = "finetune" if unused[0].startswith("finetune") else "knn"
        raise UsageError(
            f"{', '.join(unused)} would change nothing: the protocol is {kind}; pass --protocol {protocol}"
        )
    build_on_meta(sections["model"].encoder)  # refuses an unknown name
    resolved = get_loss(loss, **parameters).parameters
    return RunConfig(loss=loss, seed=seed, preset=name, parameters=resolved, **sections)


def read_config(tree: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that a run's ``config.toml`` says, as it is.

    Raises:
        KeyError: A section is missing.
        TypeError: A key is unknown, or missing.
        UsageError: A value is not allowed.
    """
    flat = {key: tree[key] for key in ("loss", "seed", "preset", "parameters")}
    sections = {
        name: _build(known, name, tree[name] if name != "finetune" else tree.get(name, {}))
        for name, known in SECTIONS.items()
    }
    origin = EncoderOrigin(**tree["origin"]) if "origin" in tree else None
    unknown = set(tree) - {*flat, *SECTIONS, "origin"}
    if unknown:
        raise KeyError(f"unknown: {sorted(unknown)}")
    return RunConfig(**flat, **sections, origin=origin)


def with_protocol(
    config: RunConfig,
    *,
    protocol: str | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
) -> RunConfig:
    """Return the configuration of an encoder that is there, judged otherwise.

    Args:
        config: Of the run that trained it.
        protocol: ``probe.kind``; None is what ``settings`` say, or ``linear``.
        preset: Whose [probe] and [finetune] are taken; None is the run's own [probe], and [finetune] of the
            preset that it names, where that comes with the package.
        settings: ``probe.KEY=VALUE`` and ``finetune.KEY=VALUE``.

    Raises:
        UsageError: A setting of the training, which is over, or a wrong one.
    """
    asked = parse_settings(settings)
    over = [f"'{section}.{key}'" for section in asked for key in asked[section]
            if section not in ("probe", "finetune")]  # fmt: skip
    if over:
        raise UsageError(
            "the encoder is trained already: expected --set of probe.* or finetune.*, "
            f"but got {', '.join(over)}"
        )
    base = preset or (config.preset if config.preset in list_presets() else "cpu")
    given = [*settings, *([] if protocol is None else [f"probe.kind={protocol}"])]
    if preset is None:
        own = config.probe
        given = [
            f"probe.{key}={getattr(own, key)!r}" for key in ("c", "tolerance", "max_iterations")
        ] + given
    found = make_config(config.loss, preset=base, settings=given)
    return dataclasses.replace(config, probe=found.probe, finetune=found.finetune)


def free_loss_parameters(config: RunConfig) -> dict[str, Any]:
    """Return the parameters of a run's loss without those that its name fixes."""
    from biascon.losses.loss import get_entry

    return {k: v for k, v in config.parameters.items() if k not in get_entry(config.loss).fixed}


def _build(kind: type, section: str, values: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(**{k: _coerce(hints[k], v, f"{section}.{k}") for k, v in values.items()})


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """Fit a TOML value to a field's type, or say what was expected."""
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"expected {where} to be a list, but got {value!r}")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise UsageError(f"expected {where} to have {len(inner)} values, but got {value!r}")
        return tuple(_coerce(inner[0], item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"expected {where} to be of type {hint.__name__}, but got {value!r}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, (dict, types.MappingProxyType)):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
