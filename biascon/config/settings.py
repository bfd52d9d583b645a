"""Read presets and ``--set`` options as TOML, and write a configuration as TOML."""

from __future__ import annotations

import json
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from biascon.config.about import ABOUT
from biascon.errors import BiasconWarning, DataError, UsageError, unknown_name
from biascon.utils.reading import TOML, parse_toml, read_bytes
from biascon.utils.text import shorten

OLD_SECTIONS = {"optimiser": "optimizer"}
OLD_PRESETS = {"paper": "gpu"}
OLD_KEYS = {"augment": {"grey_p": "grayscale_p"}}


def list_presets() -> list[str]:
    """Return the names of the presets that come with the package."""
    folder = resources.files("biascon.config") / "presets"
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def load_preset(preset: str) -> tuple[str, dict[str, Any]]:
    """Read a preset by name, or a TOML file by path; return its name and its sections.

    The table ``[about]`` is left out: it describes the preset, and is no section of a configuration.

    Raises:
        UsageError: No preset has this name.
        DataError: The file cannot be read, is no regular file, is too large, or is not TOML.
    """
    if preset in OLD_PRESETS:
        new = OLD_PRESETS[preset]
        warnings.warn(
            f"the preset '{preset}' is now '{new}', because it is no published recipe; those are "
            "paper-barbano, paper-hong and contex-paper",
            BiasconWarning,
            stacklevel=3,
        )
        preset = new
    if preset in list_presets():
        text = (resources.files("biascon.config") / "presets" / f"{preset}.toml").read_text("utf-8")
        return preset, _without_about(tomllib.loads(text))
    path = Path(preset)
    if path.suffix != ".toml":
        raise UsageError(
            f"{unknown_name('preset', preset, list_presets())}; a file must end in .toml"
        )
    tree = parse_toml(read_bytes(path, TOML, what="preset"), str(path))
    return path.name, accept_old_names(_without_about(tree))


def _without_about(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key != ABOUT}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: The file is not valid TOML.
        DataError: The file cannot be read, is no regular file, or is too large.
    """
    text = read_bytes(path, TOML)
    try:
        return parse_toml(text, str(path))
    except DataError as error:
        raise UsageError(str(error)) from error


def parse_settings(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Turn ``["train.epochs=8", "loss.wa=0.3"]`` into ``{"train": {"epochs": 8}, ...}``.

    A value is parsed as TOML. A value that is not valid TOML is taken as a string.

    Raises:
        UsageError: A setting does not have the form section.key=value, or holds more than one setting.
    """
    tree: dict[str, dict[str, Any]] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        section, dot, key = path.strip().partition(".")
        if not (equals and dot and section and key):
            raise UsageError(f"expected --set section.key=value, but got '{shorten(setting)}'")
        tree.setdefault(section, {})[key] = _parse_value(f"{section}.{key}", value)
    return accept_old_names(tree)


def _parse_value(name: str, value: str) -> Any:
    """Return the value of a setting as TOML, or as a string where it is not valid TOML.

    Raises:
        UsageError: The value is nested too deeply, or a line break begins something else.
    """
    try:
        tree = tomllib.loads(f"value = {value}")
    except RecursionError as error:
        raise UsageError(f"the value of --set {shorten(name)} is nested too deeply") from error
    except ValueError:
        tree = {"value": value.strip()}
        if len(value.strip().splitlines()) > 1:
            tree = {}
    if list(tree) != ["value"]:
        raise UsageError(
            f"expected one setting in --set {shorten(name)}=..., but got more lines: '{shorten(value)}'; "
            "repeat --set for each setting"
        )
    return tree["value"]


def accept_old_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with old names of sections and keys replaced by the current names.

    Each old name causes a ``BiasconWarning`` with the new name.

    Raises:
        UsageError: A setting appears under both its old and its new name.
    """
    result: dict[str, Any] = {}
    for section, values in tree.items():
        new_section = OLD_SECTIONS.get(section, section)
        if not isinstance(values, dict):
            result[section] = values
            continue
        if new_section != section:
            _warn_of_old_name(section, new_section)
        table = result.setdefault(new_section, {})
        for key, value in values.items():
            new_key = OLD_KEYS.get(new_section, {}).get(key, key)
            if new_key != key:
                _warn_of_old_name(f"{new_section}.{key}", f"{new_section}.{new_key}")
            if new_key in table:
                raise UsageError(f"'{new_section}.{new_key}' is set twice, once by its old name")
            table[new_key] = value
    return result


def _warn_of_old_name(old: str, new: str) -> None:
    warnings.warn(f"the setting '{old}' is now '{new}'", BiasconWarning, stacklevel=4)


def to_toml(value: Mapping[str, Any]) -> str:
    """Return two levels of plain data (scalars and lists) as TOML."""

    def format_scalar(item: Any) -> str:
        # JSON strings, numbers, booleans and lists of them are valid TOML, except for escaped surrogates.
        return json.dumps(item, ensure_ascii=False).replace("\x7f", "\\u007f")

    lines = [f"{k} = {format_scalar(v)}" for k, v in value.items() if not isinstance(v, Mapping)]
    for section, table in value.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{section}]"]
            # A key with a dot is quoted: without quotes it would stand for a table.
            lines += [
                f"{json.dumps(k) if '.' in k else k} = {format_scalar(v)}" for k, v in table.items()
            ]
    return "\n".join(lines) + "\n"


def format_setting(key: str, value: Any) -> str:
    """Return ``section.key=value`` as ``--set`` reads it.

    A text stands as it is, and in quotation marks where it would be read as another value.

    >>> format_setting("train.deterministic", True), format_setting("model.encoder", "resnet18")
    ('train.deterministic=true', 'model.encoder=resnet18')
    >>> format_setting("loss.form", "true")
    'loss.form="true"'
    """
    text = to_toml({"value": value}).removeprefix("value = ").rstrip("\n")
    if isinstance(value, str) and parse_settings([f"a.b={value}"]) == {"a": {"b": value}}:
        text = value
    return f"{key}={text}"
