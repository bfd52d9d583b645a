"""The losses: one idea a file, one line a loss.

``get_loss(name, **parameters)`` gives a callable ``loss(z, labels, bias=None) -> scalar``. What
``z`` is depends on the kind: L2-normalised embeddings ``(B, V, D)`` for the contrastive losses,
logits ``(B, V, K)`` for the losses on a classifier. Notation: B images, V views each; every pair
(image, view) is an anchor i; s_ij = z_i . z_j / T; A(i) all other anchors, P(i) the others with the
same label, N(i) those with another label, S(i) the other views of the same image. Each loss is a
mean over the anchors whose sets are not empty, and 0 with a zero gradient where there is none.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from biascon import registry
from biascon.errors import UsageError, did_you_mean, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

PLUGIN_GROUP = "biascon.losses"


@dataclass(frozen=True)
class LossEntry:
    """What the registry knows of a loss without importing it.

    Attributes:
        target: ``"module:function"``.
        formula: The loss of one anchor, in the notation of this package's docstring.
        source: The paper.
        on: ``"embeddings"`` (a projection head is trained) or ``"logits"`` (a linear classifier is).
        needs: What a batch must have: ``"views"`` (two or more), ``"labels"``, ``"bias"``.
        fixed: Parameters that the name itself fixes.
    """

    target: str
    formula: str
    source: str
    on: Literal["embeddings", "logits"] = "embeddings"
    needs: tuple[str, ...] = ("labels",)
    fixed: Mapping[str, Any] = field(default_factory=dict)


KHOSLA = "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020"
CHEN = "Chen et al., A Simple Framework for Contrastive Learning, ICML 2020"
DENG = "Deng and Yang, Context-Enriched Contrastive Loss, IEEE TMM 27:429-441, 2025"

_SUPCON = "-mean_P [s_ip - log sum_A exp s]"
_SIMCLR = "-mean_S [s_ip - log sum_A exp s]"
_CONTEX = f"-wa mean_P f(s_ip - log sum_N exp s) {_SIMCLR.replace('-mean', '- wb mean')}"

_VIEWS_AND_LABELS = ("views", "labels")
_CE = "biascon.losses.cross_entropy:cross_entropy"
_CTX = "biascon.losses.contex:contex"

# fmt: off
LOSSES: dict[str, LossEntry] = {
    "ce": LossEntry(_CE, "-log softmax(logits)_y", "cross-entropy", on="logits"),
    "simclr": LossEntry("biascon.losses.simclr:simclr", _SIMCLR, CHEN, needs=("views",)),
    "supcon": LossEntry("biascon.losses.supcon:supcon", _SUPCON, KHOSLA),
    "contex": LossEntry(_CTX, f"{_CONTEX}, f(u) = u", DENG, "embeddings", _VIEWS_AND_LABELS, {"clip": False}),
    "contex-clip": LossEntry(_CTX, f"{_CONTEX}, f(u) = min(u, 0)", DENG, "embeddings", _VIEWS_AND_LABELS, {"clip": True}),  # noqa: E501
}
# fmt: on


@dataclass(frozen=True)
class Loss:
    """A loss with its parameters set: ``loss(z, labels, bias=None) -> scalar``; picklable.

    Attributes:
        name: The registry's name.
        on: What ``z`` is: ``"embeddings"`` or ``"logits"``.
        needs: What a batch must have.
        parameters: Every parameter with its value, defaults included.
    """

    name: str
    on: str
    needs: tuple[str, ...]
    parameters: Mapping[str, Any]
    function: Callable[..., Tensor] = field(repr=False)

    def __call__(self, z: Tensor, labels: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the scalar loss of a batch; see the function of this name for shapes and errors."""
        return self.function(z, labels, bias, **self.parameters)


def entry(name: str) -> LossEntry:
    """Return what is known of a loss without importing PyTorch.

    A plug-in may put a ``LossEntry`` or a bare function behind its entry point; of a bare function
    the defaults of ``LossEntry`` are assumed.

    Raises:
        UsageError: No such loss; the nearest name is suggested.
    """
    if name in LOSSES:
        return LOSSES[name]
    outside = registry.plugins(PLUGIN_GROUP)
    if name not in outside:
        raise unknown_name("loss", name, [*LOSSES, *outside])
    found = registry.resolve("loss", name, {}, PLUGIN_GROUP)
    if isinstance(found, LossEntry):
        return found
    target = outside[name].value.partition("[")[0].strip()  # without the names of extras
    return LossEntry(target, "see its package", target)


def parameters_of(name: str) -> dict[str, Any]:
    """Return the free parameters of a loss with their defaults, by name."""
    known = entry(name)
    signature = inspect.signature(registry.load(known.target))
    return {
        key: parameter.default
        for key, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and key not in known.fixed
    }


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
    known = entry(name)
    free = parameters_of(name)
    wrong = [key for key in parameters if key not in free]
    if wrong:
        told = ", ".join(f"'{key}'{did_you_mean(key, free)}" for key in wrong)
        has = ", ".join(free) or "none"
        raise UsageError(f"loss '{name}' has no parameter {told} (it has: {has})")
    resolved = {**free, **parameters, **known.fixed}
    for key, default in free.items():
        # 1 and 1.0 are one value, and so one run.
        if isinstance(default, float) and _is_number(resolved[key]):
            resolved[key] = float(resolved[key])
    _check(name, resolved)
    return Loss(name, known.on, known.needs, resolved, registry.load(known.target))


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse values that no loss can take: the shared parameters have one meaning everywhere."""
    for key, value in parameters.items():
        if key not in ("temperature", "wa", "wb"):
            continue
        if not _is_number(value) or not (
            0 < value < float("inf") or (value == 0 and key != "temperature")
        ):
            bound = "larger than 0" if key == "temperature" else "at least 0"
            raise UsageError(f"loss '{name}': expected {key} to be {bound}, but got {value!r}")
    if "form" in parameters and parameters["form"] not in ("out", "in"):
        got = parameters["form"]
        raise UsageError(f"loss '{name}': expected form to be 'out' or 'in', but got {got!r}")
    if parameters.get("wa") == 0 and parameters.get("wb") == 0:
        raise UsageError(f"loss '{name}': wa and wb cannot both be 0")
