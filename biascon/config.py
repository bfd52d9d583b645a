"""RunConfig: every number of a run, from a preset (TOML) and ``--set section.key=value``.

An unknown key is an error, all wrong keys at once. The digest of a run covers its configuration and
the dataset's digest, so that two runs with one digest are the same run.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from biascon.errors import UsageError, did_you_mean
from biascon.files import digest_of
from biascon.recipe import Recipe
from biascon.settings import load_preset, parse_settings, presets

RECIPE_VERSION = 3  # raised when the same configuration would train other weights


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Recipe):
    """The recipe of a view, and how many views an image has."""

    views: int = 2


@dataclass(frozen=True)
class ModelConfig:
    """The encoder's name and the widths of the projection head."""

    encoder: str = "fastconvnet"
    head: tuple[int, ...] = (128, 128)


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW or SGD with momentum 0.9; ``warmup`` is a share of all steps."""

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup: float = 0.1


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, precision and CPU threads.

    Attributes:
        epochs: Passes over the training split; more where they would be fewer than ``min_steps``.
        min_steps: The least number of steps, so that a small dataset is trained enough; 0 where
            ``epochs`` is set by hand.
        batch_size: Images a step.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on CUDA, else float32.
        threads: CPU threads; the last bits of a result depend on it.
        processes: How many train the network together (``biascon.parallel``); a result depends on it in
            its last bits and, on the CPU, by batch norm. The launcher decides.
        micro_batch: Images whose activations are held at a time, 0 for the whole batch. The loss stays that
            of the whole batch; batch norm sees a part of it.
        compile: Whether the network is compiled (``torch.compile``): faster after a slow first step.
        probe_every: After how many epochs a linear probe is fitted and measured on validation, to show how
            fast a loss learns; 0 is never. It changes nothing in the training.
    """

    epochs: int = 4
    min_steps: int = 0
    batch_size: int = 256
    precision: str = "auto"
    threads: int = 2
    processes: int = 1
    micro_batch: int = 0
    compile: bool = False
    probe_every: int = 0

    def epochs_for(self, n: int) -> int:
        """Return how many epochs a training split of ``n`` images gets; 0 if it is below one batch."""
        steps = n // self.batch_size
        return max(self.epochs, math.ceil(self.min_steps / steps)) if steps else 0


@dataclass(frozen=True)
class ProbeConfig:
    """The linear probe: inverse L2 strength C on standardised features, and when to stop."""

    c: float = 1.0
    tolerance: float = 1e-6
    max_iterations: int = 1000


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "augment": AugmentConfig,
    "optimiser": OptimiserConfig,
    "train": TrainConfig,
    "probe": ProbeConfig,
}


@dataclass(frozen=True)
class RunConfig:
    """One run: a loss and a seed under a preset.

    Attributes:
        loss: The registry's name.
        seed: Decides weights, order and views, each by its own purpose.
        preset: Where the numbers came from.
        parameters: The loss's parameters, defaults included.
    """

    loss: str
    seed: int = 0
    preset: str = "cpu"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    train: TrainConfig = TrainConfig()
    probe: ProbeConfig = ProbeConfig()

    def __post_init__(self) -> None:
        a, o, t, p = self.augment, self.optimiser, self.train, self.probe
        head = list(self.model.head)
        checks = [
            (bool(head) and min(head, default=0) >= 1, "model.head", head, "widths of 1 or more"),
            (self.seed >= 0, "seed", self.seed, "0 or more"),
            (a.views >= 1, "augment.views", a.views, "1 or more"),
            (o.name in OPTIMISERS, "optimiser.name", o.name, f"one of {', '.join(OPTIMISERS)}"),
            (0 < o.lr < math.inf, "optimiser.lr", o.lr, "above 0"),
            (0 <= o.weight_decay < math.inf, "optimiser.weight_decay", o.weight_decay, "0 or more"),
            (
                o.schedule in SCHEDULES,
                "optimiser.schedule",
                o.schedule,
                f"one of {', '.join(SCHEDULES)}",
            ),
            (0 <= o.warmup <= 1, "optimiser.warmup", o.warmup, "in 0..1"),
            (t.epochs >= 1, "train.epochs", t.epochs, "1 or more"),
            (t.min_steps >= 0, "train.min_steps", t.min_steps, "0 or more"),
            (t.batch_size >= 2, "train.batch_size", t.batch_size, "2 or more"),
            (
                t.precision in PRECISIONS,
                "train.precision",
                t.precision,
                f"one of {', '.join(PRECISIONS)}",
            ),
            (t.threads >= 1, "train.threads", t.threads, "1 or more"),
            (t.processes >= 1, "train.processes", t.processes, "1 or more"),
            (t.micro_batch >= 0, "train.micro_batch", t.micro_batch, "0 or more"),
            (t.probe_every >= 0, "train.probe_every", t.probe_every, "0 or more"),
            (0 < p.c < math.inf, "probe.c", p.c, "above 0"),
            (0 < p.tolerance < math.inf, "probe.tolerance", p.tolerance, "above 0"),
            (p.max_iterations >= 1, "probe.max_iterations", p.max_iterations, "1 or more"),
        ]
        wrong = [f"{key} to be {want}, but got {got}" for ok, key, got, want in checks if not ok]
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

    def changes(self) -> list[str]:
        """Return the settings that differ from the packaged preset, as ``section.key=value``."""
        if self.preset not in presets():
            return []
        base = make_config(self.loss, seed=self.seed, preset=self.preset).as_dict()
        mine = self.as_dict()
        return [
            f"{section}.{key}={value}"
            for section in SECTIONS
            for key, value in mine[section].items()
            if value != base[section].get(key) and (section, key, value) not in _RESOLVED
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data (tuples as lists), in the order of the sections."""
        flat = {"loss": self.loss, "seed": self.seed, "preset": self.preset}
        sections = {name: _plain(dataclasses.asdict(getattr(self, name))) for name in SECTIONS}
        for key, usual in _UNSAID.items():
            if sections["train"][key] == usual:
                del sections["train"][key]
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
}  # of [train]: only said where not so
_RESOLVED = (("train", "precision", "float32"), ("train", "precision", "bfloat16"))
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant", "thirds")
PRECISIONS = ("auto", "float32", "bfloat16")


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
    from biascon.encoders import design
    from biascon.losses import entry, get_loss, parameters_of

    entry(loss)
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
            keys = {f.name for f in dataclasses.fields(known)}
            wrong += [f"'{section}.{k}'{did_you_mean(k, keys)}" for k in values if k not in keys]
    free = parameters_of(loss)
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
    design(sections["model"].encoder)  # refuses an unknown name
    resolved = get_loss(loss, **parameters).parameters
    return RunConfig(loss=loss, seed=seed, preset=name, parameters=resolved, **sections)


def own_parameters(config: RunConfig) -> dict[str, Any]:
    """Return the parameters of a run's loss without those that its name fixes."""
    from biascon.losses import entry

    return {k: v for k, v in config.parameters.items() if k not in entry(config.loss).fixed}


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
