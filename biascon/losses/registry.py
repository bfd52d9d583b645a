"""What the registry knows of every loss: a line each, and nothing that imports PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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
    "groups": "the (label, bias) cell of each training image, to draw from",
    "held-out groups": "a validation split with the bias attribute",
}


@dataclass(frozen=True)
class FirstStage:
    """A network that is trained before, as a run of its own, and what the loss takes from it.

    Attributes:
        loss: With which loss.
        gives: ``"features"`` and ``"errors"`` of the training images, the ``"losses"`` of its steps, or the
            ``"encoder"`` itself, which is then not trained further.
        narrow: Whether its kernels are 1 x 1, so that it sees colors but no shapes.
    """

    loss: str
    gives: Literal["features", "errors", "losses", "encoder"]
    narrow: bool = False


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
        judged: By a linear ``"probe"`` on the frozen encoder, or by the ``"classifier"`` that the
            method itself trains, where that is what the method cures.
        tells: What its classifier is to tell.
    """

    target: str
    formula: str
    source: str
    input_kind: Literal["embeddings", "logits"] = "embeddings"
    needs: tuple[str, ...] = ("labels",)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    first_stage: FirstStage | None = None
    evaluated_by: Literal["probe", "classifier"] = "probe"
    predicts: Literal["labels", "bias"] = "labels"

    @property
    def uses_bias_labels(self) -> bool:
        """Whether the loss itself is given the bias labels of training or validation images."""
        return not {"bias", "counts", "groups", "held-out groups"}.isdisjoint(self.needs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that the loss is called with beyond ``z``, labels and bias, by keyword."""
        batch = ("views", "labels", "bias", "groups", "held-out groups")
        return tuple(name for name in self.needs if name not in batch)


KHOSLA = "SupCon: Khosla et al., NeurIPS 2020"
CHEN = "SimCLR: Chen et al., ICML 2020"
DENG = "ConTeX: Deng and Yang, IEEE TMM 27:429-441, 2025"
BARBANO = "FairKL: Barbano et al., ICLR 2023"
TARTAGLIONE = "EnD: Tartaglione et al., CVPR 2021"
HONG = "Hong and Yang, NeurIPS 2021"
SARRIDIS = "FLAC: Sarridis et al., arXiv 2304.14252"
SAGAWA = "GroupDRO: Sagawa et al., ICLR 2020"
NAM = "LfF: Nam et al., NeurIPS 2020"
ZHANG = "Zhang and Sabuncu, NeurIPS 2018"
LIU = "JTT: Liu et al., ICML 2021"
KIRICHENKO = "DFR: Kirichenko et al., ICLR 2023"

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
_OWN: Any = {"input_kind": "logits", "evaluated_by": "classifier"}

# fmt: off
LOSSES: dict[str, LossEntry] = {
    "ce": LossEntry(f"{_CROSS}:cross_entropy", _CE, "cross-entropy", input_kind="logits"),
    "simclr": LossEntry(f"{_MODULE}.simclr:simclr", _SIMCLR, CHEN, needs=("views",)),
    "supcon": LossEntry(f"{_MODULE}.supcon:supcon", _SUPCON, KHOSLA),
    "contex": LossEntry(_CTX, f"{_CONTEX}, f(u) = u", DENG, needs=_YV, fixed={"clip": False}),
    "contex-clip": LossEntry(_CTX, f"{_CONTEX}, f(u) = min(u, 0)", DENG, needs=_YV, fixed={"clip": True}),
    "eps_supinfonce": LossEntry(f"{_MODULE}.eps_margin:eps_supinfonce", _INFONCE, BARBANO),
    "eps_supcon": LossEntry(f"{_MODULE}.eps_margin:eps_supcon", _EPS_SUPCON, BARBANO),
    "gce": LossEntry(f"{_MODULE}.lff:gce", "(1 - p_y^q) / q", ZHANG, input_kind="logits"),
    "bias-ce": LossEntry(f"{_CROSS}:bias_cross_entropy", "-log softmax(logits)_b", "cross-entropy of the bias attribute", input_kind="logits", needs=("bias",), predicts="bias"),
    "lff": LossEntry(f"{_MODULE}.lff:lff", f"L_b / (L_b + L_d) {_CE}", NAM, needs=("labels", "bias_losses"), first_stage=FirstStage("gce", "losses"), **_OWN),
    "jtt": LossEntry(f"{_MODULE}.jtt:jtt", f"w {_CE}, w = up where a short ERM run errs", LIU, needs=("labels", "weights"), first_stage=FirstStage("ce", "errors"), **_OWN),
    "softcon": LossEntry(f"{_MODULE}.bias_contrastive:softcon", f"{_SOFTCON}, + 0.01 ce", HONG, needs=("labels", "logits", "bias_features"), first_stage=_GIVES_BIAS_FEATURES, evaluated_by="classifier"),
    "flac": LossEntry(f"{_MODULE}.flac:flac", "ce + alpha Jeffreys(1 - s_b, s_f)", SARRIDIS, needs=("labels", "features", "bias_features"), first_stage=FirstStage("bias-ce", "features"), **_OWN),
    "fairkl": LossEntry(f"{_MODULE}.fairkl:fairkl", f"eps_supinfonce + {_FAIRKL}", BARBANO, needs=_YB),
    "supcon+fairkl": LossEntry(f"{_MODULE}.supcon:supcon_fairkl", f"supcon + {_FAIRKL}", f"{KHOSLA}; {BARBANO}", needs=_YB),
    "supcon+end": LossEntry(f"{_MODULE}.supcon:supcon_end", f"supcon + {_END}", f"{KHOSLA}; {TARTAGLIONE}", needs=_YB),
    "end": LossEntry(f"{_MODULE}.end:end", f"ce + {_END}", TARTAGLIONE, needs=(*_YB, "features"), **_OWN),
    "biascon": LossEntry(f"{_MODULE}.bias_contrastive:biascon", f"{_BIASCON}, + 0.01 ce", HONG, needs=(*_YB, "logits"), evaluated_by="classifier"),
    "biascon+biasbal": LossEntry(f"{_MODULE}.bias_contrastive:biascon_biasbal", f"{_BIASCON}, + 0.01 biasbal", HONG, needs=(*_YB, "logits", "counts"), evaluated_by="classifier"),
    "biasbal": LossEntry(f"{_MODULE}.reweighting:biasbal", _BIASBAL, HONG, needs=(*_YB, "counts"), **_OWN),
    "reweight": LossEntry(f"{_MODULE}.reweighting:reweight", f"{_CE} / (G p(y, b))", "inverse group frequency", needs=(*_YB, "counts"), **_OWN),
    "resample": LossEntry(f"{_CROSS}:cross_entropy", f"{_CE}, groups drawn as often", "group-balanced sampling", needs=("labels", "groups"), **_OWN),
    "groupdro": LossEntry(f"{_MODULE}.group_dro:groupdro", "sum_g q_g L_g, q_g grows as exp(eta L_g)", SAGAWA, needs=(*_YB, "group_weights"), **_OWN),
    "dfr": LossEntry(f"{_CROSS}:cross_entropy", "ce, then a new last layer on balanced held-out groups", KIRICHENKO, needs=("labels", "held-out groups"), first_stage=FirstStage("ce", "encoder"), **_OWN),
}
# fmt: on
