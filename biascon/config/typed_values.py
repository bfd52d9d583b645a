"""Values of settings in the types of their fields, from TOML or from Python."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from biascon.config.limits import MAX_FLOAT
from biascon.errors import UsageError
from biascon.utils.text import show_value

_TYPES: dict[
    type, dict[str, Any]
] = {}  # of the fields of each section, which take a while to resolve


def build_section(section_type: type, section: str, values: Mapping[str, Any]) -> Any:
    """Return a section of the given type with the values of a TOML table."""
    hints = _field_types(section_type)
    return section_type(
        **{key: _coerce(hints[key], value, f"{section}.{key}") for key, value in values.items()}
    )


def _field_types(section_type: type) -> dict[str, Any]:
    if section_type not in _TYPES:
        _TYPES[section_type] = typing.get_type_hints(section_type)
    return _TYPES[section_type]


def check_types(section: str, values: Any) -> None:
    """Refuse a section, made in Python, that has a value of a wrong type.

    Args:
        section: The name of the section.
        values: The section.

    Raises:
        UsageError: A value has another type than its field.
    """
    hints = _field_types(type(values))
    for each in fields(values):
        if each.metadata.get("is_setting", True):
            _coerce(hints[each.name], getattr(values, each.name), f"{section}.{each.name}")


def _coerce(hint: Any, value: Any, setting: str) -> Any:
    """Convert a TOML value to the type of a field.

    Raises:
        UsageError: The value has another type.
    """
    if typing.get_origin(hint) is tuple:
        item_types = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"expected {setting} to be a list, but got {show_value(value)}")
        if item_types[-1] is not Ellipsis and len(value) != len(item_types):
            raise UsageError(
                f"expected {setting} to have {len(item_types)} values, but got {show_value(value)}"
            )
        return tuple(_coerce(item_types[0], item, setting) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise UsageError(
                f"expected {setting} to be at most {MAX_FLOAT:.3g}, but got {show_value(value)}"
            ) from error
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(
            f"expected {setting} to be of type {hint.__name__}, but got {show_value(value)}"
        )
    return value
