"""A loss by name: ``get_loss``, its parameters, and the checks of its inputs."""

from __future__ import annotations

import inspect
import numbers
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Literal

from biascon.errors import BiasconError, UsageError, did_you_mean, unknown_name
from biascon.losses import plugins
from biascon.losses.registry import LOSSES, LossEntry

if TYPE_CHECKING:
    from torch import Tensor

PLUGIN_GROUP = plugins.GROUP


@dataclass(frozen=True)
class Loss:
    """A loss with its parameters set: ``loss(z, labels, bias=None, **inputs) -> scalar``; picklable.

    Under ``torch.distributed`` the batch is gathered from all ranks first, with gradient, so that every
    rank computes the loss of the whole batch: see ``biascon.losses.gather``.

    Attributes:
        name: The registry's name.
        on: What ``z`` is: ``"embeddings"`` or ``"logits"``.
        needs: What it must be given.
        inputs: The tensors among these that go by keyword.
        parameters: Every parameter with its value, defaults included.
    """

    name: str
    input_kind: str
    needs: tuple[str, ...]
    inputs: tuple[str, ...]
    parameters: Mapping[str, Any]
    function: Callable[..., Tensor] = field(repr=False)

    def __call__(
        self,
        z: Tensor,
        labels: Tensor,
        bias: Tensor | None = None,
        *,
        check: bool = False,
        **inputs: Tensor,
    ) -> Tensor:
        """Return the scalar loss of a batch; see the function of this name for shapes and errors.

        Args:
            z: ``(B, V, D)`` unit embeddings, or ``(B, V, K)`` logits.
            labels: ``(B,)`` integers.
            bias: ``(B,)`` integers, where the loss needs them.
            check: Also look at the numbers: refuse NaN, infinities, and embeddings that are not of norm 1.
                This waits for the device.
            inputs: The tensors that ``inputs`` names.

        Raises:
            UsageError: Shapes, dtypes, inputs or, with ``check``, values that do not fit.
        """
        import torch

        from biascon.losses.gather import gather
        from biascon.utils.distributed import world_size

        if set(inputs) != set(self.inputs):
            wants, got = ", ".join(self.inputs) or "none", ", ".join(inputs) or "none"
            raise UsageError(f"loss '{self.name}' expects the inputs {wants}, but got {got}")
        _check_inputs(z, bias, inputs)
        if check:
            _check_values(self, z, inputs)
        if world_size() > 1:
            z, labels, bias, inputs = gather(z, labels, bias, inputs)
        with torch.autocast(z.device.type, enabled=False):
            return self.function(z, labels, bias, **inputs, **self.parameters)


def get_entry(name: str) -> LossEntry:
    """Return what is known of a loss without importing PyTorch.

    A plug-in may put a ``LossEntry`` or a bare function behind its entry point; of a bare function
    the defaults of ``LossEntry`` are assumed.

    Raises:
        UsageError: No such loss; the nearest name is suggested.
        BiasconError: A plug-in that fails to import, is no loss, or builds on itself.
    """
    if name in LOSSES:
        return LOSSES[name]
    found = plugins.plugin_losses()
    known = last = _find(name, found)
    chain = [name]
    while last.first_stage is not None:
        chain.append(last.first_stage.loss)
        if chain.count(chain[-1]) > 1:
            raise BiasconError(f"plug-in loss '{name}' builds on itself: {' -> '.join(chain)}")
        last = _find(chain[-1], found)
    return known


def _find(name: str, found: Mapping[str, EntryPoint]) -> LossEntry:
    if name in LOSSES:
        return LOSSES[name]
    if name not in found:
        raise unknown_name("loss", name, [*LOSSES, *found])
    return plugins.plugin_entry(name, found[name])


def uses_bias_labels(name: str) -> bool:
    """Whether a loss, or the network it builds on, is given the bias labels of training or validation images.

    Raises:
        UsageError: No such loss.
    """
    known = get_entry(name)
    return known.uses_bias_labels or (
        known.first_stage is not None and uses_bias_labels(known.first_stage.loss)
    )


def list_losses() -> list[str]:
    """Return the names of all losses, those of plug-ins last; none can take a name that is there."""
    return list(dict.fromkeys([*LOSSES, *plugins.plugin_losses()]))


def default_parameters(name: str) -> dict[str, Any]:
    """Return the free parameters of a loss with their defaults, by name."""
    known = get_entry(name)
    signature = inspect.signature(_function(name, known))
    return {
        key: parameter.default
        for key, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and key not in known.fixed
        and key not in known.inputs
    }


