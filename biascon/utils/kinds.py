"""The kinds of the values of a record that was read from a file.

A constructor takes whatever it is given. ``check_kinds`` compares every value of a dataclass with the type
that its field states, so that a text in place of a number is found where the file is read, and not where the
number is first used.
"""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Union

from biascon.utils.text import show_value

MOST_INTEGER = 2**63 - 1  # of an integer in a file; NumPy has no larger one


def check_kinds(record: Any, where: str = "") -> None:
    """Compare all values of a dataclass, also of those within it, with the types of their fields.

    An integer is a valid ``float``. ``True`` is no number. A number is finite, and an integer has at most
    63 bits. ``Any`` accepts all values.

    Args:
        record: An instance of a dataclass.
        where: The name of the record in messages.

    Raises:
        TypeError: A value is of another kind.
        ValueError: A number is not finite or too large.
    """
    for name, hint in _hints(type(record)).items():
        _check(getattr(record, name), hint, f"{where}.{name}" if where else name)


_KNOWN: dict[type[Any], dict[str, Any]] = {}


def _hints(cls: type[Any]) -> dict[str, Any]:
    """Return the types of the fields of a dataclass by name; the result is kept."""
    if cls not in _KNOWN:
        hints = typing.get_type_hints(cls)
        _KNOWN[cls] = {field.name: hints[field.name] for field in fields(cls)}
    return _KNOWN[cls]


def _check(value: Any, hint: Any, where: str) -> None:
    """Raise unless a value is of a type."""
    if not _accepts(value, hint, where):
        raise TypeError(f"{where} is {show_value(value)}")


def _accepts(value: Any, hint: Any, where: str) -> bool:
    """Return whether a value is of a type; raise if a value within it is not."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return _accepts_one_of(value, arguments, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return False
        for key, item in value.items():
            _check(item, arguments[1], f"{where}.{key}")
        return True
    if origin is not None and issubclass(origin, Sequence):
        if not isinstance(value, list | tuple):
            return False
        for position, item in enumerate(value):
            _check(item, arguments[0], f"{where}[{position}]")
        return True
    if isinstance(hint, type) and is_dataclass(hint):
        if isinstance(value, hint):
            check_kinds(value, where)
            return True
        return False
    return _accepts_plain(value, hint, where)


def _accepts_one_of(value: Any, hints: Sequence[Any], where: str) -> bool:
    """Return whether a value is of one of the types of a union."""
    if value is None:
        return type(None) in hints
    found = [hint for hint in hints if hint is not type(None)]
    if len(found) == 1:
        return _accepts(value, found[0], where)
    return any(_accepts(value, hint, where) for hint in found)


def _accepts_plain(value: Any, hint: Any, where: str) -> bool:
    """Return whether a value is of a type that has no parts; raise for a number out of range."""
    if hint in (int, float):
        if isinstance(value, bool) or not isinstance(value, int if hint is int else int | float):
            return False
        if isinstance(value, int) and abs(value) > MOST_INTEGER:
            raise ValueError(f"{where} is a very large number")
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}")
        return True
    if hint is str:
        return isinstance(value, str)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return isinstance(value, hint)
    return isinstance(value, hint)
