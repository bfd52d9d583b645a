"""The losses: one idea a file, one line a loss.

``get_loss(name, **parameters)`` gives a callable ``loss(z, labels, bias=None, **inputs) -> scalar``. What
``z`` is depends on the kind: L2-normalised embeddings ``(B, V, D)`` for the contrastive losses,
logits ``(B, V, K)`` for the losses on a classifier. ``inputs`` are the tensors that ``needs`` names beyond
views, labels and bias. Notation: B images, V views each; every pair (image, view) is an anchor i;
s_ij = z_i . z_j / T; A(i) all other anchors, P(i) the others with the same label, N(i) those with another
label, S(i) the other views of the same image, Q(i) those of P(i) with another bias attribute b. Each loss
is a mean over the anchors whose sets are not empty, and 0 with a zero gradient where there is none.
"""

from __future__ import annotations

import inspect
import numbers
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from biascon import registry
from biascon.errors import UsageError, did_you_mean, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

PLUGIN_GROUP = "biascon.losses"
NEEDS = {
    "views": "two or more views of an image",
    "labels": "the class",
    "bias": "the bias attribute",
    "logits": "a linear classifier beside the projection head",
    "features": "the encoder's features",
    "counts": "how many training images each (label, bias) cell has",
    "group_weights": "a weight for each (label, bias) cell, kept from step to step",
    "bias_features": "features of a network that sees the bias",
    "bias_losses": "the losses of a biased network at the same step",
    "weights": "a weight for each image",
    "held-out groups": "a validation split with the bias attribute",
}


@dataclass(frozen=True)
class FirstStage:
    """A network that is trained before, as a run of its own, and what the loss takes from it.

    Attributes:
        loss: With which loss.
        gives: ``"features"`` and ``"errors"`` of the training images, the ``"losses"`` of its steps, or the
            ``"encoder"`` itself, which is then not trained further.
        narrow: Whether its kernels are 1 x 1, so that it sees colours but no shapes.
        target: What it is trained to tell.
    """

    loss: str
    gives: Literal["features", "errors", "losses", "encoder"]
    narrow: bool = False
    target: Literal["labels", "bias"] = "labels"


