"""Objects by name: ``"module:attribute"`` and the entry points of installed packages, imported on use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from biascon.errors import BiasconError


def load(target: str) -> Any:
    """Import ``"package.module:attribute"`` and return the attribute."""
    module, _, attribute = target.partition(":")
    value: Any = importlib.import_module(module)
    for name in attribute.split("."):
        value = getattr(value, name)
    return value


def plugins(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of installed packages in an entry-point group, by name."""
    return {point.name: point for point in sorted(metadata.entry_points(group=group))}


def resolve(kind: str, name: str, points: Mapping[str, metadata.EntryPoint]) -> Any:
    """Import and return the object of a plug-in.

    Args:
        kind: The noun for messages, for example "loss".
        name: The name of the plug-in.
        points: Entry points by name.

    Raises:
        BiasconError: The plug-in fails to import.
    """
    try:
        return points[name].load()
    except Exception as error:
        raise BiasconError(f"plug-in {kind} '{name}' fails to import: {error}") from error
