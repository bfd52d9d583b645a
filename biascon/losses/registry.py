"""The registry of losses: one line a loss. This module does not import PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

BatchInput = Literal["views", "labels", "bias"]
TensorInput = Literal[
    "logits", "features", "counts", "group_weights", "bias_features", "bias_losses", "weights"
]

BATCH_INPUTS: dict[BatchInput, str] = {
    "views": "two or more views of an image",
    "labels": "the class of each image",
    "bias": "the value of the bias attribute of each image",
}
TENSOR_INPUTS: dict[TensorInput, str] = {
    "logits": "outputs of a linear classifier on the encoder, beside the projection head",
    "features": "outputs of the encoder",
    "counts": "number of training images in each (label, bias) cell",
    "group_weights": "weight of each (label, bias) cell, which the loss updates at each step",
    "bias_features": "features of each image from a first-stage network that encodes the bias",
    "bias_losses": "loss of each image under a biased first-stage network, at the same epoch",
    "weights": "weight of each image",
}


class Requirement(StrEnum):
    """A requirement of a loss on its run. Each one uses the bias labels of the dataset."""

    GROUP_SAMPLING = "group-balanced sampling"
    HELD_OUT_BIAS = "held-out bias labels"


REQUIREMENTS: dict[Requirement, str] = {
    Requirement.GROUP_SAMPLING: "batches that draw every (label, bias) cell equally often",
    Requirement.HELD_OUT_BIAS: "a validation split with the bias attribute",
}
NEEDS: dict[str, str] = dict([*BATCH_INPUTS.items(), *TENSOR_INPUTS.items(), *REQUIREMENTS.items()])


@dataclass(frozen=True)
class FirstStage:
    """The first-stage network of a method: a run of its own, which is trained before.

    Attributes:
        loss: The name of the loss that trains the network.
        gives: What the method takes from the network: its ``"features"`` or its ``"errors"`` on the training
            images, the per-image ``"losses"`` of every step, or the ``"encoder"`` itself, which is then not
            trained further.
        kernel_1x1: Whether all kernels of the network are 1 x 1. Such a network sees colors but no shapes.
    """

    loss: str
    gives: Literal["features", "errors", "losses", "encoder"]
    kernel_1x1: bool = False


@dataclass(frozen=True)
class LossEntry:
    """The description of a loss; reading it does not import the loss.

    Attributes:
        target: The function of the loss, as ``"module:function"``.
        formula: The loss of one anchor, in the notation of this package's docstring.
        paper: The paper that introduced the loss.
        input_kind: What ``z`` is: ``"embeddings"`` of a projection head, or ``"logits"`` of a linear classifier.
        batch_inputs: The parts of the batch that the loss uses.
        tensor_inputs: The further tensors that the loss takes, by keyword.
        optional_inputs: Tensors that the loss may be given by keyword; their default in its signature is None.
        requires: What the run must have besides these inputs.
        fixed: Parameters whose values belong to the name of the loss.
        defaults_by_value: Defaults that depend on the value of another parameter, by its name and value:
            ``{"form": {"log1p": {"wa": 0.6}}}``.
        first_stage: The first-stage network, None for a method of one stage.
        evaluated_by: What gives the headline accuracy: a linear ``"probe"`` on the frozen encoder, or the
            ``"classifier"`` that the method trains (for methods that change the classifier).
        predicts: The target of the classifier that is trained.
    """

    target: str
    formula: str
    paper: str
    input_kind: Literal["embeddings", "logits"] = "embeddings"
    batch_inputs: tuple[BatchInput, ...] = ("labels",)
    tensor_inputs: tuple[TensorInput, ...] = ()
    optional_inputs: tuple[TensorInput, ...] = ()
    requires: tuple[Requirement, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults_by_value: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    first_stage: FirstStage | None = None
    evaluated_by: Literal["probe", "classifier"] = "probe"
    predicts: Literal["labels", "bias"] = "labels"

    @property
    def needs(self) -> tuple[str, ...]:
        """The batch inputs, the tensor inputs and the requirements: keys of ``NEEDS``."""
        return (*self.batch_inputs, *self.tensor_inputs, *self.requires)

    @property
    def uses_bias_labels(self) -> bool:
        """Whether the loss itself uses bias labels of training or validation images."""
        return "bias" in self.batch_inputs or "counts" in self.tensor_inputs or bool(self.requires)


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
_FAIRKL = "weight R(cosines of aligned pairs, of conflicting pairs)"
_END = "alpha mean |g| of same-bias pairs + beta (1 - mean (1+g)/2 over Q pairs)"
_BIASCON = "-mean_Q [s_iq - log sum_A exp s]"
_CE = "-log softmax(logits)_y"
_BIASBAL = "-log softmax(logits + log p(y|b))_y"
_SOFTCON = "-sum_P w_ip [s_ip - log sum_A exp s] / sum_P w_ip, w = 1 - cos of bias features"

_PACKAGE = "biascon.losses"
_CROSS_ENTROPY = f"{_PACKAGE}.cross_entropy"
_CONTEX_TARGET = f"{_PACKAGE}.contex:contex"
_CONTEX_WEIGHTS = {"form": {"log1p": {"wa": 0.6, "wb": 0.4}, "separate": {"wa": 0.7, "wb": 0.3}}}
_VIEWS_LABELS: tuple[BatchInput, ...] = ("views", "labels")
_LABELS_BIAS: tuple[BatchInput, ...] = ("labels", "bias")
_NO_DECOUPLING = {"decoupling": 0.0}
_COLOR_NETWORK = FirstStage("ce", "features", kernel_1x1=True)
_OWN_CLASSIFIER: Any = {"input_kind": "logits", "evaluated_by": "classifier"}

# fmt: off
LOSSES: dict[str, LossEntry] = {
    "ce": LossEntry(f"{_CROSS_ENTROPY}:cross_entropy", _CE, "cross-entropy", input_kind="logits"),
    "simclr": LossEntry(f"{_PACKAGE}.simclr:simclr", _SIMCLR, CHEN, batch_inputs=("views",)),
    "supcon": LossEntry(f"{_PACKAGE}.supcon:supcon", _SUPCON, KHOSLA),
    "contex": LossEntry(_CONTEX_TARGET, f"{_CONTEX}, f(u) = u; 3 further forms", DENG, batch_inputs=_VIEWS_LABELS, defaults_by_value=_CONTEX_WEIGHTS),
    "contex-clip": LossEntry(_CONTEX_TARGET, f"{_CONTEX}, f(u) = min(u, 0)", DENG, batch_inputs=_VIEWS_LABELS, fixed={"form": "clip"}),
    "eps_supinfonce": LossEntry(f"{_PACKAGE}.eps_margin:eps_supinfonce", _INFONCE, BARBANO),
    "eps_supcon": LossEntry(f"{_PACKAGE}.eps_margin:eps_supcon", _EPS_SUPCON, BARBANO),
    "gce": LossEntry(f"{_PACKAGE}.lff:gce", "(1 - p_y^q) / q", ZHANG, input_kind="logits"),
    "bias-ce": LossEntry(f"{_CROSS_ENTROPY}:bias_cross_entropy", "-log softmax(logits)_b", "cross-entropy of the bias attribute", input_kind="logits", batch_inputs=("bias",), predicts="bias"),
    "lff": LossEntry(f"{_PACKAGE}.lff:lff", f"L_b / (L_b + L_d) ({_CE})", NAM, tensor_inputs=("bias_losses",), first_stage=FirstStage("gce", "losses"), **_OWN_CLASSIFIER),
    "jtt": LossEntry(f"{_PACKAGE}.jtt:jtt", f"w ({_CE}), w = up for images that a short ce run misclassifies", LIU, tensor_inputs=("weights",), first_stage=FirstStage("ce", "errors"), **_OWN_CLASSIFIER),
    "softcon": LossEntry(f"{_PACKAGE}.bias_contrastive:softcon", f"{_SOFTCON}, + 0.01 ce", HONG, tensor_inputs=("logits", "bias_features"), first_stage=_COLOR_NETWORK, evaluated_by="classifier"),
    "flac": LossEntry(f"{_PACKAGE}.flac:flac", "ce + alpha Jeffreys(1 - s_b, s_f)", SARRIDIS, tensor_inputs=("features", "bias_features"), first_stage=FirstStage("bias-ce", "features"), **_OWN_CLASSIFIER),
    "fairkl": LossEntry(f"{_PACKAGE}.fairkl:fairkl", f"eps_supinfonce + {_FAIRKL}", BARBANO, batch_inputs=_LABELS_BIAS),
    "supcon+fairkl": LossEntry(f"{_PACKAGE}.supcon:supcon_fairkl", f"supcon + {_FAIRKL}", f"{KHOSLA}; {BARBANO}", batch_inputs=_LABELS_BIAS),
    "supcon+end": LossEntry(f"{_PACKAGE}.supcon:supcon_end", f"supcon + {_END}", f"{KHOSLA}; {TARTAGLIONE}", batch_inputs=_LABELS_BIAS),
    "end": LossEntry(f"{_PACKAGE}.end:end", f"ce + {_END}", TARTAGLIONE, batch_inputs=_LABELS_BIAS, tensor_inputs=("features",), **_OWN_CLASSIFIER),
    "biascon": LossEntry(f"{_PACKAGE}.bias_contrastive:biascon", f"{_BIASCON}, + 0.01 ce", HONG, batch_inputs=_LABELS_BIAS, tensor_inputs=("logits",), evaluated_by="classifier"),
    "biascon+biasbal": LossEntry(f"{_PACKAGE}.bias_contrastive:biascon_biasbal", f"{_BIASCON}, + 0.01 biasbal", HONG, batch_inputs=_LABELS_BIAS, tensor_inputs=("logits", "counts"), evaluated_by="classifier"),
    "biasbal": LossEntry(f"{_PACKAGE}.reweighting:biasbal", _BIASBAL, HONG, batch_inputs=_LABELS_BIAS, tensor_inputs=("counts",), **_OWN_CLASSIFIER),
    "reweight": LossEntry(f"{_PACKAGE}.reweighting:reweight", f"sum_i w_i ({_CE}) / sum_i w_i over the batch, w = 1 / p(y, b)", "inverse group frequency", batch_inputs=_LABELS_BIAS, tensor_inputs=("counts",), **_OWN_CLASSIFIER),
    "resample": LossEntry(f"{_CROSS_ENTROPY}:cross_entropy", f"{_CE}, every (y, b) cell drawn equally often", "group-balanced sampling", requires=(Requirement.GROUP_SAMPLING,), fixed=_NO_DECOUPLING, **_OWN_CLASSIFIER),
    "groupdro": LossEntry(f"{_PACKAGE}.group_dro:groupdro", "sum_g q_g L_g, q_g grows as exp(eta L_g)", SAGAWA, batch_inputs=_LABELS_BIAS, tensor_inputs=("group_weights",), **_OWN_CLASSIFIER),
    "dfr": LossEntry(f"{_CROSS_ENTROPY}:cross_entropy", "ce, then a new last layer on cell-balanced held-out images", KIRICHENKO, requires=(Requirement.HELD_OUT_BIAS,), first_stage=FirstStage("ce", "encoder"), fixed=_NO_DECOUPLING, **_OWN_CLASSIFIER),
}
# fmt: on
