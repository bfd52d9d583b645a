"""Losses of other packages: what stands behind an entry point, checked before it is used."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import metadata
from typing import Any

from biascon.errors import BiasconError
from biascon.losses.registry import NEEDS, LossEntry
from biascon.utils import entry_points

GROUP = "biascon.losses"


def plugin_losses() -> dict[str, metadata.EntryPoint]:
    """Return the entry points of installed packages by name; nothing is imported."""
    return entry_points.plugins(GROUP)


def plugin_entry(name: str, point: metadata.EntryPoint) -> LossEntry:
    """Return what is known of a plug-in: its ``LossEntry``, or one made of a bare function.

    A keyword argument without a default is something that the function needs.

    Raises:
        BiasconError: It fails to import, or is no loss.
    """
    found = entry_points.resolve("loss", name, {name: point})
    if not isinstance(found, LossEntry):
        _check_signature(name, found)
        required = [
            parameter.name
            for parameter in inspect.signature(found).parameters.values()
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        ]
        target = point.value.partition("[")[0].strip()  # without the names of extras
        found = LossEntry(target, "see its package", target, needs=("labels", *required))
    unknown = [need for need in found.needs if need not in NEEDS]
    if unknown:
        raise BiasconError(
            f"plug-in loss '{name}' needs {', '.join(unknown)}, which biascon does not give "
            f"(it gives: {', '.join(NEEDS)})"
        )
    return found


def load_function(name: str, known: LossEntry, *, outside: bool) -> Callable[..., Any]:
    """Import the function of a loss.

    Raises:
        BiasconError: A plug-in's fails to import, or is no loss.
    """
    if not outside:
        function: Callable[..., Any] = entry_points.load(known.target)
        return function
    try:
        function = entry_points.load(known.target)
    except Exception as error:
        raise BiasconError(f"plug-in loss '{name}' fails to import: {error}") from error
    _check_signature(name, function)
    return function


def _check_signature(name: str, function: Any) -> None:
    if not inspect.isfunction(function):
        got = type(function).__name__
        raise BiasconError(f"plug-in loss '{name}' is not a function or a LossEntry, but a {got}")
    positional = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    needed = [parameter for parameter in positional if parameter.default is parameter.empty]
    if len(positional) != 3 or len(needed) > 3:
        told = f"{function.__name__}{inspect.signature(function)}"
        raise BiasconError(
            f"plug-in loss '{name}' must take (z, labels, bias=None, *, parameters), but is {told}"
        )
