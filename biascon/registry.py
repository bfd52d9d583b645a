"""Names that stand for code: ``name -> "module:attribute"``, imported only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from biascon.errors import BiasconError, unknown_name


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


def resolve(kind: str, name: str, known: Mapping[str, str], group: str | None = None) -> Any:
    """Return what ``name`` stands for, from ``known`` first and from installed plug-ins second.

    Raises:
        UsageError: No such name; the message suggests the nearest one.
        BiasconError: A plug-in is registered under the name but fails to import.
    """
    if name in known:
        return load(known[name])
    outside = plugins(group) if group else {}
    if name in outside:
        try:
            return outside[name].load()
        except Exception as error:
            raise BiasconError(f"plug-in {kind} '{name}' fails to import: {error}") from error
    raise unknown_name(kind, name, [*known, *outside])
