"""Losses of installed packages: their entry points are loaded and checked before use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

from biascon.errors import BiasconError
from biascon.losses.registry import BATCH_INPUTS, REQUIREMENTS, TENSOR_INPUTS, LossEntry
from biascon.utils import entry_points
from biascon.utils.distributions import Distribution

GROUP = "biascon.losses"
# Tensors of a second batch, which a loss may be given beside "logits" of that batch.
_SECOND_BATCH = ("logit_labels", "logit_bias")


def plugin_losses() -> dict[str, metadata.EntryPoint]:
    """Return the entry points of installed packages by name. No package is imported."""
    return entry_points.plugins(GROUP)


def plugin_entry(name: str, point: metadata.EntryPoint) -> LossEntry:
    """Return the ``LossEntry`` of a plug-in, or build it from a function.

    The keyword arguments of a function that have no default are its tensor inputs.

    Raises:
        BiasconError: The plug-in fails to import, is no loss, or needs something unknown.
    """
    plugin = entry_points.resolve("loss", name, {name: point})
    if not isinstance(plugin, LossEntry):
        _check_signature(name, plugin)
        target = point.value.partition("[")[0].strip()  # without the names of extras
        plugin = LossEntry(target, "see its package", target, tensor_inputs=_required(plugin))
    _check_needs(name, plugin)
    return plugin


def _required(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return the names of the keyword arguments that have no default."""
    return tuple(
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    )


def _check_needs(name: str, entry: LossEntry) -> None:
    """Refuse an entry with an input or a requirement that is not provided, or with a wrong search space."""
    fields: list[tuple[str, tuple[str, ...], Iterable[str]]] = [
        ("batch_inputs", entry.batch_inputs, BATCH_INPUTS),
        ("tensor_inputs", entry.tensor_inputs, TENSOR_INPUTS),
        ("optional_inputs", entry.optional_inputs, (*TENSOR_INPUTS, *_SECOND_BATCH)),
        ("requires", entry.requires, REQUIREMENTS),
    ]
    for field, values, provided in fields:
        unknown = [value for value in values if value not in provided]
        if unknown:
            raise BiasconError(
                f"plug-in loss '{name}' needs {', '.join(unknown)}, which biascon does not provide "
                f"({field} may hold: {', '.join(provided)})"
            )
    for parameter, distribution in entry.search.items():
        if not isinstance(distribution, Distribution):
            raise BiasconError(
                f"plug-in loss '{name}': search['{parameter}'] is no distribution of "
                f"biascon.utils.distributions, but a {type(distribution).__name__}"
            )


def load_function(name: str, entry: LossEntry, *, is_plugin: bool) -> Callable[..., Any]:
    """Import the function of a loss.

    Raises:
        BiasconError: The function of a plug-in fails to import, or is no loss.
    """
    if not is_plugin:
        function: Callable[..., Any] = entry_points.load(entry.target)
        return function
    try:
        function = entry_points.load(entry.target)
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
    if len(positional) != 3:
        signature = f"{function.__name__}{inspect.signature(function)}"
        raise BiasconError(
            f"plug-in loss '{name}' must take (z, labels, bias=None, *, parameters), but is {signature}"
        )
