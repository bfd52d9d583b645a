"""The values of a study file: each is checked for its type when it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from biascon.errors import UsageError, did_you_mean
from biascon.utils.text import shorten


def check_keys(where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse keys of a table that are not known.

    Raises:
        UsageError: A key is unknown; the message names it with its table.
    """
    prefix = f"{where}." if where else ""
    unknown = [
        f"'{shorten(prefix + key)}'{did_you_mean(key, known)}" for key in table if key not in known
    ]
    if unknown:
        raise UsageError(f"unknown key: {', '.join(unknown)} (known: {', '.join(known)})")


def read_mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Return a TOML table.

    Raises:
        UsageError: The value is no table.
    """
    if not isinstance(value, Mapping):
        raise UsageError(f"expected {name} to be a table, but got {value!r}")
    return value


def read_strings(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of texts as a tuple.

    Raises:
        UsageError: The value is no list of texts.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"expected {name} to be a list of texts, but got {value!r}")
    return tuple(value)


def read_number(name: str, value: Any) -> float:
    """Return a number as a float.

    Raises:
        UsageError: The value is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"expected {name} to be a number, but got {value!r}")
    return float(value)


def read_typed(name: str, value: Any, kind: type | tuple[type, ...]) -> Any:
    """Return a value of one of the given types; a truth value has none of them.

    Raises:
        UsageError: The value has another type.
    """
    if isinstance(value, bool) or not isinstance(value, kind):
        expected = kind.__name__ if isinstance(kind, type) else "text"
        raise UsageError(f"expected {name} to be of type {expected}, but got {value!r}")
    return value
