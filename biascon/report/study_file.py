"""The study file that gives the search of a study again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from biascon.errors import BiasconError
from biascon.losses.loss import default_parameters, get_entry
from biascon.studies.resplits import confirm_datasets

# The parameters that every method searches unless its space says otherwise.
_TEMPERATURE = "temperature"
_SHARED = (
    "optimizer.lr", "optimizer.weight_decay", "train.batch_size", "train.epochs", f"loss.{_TEMPERATURE}",
    "augment.strength",
)  # fmt: skip


def format_study_file(description: Mapping[str, Any]) -> str:
    """Return a study file with the search of a description.

    Every search space is written in full. A parameter that the method could search and does not is ``false``:
    without that line, the distribution of the registry would apply.
    """
    data, confirm = description["dataset"], description["confirm"]
    lines = [f"name = {_toml(description['name'])}"]
    if data["rho"] is not None:
        lines.append(f"rho = {float(data['rho'])!r}")
        biased = description.get("val_protocol") == "biased"
        lines += ['val_protocol = "biased"'] if biased else []
    else:
        lines.append(f"data = {_toml('data/' + str(data['name']))}")
    lines += [f"bias = {_toml(data['bias'])}"] if data.get("bias") else []
    for key in ("trials", "studies", "seed", "preset", "settings", "budget_seconds", "search"):
        if description.get(key) is not None:
            lines.append(f"{key} = {_toml(description[key])}")
    lines.append("\n[confirm]")
    for key in ("seeds", "rules", "reference", "margin", "rho", "data", "variance", "variance_of"):
        if key != "data" and key in confirm:
            lines.append(f"{key} = {_toml(confirm[key])}")
        elif key == "data" and (names := [d.name for d in confirm_datasets(description)]):
            lines.append(f"data = {_toml([f'data/{name}' for name in names])}")
    for method, entry in description["methods"].items():
        table, loss = f"methods.{_toml(method)}", str(entry.get("loss", method))
        lines += [f"\n[{table}]", f"loss = {_toml(loss)}"]
        settings = _own_settings(entry.get("settings", ()), description["settings"])
        if settings:
            lines.append(f"settings = {_toml(settings)}")
        lines.append(f"[{table}.space]")
        for key, distribution in entry["space"].items():
            ((kind, value),) = distribution.items()
            lines.append(f"{_toml(key)} = {{ {kind} = {_toml(value)} }}")
        lines += [f"{_toml(key)} = false" for key in _not_searched(loss, entry)]
    return "\n".join(lines)


def _own_settings(settings: Any, common: Any) -> list[str]:
    """Return the settings of a method without those of the whole study, which come first."""
    own, first = list(settings), list(common)
    return own[len(first) :] if own[: len(first)] == first else own


def _not_searched(loss: str, entry: Mapping[str, Any]) -> list[str]:
    """Return the parameters that the registry has distributions of and the method does not search."""
    fixed = {setting.partition("=")[0].strip() for setting in entry.get("settings", ())}
    known = list(_SHARED)
    try:
        known += [f"loss.{key}" for key in get_entry(loss).search]
        missing = [key for key in known if key not in entry["space"] and key not in fixed]
        if f"loss.{_TEMPERATURE}" in missing and _TEMPERATURE not in default_parameters(loss):
            missing.remove(f"loss.{_TEMPERATURE}")
    except BiasconError:  # a loss that is not installed: nothing is known of its own parameters
        own = [key for key in known if not key.startswith("loss.")]
        missing = [key for key in own if key not in entry["space"] and key not in fixed]
    return list(dict.fromkeys(missing))


def _toml(value: Any) -> str:
    """Return a text, number, truth value or list as TOML, which JSON agrees with but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
