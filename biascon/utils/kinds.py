"""Check that a dataclass, read from a file, holds values of the kinds that its annotations name."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

MAX_INT = 2**63  # a larger whole number fits no array


def check_kinds(value: Any) -> None:
    """Check all fields of a dataclass, and of the dataclasses, lists and objects in them.

    A whole number is accepted as a float; true and false are no numbers. A number must be finite and below
    2^63 in absolute value.

    Raises:
        TypeError: A value is of another kind.
    """
    hints = _hints(type(value))
    for field in fields(value):
        _check(getattr(value, field.name), hints[field.name], field.name)


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(cls: type[Any]) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


def _check(value: Any, kind: Any, name: str) -> None:
    if kind is Any or kind is object:
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if not any(_fits(value, option, name) for option in arguments):
            raise TypeError(f"{name}: {type(value).__name__}")
    elif origin is not None and issubclass(origin, Mapping):
        _require(isinstance(value, Mapping), name)
        for key, item in value.items():
            _check(key, arguments[0], name)
            _check(item, arguments[1], name)
    elif origin is not None and issubclass(origin, Sequence):
        _require(isinstance(value, (list, tuple)), name)
        if origin is tuple and arguments[-1:] != (Ellipsis,):
            _require(len(value) == len(arguments), name)
            for item, inner in zip(value, arguments, strict=True):
                _check(item, inner, name)
        else:
            for item in value:
                _check(item, arguments[0], name)
    elif is_dataclass(kind):
        _require(isinstance(value, typing.cast(type, kind)), name)
        check_kinds(value)
    elif kind is float:
        _require(type(value) in (int, float) and abs(value) < MAX_INT, name)
        _require(math.isfinite(value), name)
    elif kind is int:
        _require(type(value) is int and abs(value) < MAX_INT, name)
    elif kind is None or kind is types.NoneType:
        _require(value is None, name)
    elif (isinstance(kind, type) and issubclass(kind, Enum)) or isinstance(kind, type):
        _require(isinstance(value, kind), name)
    elif origin is typing.Literal:
        _require(value in arguments, name)


def _fits(value: Any, kind: Any, name: str) -> bool:
    try:
        _check(value, kind, name)
    except TypeError:
        return False
    return True


def _require(is_valid: bool, name: str) -> None:
    if not is_valid:
        raise TypeError(f"{name} is of another kind")
