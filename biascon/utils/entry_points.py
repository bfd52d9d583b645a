"""Names that stand for code: ``name -> "module:attribute"``, imported only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from biascon.errors import BiasconError


def load(target: str) -> Any:
    """Import ``"package.module:attribute"`` and return the attribute."""
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def plugins(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points that installed packages register under ``group``, by name."""
    return {point.name: point for point in sorted(metadata.entry_points(group=group))}


def resolve(kind: str, name: str, outside: Mapping[str, metadata.EntryPoint]) -> Any:
    """Return what an installed plug-in stands for.

    Raises:
        BiasconError: It fails to import.
    """
    try:
        return outside[name].load()
    except Exception as error:
        raise BiasconError(f"plug-in {kind} '{name}' fails to import: {error}") from error
