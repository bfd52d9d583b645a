"""Losses by name: ``get_loss``, the parameters of a loss, and checks of parameters and inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Literal

from biascon.errors import BiasconError, UsageError, did_you_mean, unknown_name
from biascon.losses import plugins
from biascon.losses.inferred_groups import SEPARATOR, with_inferred_groups
from biascon.losses.parameters import check_parameters, is_number
from biascon.losses.registry import LOSSES, LossEntry, TensorInput
from biascon.utils import entry_points

if TYPE_CHECKING:
    from torch import Tensor

PLUGIN_GROUP = plugins.GROUP


@dataclass
class _CallState:
    """Whether the values of a call of a loss have been checked."""

    is_checked: bool = False


@dataclass(frozen=True)
class Loss:
    """A loss with its parameters set: ``loss(z, labels, bias=None, **inputs) -> scalar``; picklable.

    Under ``torch.distributed`` the batches of all ranks are gathered first, with gradient, so that every
    rank computes the loss of the whole batch: see ``biascon.losses.gather``.

    Attributes:
        name: The name in the registry.
        entry: The registry entry.
        parameters: Every parameter with its value, defaults included.
        function: The function of the loss.
    """

    name: str
    entry: LossEntry
    parameters: Mapping[str, Any]
    function: Callable[..., Tensor] = field(repr=False)
    _state: _CallState = field(default_factory=_CallState, init=False, repr=False, compare=False)

    @property
    def input_kind(self) -> Literal["embeddings", "logits"]:
        """What ``z`` is."""
        return self.entry.input_kind

    @property
    def needs(self) -> tuple[str, ...]:
        """The batch inputs, the tensor inputs and the requirements: keys of ``NEEDS``."""
        return self.entry.needs

    @property
    def tensor_inputs(self) -> tuple[TensorInput, ...]:
        """The tensors that the loss takes by keyword."""
        return self.entry.tensor_inputs

    @property
    def optional_inputs(self) -> tuple[str, ...]:
        """The tensors that the loss may be given by keyword."""
        return self.entry.optional_inputs

    def __call__(
        self,
        z: Tensor,
        labels: Tensor,
        bias: Tensor | None = None,
        *,
        check: bool | None = None,
        **inputs: Tensor | None,
    ) -> Tensor:
        """Return the scalar loss of a batch; see the function of this name for shapes and errors.

        Args:
            z: ``(B, V, D)`` unit embeddings, or ``(B, V, K)`` logits.
            labels: ``(B,)`` integers.
            bias: ``(B,)`` integers; not used by a loss without the batch input ``bias``.
            check: Also check the values: refuse NaN, infinities, and embeddings whose norm is not 1. The
                check waits for the device. None: at the first call of this object. Under ``torch.compile``
                the values are not checked.
            inputs: The tensors that ``tensor_inputs`` names, and any of ``optional_inputs``.

        Raises:
            UsageError: A shape, a dtype or the set of inputs does not fit, or ``check`` refuses a value.
        """
        import torch

        from biascon.losses.checks import check_inputs, check_values
        from biascon.losses.gather import gather
        from biascon.utils.distributed import world_size

        tensors = {key: x for key, x in inputs.items() if x is not None}
        allowed = {*self.tensor_inputs, *self.optional_inputs}
        if not set(self.tensor_inputs) <= set(tensors) <= allowed:
            optional = [f"{key} (optional)" for key in self.optional_inputs]
            expected = ", ".join([*self.tensor_inputs, *optional]) or "none"
            got = ", ".join(tensors) or "none"
            raise UsageError(f"loss '{self.name}' expects the inputs {expected}, but got {got}")
        check_inputs(self.input_kind, z, bias, tensors)
        is_first = check is None and not self._state.is_checked
        if (check or is_first) and not torch.compiler.is_compiling():
            check_values(self.name, self.input_kind, z, tensors)
            self._state.is_checked = True
        if world_size() > 1:
            z, labels, bias, tensors = gather(z, labels, bias, tensors)
        with torch.autocast(z.device.type, enabled=False):
            return self.function(z, labels, bias, **tensors, **self.parameters)


def canonical_name(name: str) -> str:
    """Return the name in the registry of a loss whose name is spelled as in its paper.

    The names of the registry and of installed plug-ins are returned unchanged. Otherwise case, ``-``, ``_``
    and spaces are ignored. A name that fits no loss is returned unchanged.

    >>> canonical_name("SupCon"), canonical_name("eps-SupInfoNCE"), canonical_name("Group DRO")
    ('supcon', 'eps_supinfonce', 'groupdro')
    """
    if name in LOSSES or name in (points := plugins.plugin_losses()):
        return name
    method, separator, inference = name.partition(SEPARATOR)
    if separator:
        return f"{canonical_name(method.strip())}{SEPARATOR}{inference.strip().lower()}"
    matches = [known for known in [*LOSSES, *points] if _spelling(known) == _spelling(name)]
    return matches[0] if matches else name


def _spelling(name: str) -> str:
    return name.lower().translate(str.maketrans("", "", "-_ "))


def get_entry(name: str) -> LossEntry:
    """Return the registry entry of a loss. PyTorch is not imported.

    The entry point of a plug-in is a ``LossEntry`` or a function. For a function, the entry has the defaults
    of ``LossEntry``. ``METHOD@eiil`` is the variant of a method whose groups are inferred
    (``biascon.losses.inferred_groups``).

    Raises:
        UsageError: There is no loss of this name (the message suggests near names), or no such variant of it.
        BiasconError: A plug-in fails to import, is no loss, or its first stages form a circle.
    """
    name = canonical_name(name)
    if name in LOSSES:
        return LOSSES[name]
    method, separator, inference = name.partition(SEPARATOR)
    if separator:
        return with_inferred_groups(method, get_entry(method), inference)
    points = plugins.plugin_losses()
    entry = stage = _find(name, points)
    chain = [name]
    while stage.first_stage is not None:
        chain.append(stage.first_stage.loss)
        if chain.count(chain[-1]) > 1:
            raise BiasconError(f"plug-in loss '{name}' builds on itself: {' -> '.join(chain)}")
        stage = _find(chain[-1], points)
    return entry


def _find(name: str, points: Mapping[str, EntryPoint]) -> LossEntry:
    if name in LOSSES:
        return LOSSES[name]
    if name not in points:
        raise unknown_name("loss", name, [*LOSSES, *points])
    return plugins.plugin_entry(name, points[name])


def uses_bias_labels(name: str) -> bool:
    """Whether a loss or its first-stage network uses bias labels of training or validation images.

    Raises:
        UsageError: There is no loss of this name.
    """
    entry = get_entry(name)
    return entry.uses_bias_labels or (
        entry.first_stage is not None and uses_bias_labels(entry.first_stage.loss)
    )


def list_losses() -> list[str]:
    """Return the names of all losses, plug-ins last. A plug-in cannot replace a loss of ``LOSSES``."""
    return list(dict.fromkeys([*LOSSES, *plugins.plugin_losses()]))


def usable_losses() -> dict[str, LossEntry]:
    """Return the entries of all losses by name. A plug-in that cannot be used is left out, with a warning."""
    entry_points.warn_of_shadows("loss", plugins.plugin_losses(), LOSSES)
    return {**LOSSES, **entry_points.load_usable("loss", list_losses()[len(LOSSES) :], get_entry)}


def default_parameters(name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the free parameters of a loss with their defaults, by name.

    Args:
        name: The name of the loss.
        given: Values of parameters, on which the defaults of others may depend.

    >>> default_parameters("contex", {"form": "log1p"})["wa"]
    0.6
    """
    name = canonical_name(name)
    entry = get_entry(name)
    signature = inspect.signature(_load_function(name, entry))
    defaults = {
        key: parameter.default
        for key, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and key not in entry.fixed
        and key not in entry.tensor_inputs
        and key not in entry.optional_inputs
    }
    chosen = {**defaults, **(given or {}), **entry.fixed}
    for key, by_value in entry.defaults_by_value.items():
        if isinstance(chosen.get(key), str):
            defaults |= by_value.get(chosen[key], {})
    return defaults