@dataclass(frozen=True)
class LossEntry:
    """What the registry knows of a loss without importing it.

    Attributes:
        target: ``"module:function"``.
        formula: The loss of one anchor, in the notation of this package's docstring.
        source: The paper.
        on: ``"embeddings"`` (a projection head is trained) or ``"logits"`` (a linear classifier is).
        needs: What it must be given: keys of ``NEEDS``.
        fixed: Parameters that the name itself fixes.
        first: The network that is trained before, if any.
        draw: How an epoch's images are drawn: each once, or as often from every (label, bias) group.
        judged: By a linear ``"probe"`` on the frozen encoder, or by the ``"classifier"`` that the
            method itself trains, where that is what the method cures.
    """

    target: str
    formula: str
    source: str
    on: Literal["embeddings", "logits"] = "embeddings"
    needs: tuple[str, ...] = ("labels",)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    first: FirstStage | None = None
    draw: Literal["once", "groups"] = "once"
    judged: Literal["probe", "classifier"] = "probe"

    @property
    def sees_bias(self) -> bool:
        """Whether the method is given the bias labels of training or validation images."""
        given = {"bias", "counts", "held-out groups"} & set(self.needs)
        first = self.first is not None and self.first.target == "bias"
        return bool(given) or first or self.draw == "groups"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that the loss is called with beyond ``z``, labels and bias, by keyword."""
        return tuple(
            n for n in self.needs if n not in ("views", "labels", "bias", "held-out groups")
        )


KHOSLA = "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020"
CHEN = "Chen et al., A Simple Framework for Contrastive Learning, ICML 2020"
DENG = "Deng and Yang, Context-Enriched Contrastive Loss, IEEE TMM 27:429-441, 2025"
BARBANO = "Barbano et al., Unbiased Supervised Contrastive Learning, ICLR 2023"
TARTAGLIONE = "Tartaglione et al., EnD: Entangling and Disentangling, CVPR 2021"
HONG = "Hong and Yang, Bias-Contrastive and Bias-Balanced Learning, NeurIPS 2021"
SARRIDIS = "Sarridis et al., FLAC, arXiv 2304.14252"
SAGAWA = "Sagawa et al., Distributionally Robust Neural Networks, ICLR 2020"
NAM = "Nam et al., Learning from Failure, NeurIPS 2020"
ZHANG = "Zhang and Sabuncu, Generalized Cross Entropy, NeurIPS 2018"
LIU = "Liu et al., Just Train Twice, ICML 2021"
KIRICHENKO = "Kirichenko et al., Last Layer Re-Training, ICLR 2023"

_SUPCON = "-mean_P [s_ip - log sum_A exp s]"
_SIMCLR = "-mean_S [s_ip - log sum_A exp s]"
_CONTEX = f"-wa mean_P f(s_ip - log sum_N exp s) {_SIMCLR.replace('-mean', '- wb mean')}"
_INFONCE = "-mean_P [s_ip - log(exp(s_ip - eps) + sum_N exp s)]"
_EPS_SUPCON = "-mean_P [s_ip - log(sum_P exp(s - eps) + sum_N exp s)]"
_FAIRKL = "weight KL(aligned similarities, conflicting ones)"
_END = "alpha mean |g| of same-bias pairs + beta (1 - mean (1+g)/2 over Q pairs)"
_BIASCON = "-mean_Q [s_iq - log sum_A exp s]"
_CE = "-log softmax(logits)_y"
_BIASBAL = "-log softmax(logits + log p(y|b))_y"
_SOFTCON = "-sum_P w_ip [s_ip - log sum_A exp s] / sum_P w_ip, w = 1 - cos of bias features"

_MODULE = "biascon.losses"
_CROSS = f"{_MODULE}.cross_entropy"
_CTX = f"{_MODULE}.contex:contex"
_YV, _YB = ("views", "labels"), ("labels", "bias")
_GIVES_BIAS_FEATURES = FirstStage("ce", "features", narrow=True)
_OWN: Any = {"on": "logits", "judged": "classifier"}

# fmt: off
# One line a loss, however long: ruff's line length does not hold here.
LOSSES: dict[str, LossEntry] = {
    "ce": LossEntry(f"{_CROSS}:cross_entropy", _CE, "cross-entropy", on="logits"),
    "simclr": LossEntry(f"{_MODULE}.simclr:simclr", _SIMCLR, CHEN, needs=("views",)),
    "supcon": LossEntry(f"{_MODULE}.supcon:supcon", _SUPCON, KHOSLA),
    "contex": LossEntry(_CTX, f"{_CONTEX}, f(u) = u", DENG, needs=_YV, fixed={"clip": False}),
    "contex-clip": LossEntry(_CTX, f"{_CONTEX}, f(u) = min(u, 0)", DENG, needs=_YV, fixed={"clip": True}),
    "eps_supinfonce": LossEntry(f"{_MODULE}.epsilon:eps_supinfonce", _INFONCE, BARBANO),
    "eps_supcon": LossEntry(f"{_MODULE}.epsilon:eps_supcon", _EPS_SUPCON, BARBANO),
    "gce": LossEntry(f"{_CROSS}:gce", "(1 - p_y^q) / q", ZHANG, on="logits"),
    "lff": LossEntry(f"{_CROSS}:lff", f"L_b / (L_b + L_d) {_CE}", NAM, needs=("labels", "bias_losses"), first=FirstStage("gce", "losses"), **_OWN),
    "jtt": LossEntry(f"{_CROSS}:jtt", f"w {_CE}, w = up where a short ERM run errs", LIU, needs=("labels", "weights"), first=FirstStage("ce", "errors"), **_OWN),
    "softcon": LossEntry(f"{_MODULE}.bias_contrastive:softcon", f"{_SOFTCON}, + 0.01 ce", HONG, needs=("labels", "logits", "bias_features"), first=_GIVES_BIAS_FEATURES, judged="classifier"),
    "flac": LossEntry(f"{_MODULE}.flac:flac", "ce + alpha Jeffreys(1 - s_b, s_f)", SARRIDIS, needs=("labels", "features", "bias_features"), first=FirstStage("ce", "features", target="bias"), **_OWN),
    "fairkl": LossEntry(f"{_MODULE}.fairkl:fairkl", f"eps_supinfonce + {_FAIRKL}", BARBANO, needs=_YB),
    "supcon+fairkl": LossEntry(f"{_MODULE}.supcon:supcon_fairkl", f"supcon + {_FAIRKL}", f"{KHOSLA}; {BARBANO}", needs=_YB),
    "supcon+end": LossEntry(f"{_MODULE}.supcon:supcon_end", f"supcon + {_END}", f"{KHOSLA}; {TARTAGLIONE}", needs=_YB),
    "end": LossEntry(f"{_MODULE}.end:end", f"ce + {_END}", TARTAGLIONE, needs=(*_YB, "features"), **_OWN),
    "biascon": LossEntry(f"{_MODULE}.bias_contrastive:biascon", f"{_BIASCON}, + 0.01 ce", HONG, needs=(*_YB, "logits"), judged="classifier"),
    "biascon+biasbal": LossEntry(f"{_MODULE}.bias_contrastive:biascon_biasbal", f"{_BIASCON}, + 0.01 biasbal", HONG, needs=(*_YB, "logits", "counts"), judged="classifier"),
    "biasbal": LossEntry(f"{_MODULE}.bias_balance:biasbal", _BIASBAL, HONG, needs=(*_YB, "counts"), **_OWN),
    "reweight": LossEntry(f"{_MODULE}.bias_balance:reweight", f"{_CE} / (G p(y, b))", "inverse group frequency", needs=(*_YB, "counts"), **_OWN),
    "resample": LossEntry(f"{_CROSS}:cross_entropy", f"{_CE}, groups drawn as often", "group-balanced sampling", draw="groups", **_OWN),
    "groupdro": LossEntry(f"{_CROSS}:groupdro", "sum_g q_g L_g, q_g grows as exp(eta L_g)", SAGAWA, needs=(*_YB, "group_weights"), **_OWN),
    "dfr": LossEntry(f"{_CROSS}:cross_entropy", "ce, then a new last layer on balanced held-out groups", KIRICHENKO, needs=("labels", "held-out groups"), first=FirstStage("ce", "encoder"), **_OWN),
}
# fmt: on


@dataclass(frozen=True)
class Loss:
    """A loss with its parameters set: ``loss(z, labels, bias=None, **inputs) -> scalar``; picklable.

    Under ``torch.distributed`` the batch is gathered from all ranks first, with gradient, so that every
    rank computes the loss of the whole batch: see ``biascon.losses.distributed``.

    Attributes:
        name: The registry's name.
        on: What ``z`` is: ``"embeddings"`` or ``"logits"``.
        needs: What it must be given.
        inputs: The tensors among these that go by keyword.
        parameters: Every parameter with its value, defaults included.
    """

    name: str
    on: str
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

        from biascon.losses import distributed

        if set(inputs) != set(self.inputs):
            wants, got = ", ".join(self.inputs) or "none", ", ".join(inputs) or "none"
            raise UsageError(f"loss '{self.name}' expects the inputs {wants}, but got {got}")
        if check:
            _check_values(self, z, inputs)
        if distributed.ranks() > 1:
            z, labels, bias, inputs = distributed.gather(z, labels, bias, inputs)
        with torch.autocast(z.device.type, enabled=False):
            return self.function(z, labels, bias, **inputs, **self.parameters)


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
    found = registry.resolve("loss", name, outside)
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
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and key not in known.fixed
        and key not in known.inputs
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
    function = registry.load(known.target)
    resolved = {**free, **parameters, **known.fixed}
    for key, default in free.items():
        # 1 and 1.0 are one value, and so one run.
        if isinstance(default, float) and _is_number(resolved[key]):
            resolved[key] = float(resolved[key])
    _check_parameters(name, resolved, function)
    return Loss(name, known.on, known.needs, known.inputs, resolved, function)


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


def _check_values(loss: Loss, z: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Refuse what would make a loss NaN or meaningless, and say which image it is."""
    for name, values in {"z": z, **inputs}.items():
        if not values.is_floating_point():
            continue
        bad = ~values.isfinite()
        if bad.any():
            where = ", ".join(map(str, bad.nonzero()[0].tolist()))
            raise UsageError(f"loss '{loss.name}': {name}[{where}] is {values[bad][0].item()}")
    if loss.on == "embeddings" and z.numel():
        norms = z.detach().double().norm(dim=-1)
        tolerance = 1e-2 if z.dtype.itemsize < 4 else 1e-4
        off = (norms - 1).abs() > tolerance
        if off.any():
            where = ", ".join(map(str, off.nonzero()[0].tolist()))
            raise UsageError(
                f"loss '{loss.name}': expected embeddings of norm 1 (normalise them), "
                f"but z[{where}] has norm {norms[off][0].item():.4g}"
            )
