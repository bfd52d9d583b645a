"""The commands that compute the runs of an experiment again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from biascon.errors import BiasconError
from biascon.losses.loss import default_parameters
from biascon.report.dataset_parameters import biased_mnist_parameters
from biascon.report.experiments import Experiment
from biascon.runs.identity import RunIdentity

_SOURCE_OPTIONS = {
    "mnist": "",
    "mnist5k": " --source embedded",
    "fashion-mnist": " --source fashion",
    "kmnist": " --source kmnist",
}
# Options of make-bmnist with their defaults, by the name of the parameter in the manifest.
_BMNIST_OPTIONS: dict[str, tuple[str, Any]] = {
    "seed": ("--seed", 0),
    "variant": ("--variant", "rebias"),
    "colour": ("--color", "background"),
    "n_confusing": ("--n-confusing", 9),
    "val_protocol": ("--val-protocol", "held-out"),
    "leftover": ("--leftover", "chunk"),
    "foreground_rho": ("--foreground-rho", None),
    "biased_classes": ("--biased-classes", None),
}
_PROTOCOL_SECTIONS = ("probe.", "finetune.")


def format_repeat_commands(experiment: Experiment) -> str:
    """Return the commands, one a line, for a dataset folder of the same name."""
    identity = experiment.identity
    chosen, dataset = experiment.bias.chosen, experiment.bias.base or identity.dataset
    data = f" --data {shlex.quote(f'data/{dataset}')}"
    if chosen:
        data += f" --bias {shlex.quote(','.join(chosen))}"
    lines = []
    bmnist = biased_mnist_parameters(identity)
    if bmnist is not None and bmnist.source_kind in _SOURCE_OPTIONS:
        source = _SOURCE_OPTIONS[bmnist.source_kind]
        options = _bmnist_options(identity.dataset_parameters)
        lines.append(f"biascon make-bmnist --rho {shlex.quote(bmnist.rho)}{options}{source}")
    for runs in experiment.losses.values():
        loss_identity = runs[0].evaluation.identity
        if "origin" in loss_identity.config:
            # The encoder was trained on another dataset.
            encoders = [run.evaluation.encoder_from for run in runs]
            options = "".join(
                f" --run {shlex.quote(f'runs/{e.run}')}" for e in encoders if e is not None
            )
            protocol = {
                key: value
                for key, value in identity.overrides.items()
                if key.startswith(_PROTOCOL_SECTIONS)
            }
            lines.append(f"biascon evaluate{options}{data}{_set_options(protocol)}")
        else:
            seeds = ",".join(str(run.seed) for run in runs)
            lines.append(
                f"biascon evaluate --loss {shlex.quote(loss_identity.loss)} --seeds {seeds}"
                f" --preset {shlex.quote(identity.preset)}{data}{_training_options(loss_identity)}"
            )
    return "\n".join([*lines, "biascon report"])


def _bmnist_options(parameters: Mapping[str, Any]) -> str:
    """Return the options of make-bmnist that differ from their defaults."""
    return "".join(
        f" {option} {shlex.quote(_format_option(parameters[name]))}"
        for name, (option, default) in _BMNIST_OPTIONS.items()
        if parameters.get(name, default) != default
    )


def _format_option(value: Any) -> str:
    """Return a parameter as the text of its option; the items of a list are separated by commas."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _training_options(identity: RunIdentity) -> str:
    """Return the options that set the recipe and the parameters of the loss."""
    settings, weights = dict(identity.overrides), ""
    kind, has_digest, _ = str(settings.get("model.weights", "")).partition(":")
    if has_digest and kind == "pretrained":
        settings["model.weights"] = "pretrained"
    elif has_digest and kind == "file":
        # The digest identifies the file, and does not tell where it lies.
        del settings["model.weights"]
        weights = " --weights FILE"
    parameters = {f"loss.{name}": value for name, value in _changed_parameters(identity).items()}
    return _set_options(settings) + _set_options(parameters) + weights


def _changed_parameters(identity: RunIdentity) -> Mapping[str, Any]:
    """Return the parameters of the loss that differ from their defaults; all if the loss is not installed."""
    try:
        defaults = default_parameters(identity.loss, identity.parameters)
    except BiasconError:
        return identity.parameters
    return {k: v for k, v in identity.parameters.items() if defaults.get(k, v) != v}


def _set_options(settings: Mapping[str, Any]) -> str:
    """Return ``--set section.key=value`` for each setting."""
    return "".join(
        f" --set {shlex.quote(f'{key}={_format_value(value)}')}" for key, value in settings.items()
    )


def _format_value(value: Any) -> str:
    """Return a value as ``--set`` reads it: text as it is, anything else as TOML, which JSON agrees with."""
    return value if isinstance(value, str) else json.dumps(value)