def _function(name: str, known: LossEntry) -> Callable[..., Any]:
    return plugins.load_function(name, known, outside=name not in LOSSES)


def get_loss(name: str, **parameters: Any) -> Loss:
    """Return the loss of that name.

    Args:
        name: A key of ``LOSSES`` or of an installed plug-in.
        parameters: Its free parameters, such as ``temperature``; the rest keep their defaults.

    Raises:
        UsageError: An unknown name, unknown parameters (all of them at once) or a bad value.

    >>> get_loss("contex", wa=0.3, wb=0.7).parameters["wa"]
    0.3
    """
    known = get_entry(name)
    free = default_parameters(name)
    wrong = [key for key in parameters if key not in free]
    if wrong:
        told = ", ".join(f"'{key}'{did_you_mean(key, free)}" for key in wrong)
        has = ", ".join(free) or "none"
        raise UsageError(f"loss '{name}' has no parameter {told} (it has: {has})")
    function = _function(name, known)
    resolved = {**free, **parameters, **known.fixed}
    for key, default in free.items():
        # 1 and 1.0 are one value, and so one run.
        if isinstance(default, float) and _is_number(resolved[key]):
            resolved[key] = float(resolved[key])
    _check_parameters(name, resolved, function)
    return Loss(name, known.input_kind, known.needs, known.inputs, resolved, function)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


_POSITIVE = ("temperature", "delta")
_AT_LEAST_0 = ("wa", "wb", "epsilon", "weight", "ce_weight", "alpha", "beta", "eta", "k")


def _check_parameters(name: str, parameters: Mapping[str, Any], function: Any) -> None:
    """Refuse values that no loss can take: a parameter's name has one meaning everywhere."""
    hints = typing.get_type_hints(function)
    wrong = []
    for key, value in parameters.items():
        hint = hints.get(key)
        finite = _is_number(value) and abs(value) < float("inf")
        if typing.get_origin(hint) is Literal:
            choices = typing.get_args(hint)
            want = " or ".join(map(repr, choices))
            good = value in choices
        elif key in _POSITIVE:
            want, good = "larger than 0", finite and value > 0
        elif key in _AT_LEAST_0:
            want, good = "at least 0", finite and value >= 0
        elif key == "q":
            want, good = "in (0, 1]", finite and 0 < value <= 1
        elif key == "up":
            want, good = "at least 1", finite and value >= 1
        elif hint is int:
            want, good = (
                "an integer of at least 1",
                isinstance(value, int) and finite and value >= 1,
            )
        else:
            continue
        if not good:
            wrong.append(f"{key} to be {want}, but got {value!r}")
    if wrong:
        raise UsageError(f"loss '{name}': expected {'; '.join(wrong)}")
    if parameters.get("wa") == 0 and parameters.get("wb") == 0:
        raise UsageError(f"loss '{name}': wa and wb cannot both be 0")


def _check_inputs(z: Tensor, bias: Tensor | None, inputs: Mapping[str, Tensor]) -> None:
    """Refuse inputs whose shapes, dtypes or tables do not fit the batch."""
    from biascon.losses.pairwise import check_shape
    from biascon.losses.per_image import check_range

    for name, values in inputs.items():
        if name in ("logits", "features") and z.ndim == 3:
            check_shape(name, values, *z.shape[:2], "K" if name == "logits" else "F")
            if not values.is_floating_point():
                raise UsageError(f"expected {name} to be floating point, but got {values.dtype}")
        if name in ("counts", "group_weights") and values.ndim == 2 and bias is not None:
            check_range("bias", bias, values.shape[1])


def _check_values(loss: Loss, z: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Refuse what would make a loss NaN or meaningless, and say which image it is."""
    for name, values in {"z": z, **inputs}.items():
        if not values.is_floating_point():
            continue
        bad = ~values.isfinite()
        if bad.any():
            where = ", ".join(map(str, bad.nonzero()[0].tolist()))
            raise UsageError(f"loss '{loss.name}': {name}[{where}] is {values[bad][0].item()}")
    if loss.input_kind == "embeddings" and z.numel():
        norms = z.detach().double().norm(dim=-1)
        tolerance = 1e-2 if z.dtype.itemsize < 4 else 1e-4
        off = (norms - 1).abs() > tolerance
        if off.any():
            where = ", ".join(map(str, off.nonzero()[0].tolist()))
            raise UsageError(
                f"loss '{loss.name}': expected embeddings of norm 1 (normalize them), "
                f"but z[{where}] has norm {norms[off][0].item():.4g}"
            )