def _load_function(name: str, entry: LossEntry) -> Callable[..., Any]:
    method = name.partition(SEPARATOR)[0]
    return plugins.load_function(method, entry, is_plugin=method not in LOSSES)


def get_loss(name: str, **parameters: Any) -> Loss:
    """Return a loss by name.

    Args:
        name: A key of ``LOSSES`` or the name of an installed plug-in.
        parameters: Values of free parameters, such as ``temperature``; the others keep their defaults.

    Raises:
        UsageError: The name is unknown, parameters are unknown (the message names all of them), or a value is
            out of range.
        BiasconError: A plug-in fails to import, or is no loss.

    >>> get_loss("contex", wa=0.3, wb=0.7).parameters["wa"]
    0.3
    """
    name = canonical_name(name)
    entry = get_entry(name)
    free = default_parameters(name, parameters)
    unknown = [key for key in parameters if key not in free]
    if unknown:
        suggestions = ", ".join(f"'{key}'{did_you_mean(key, free)}" for key in unknown)
        expected = ", ".join(free) or "none"
        raise UsageError(f"loss '{name}' has no parameter {suggestions} (it has: {expected})")
    function = _load_function(name, entry)
    resolved = {**free, **parameters, **entry.fixed}
    for key, default in free.items():
        # 1 and 1.0 are the same value: runs with either must have the same digest.
        if isinstance(default, float) and is_number(resolved[key]):
            resolved[key] = _to_float(resolved[key])
    check_parameters(name, resolved, entry.ranges, function)
    return Loss(name, entry, resolved, function)


def _to_float(value: Any) -> Any:
    """Return a number as a float; an integer that no float holds stays, and is refused later."""
    try:
        return float(value)
    except OverflowError:
        return value
