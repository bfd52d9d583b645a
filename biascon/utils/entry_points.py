"""Objects by name: ``"module:attribute"`` and the entry points of installed packages, imported on use."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from importlib import metadata
from typing import Any, TypeVar

from biascon.errors import BiasconError, BiasconWarning

T = TypeVar("T")


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


def load_usable(kind: str, names: Iterable[str], load_one: Callable[[str], T]) -> dict[str, T]:
    """Load plug-ins by name; leave out, with a warning, those that cannot be used.

    Args:
        kind: The noun for the warning, for example "loss".
        names: The names of the plug-ins.
        load_one: Returns the object of a plug-in, or raises.
    """
    usable = {}
    for name in names:
        try:
            usable[name] = load_one(name)
        except (Exception, SystemExit) as error:  # the code of another package raises anything
            reason = str(error) if isinstance(error, BiasconError) else f"{kind} '{name}': {error}"
            warnings.warn(f"left out: {reason}", BiasconWarning, stacklevel=3)
    return usable


def warn_of_shadows(kind: str, names: Iterable[str], own: Container[str]) -> None:
    """Warn of each plug-in that has the name of an object of biascon; it is never used.

    Args:
        kind: The noun for the warning, for example "loss".
        names: The names of the plug-ins.
        own: The names that biascon has.
    """
    for name in names:
        if name in own:
            text = f"left out: plug-in {kind} '{name}' has the name of a {kind} of biascon"
            warnings.warn(text, BiasconWarning, stacklevel=3)


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
    except (Exception, SystemExit) as error:  # a module may call sys.exit()
        raise BiasconError(f"plug-in {kind} '{name}' fails to import: {error}") from error
