"""The registry of losses: one line a loss. This module does not import PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from biascon.losses.parameters import POSITIVE, Range
from biascon.utils.distributions import Choice, Complement, Distribution, LogUniform, Uniform

Search = Mapping[str, Distribution]
BatchInput = Literal["views", "labels", "bias"]
TensorInput = Literal[
    "logits",
    "features",
    "counts",
    "group_weights",
    "bias_features",
    "bias_losses",
    "weights",
    "partner_labels",
    "partner_bias",
    "mix",
]

BATCH_INPUTS: dict[BatchInput, str] = {
    "views": "two or more views of an image",
    "labels": "the class of each image",
    "bias": "the value of the bias attribute of each image, or the group that the first stage infers",
}
TENSOR_INPUTS: dict[TensorInput, str] = {
    "logits": "outputs of a linear classifier on the features of the encoder",
    "features": "outputs of the encoder",
    "counts": "number of training images in each (label, bias) cell",
    "group_weights": "weight of each (label, bias) cell, which the loss updates at each step",
    "bias_features": "features of each image from a first-stage network that encodes the bias",
    "bias_losses": "loss of each image under a biased first-stage network, at the same epoch",
    "weights": "weight of each image",
    "partner_labels": "label of the image that each image is mixed with",
    "partner_bias": "bias value of the image that each image is mixed with",
    "mix": "share of each image in the mixture with its partner",
}


class Requirement(StrEnum):
    """A requirement of a loss on its run."""

    GROUP_SAMPLING = "group-balanced sampling"
    GROUP_SUBSAMPLING = "group subsampling"
    HELD_OUT_BIAS = "held-out bias labels"
    HELD_OUT_TRAINING = "held-out training images"
    ADDED_BIAS_FEATURES = "added bias features"


REQUIREMENTS: dict[Requirement, str] = {
    Requirement.GROUP_SAMPLING: "batches that draw every (label, bias) cell equally often",
    Requirement.GROUP_SUBSAMPLING: "every (label, bias) cell cut to the size of the smallest one, drawn anew",
    Requirement.HELD_OUT_BIAS: "a validation split with the bias attribute",
    Requirement.HELD_OUT_TRAINING: "training images that the first-stage network has not seen",
    Requirement.ADDED_BIAS_FEATURES: "features of first-stage networks, added to those of the encoder in training",
}
_BIAS_REQUIREMENTS = (
    Requirement.GROUP_SAMPLING,
    Requirement.GROUP_SUBSAMPLING,
    Requirement.HELD_OUT_BIAS,
)
NEEDS: dict[str, str] = dict([*BATCH_INPUTS.items(), *TENSOR_INPUTS.items(), *REQUIREMENTS.items()])


@dataclass(frozen=True)
class FirstStage:
    """The first-stage network of a method: a run of its own, which is trained before.

    Attributes:
        loss: The name of the loss that trains the network.
        gives: What the method takes from the network. ``"features"``: its features of the training images.
            ``"errors"``: the training images that it misclassifies. ``"losses"``: the loss of every image at
            every step. ``"encoder"``: the encoder itself, which is then not trained further.
            ``"predictions"``: the predicted labels, which take the place of the bias values.
            ``"environments"``: two groups inferred from its outputs, which take the place of the bias values.
        kernel_1x1: Whether all kernels of the network are 1 x 1. Such a network sees colors but no shapes.
        plain_views: Whether the network is trained on one view of each image without augmentation. Color
            jitter and grayscale hide a color bias from a network that has to find it.
        per_attribute: Whether there is one network for each attribute of a product of bias attributes.
        held_out: The share of the training images that the network does not see.
        epochs: The number of its epochs; 0 for as many as the method itself has.
    """

    loss: str
    gives: Literal["features", "errors", "losses", "encoder", "predictions", "environments"]
    kernel_1x1: bool = False
    plain_views: bool = True
    per_attribute: bool = False
    held_out: float = 0.0
    epochs: int = 0

    @property
    def replaces_bias(self) -> bool:
        """Whether its outputs take the place of the bias values of the training images."""
        return self.gives in ("predictions", "environments")


@dataclass(frozen=True)
class DatasetDefaults:
    """Values of parameters that the authors of a method state for a dataset.

    Attributes:
        builder: The builder of the dataset, such as ``bmnist``.
        values: The values by the name of the parameter of the loss.
        where: Parameters of the dataset that must have these values, such as ``{"rho": 0.99}``.
    """

    builder: str
    values: Mapping[str, Any]
    where: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """Factors that a method applies to the learning rate and to the epochs of the preset ``cpu``.

    They were chosen on the validation split: docs/results/methods/README.md.
    """

    lr: float = 1.0
    epochs: float = 1.0


@dataclass(frozen=True)
class LossEntry:
    """The description of a loss; reading it does not import the loss.

    Attributes:
        target: The function of the loss, as ``"module:function"``.
        formula: The loss of one anchor, in the notation of this package's docstring.
        paper: The paper that introduced the loss.
        input_kind: What ``z`` is: ``"embeddings"``, or ``"logits"`` of a linear classifier.
        head: The projection head before the embeddings. ``"needed"``: the method needs one. ``"optional"``:
            it has one, and ``model.head = []`` removes it. ``"none"``: the authors have none, so that the
            embeddings are the normalized features of the encoder; ``model.head`` may add one.
        batch_inputs: The parts of the batch that the loss uses.
        tensor_inputs: The further tensors that the loss takes, by keyword.
        optional_inputs: Tensors that the loss may be given by keyword; their default in its signature is None.
        requires: What the run must have besides these inputs.
        fixed: Parameters whose values belong to the name of the loss.
        defaults_by_value: Defaults that depend on another parameter: ``{"form": {"log1p": {"wa": 0.6}}}``.
        dataset_defaults: Values that the authors state for a dataset. They replace the defaults.
        first_stage: The first-stage network, None for a method of one stage.
        evaluated_by: What gives the headline accuracy: a linear ``"probe"`` on the frozen encoder, or the
            ``"classifier"`` that the method trains (for methods that change the classifier).
        predicts: The target of the classifier that is trained.
        cpu_scale: Factors for the preset ``cpu``.
        search: The distributions of its own parameters in a tuning study, by name. The parameters that it
            shares with other methods, such as the temperature, are not among them.
        ranges: The ranges of parameters that differ from those of their names (``losses.parameters.RANGES``).
    """

    target: str
    formula: str
    paper: str
    input_kind: Literal["embeddings", "logits"] = "embeddings"
    head: Literal["needed", "optional", "none"] = "optional"
    batch_inputs: tuple[BatchInput, ...] = ("labels",)
    tensor_inputs: tuple[TensorInput, ...] = ()
    optional_inputs: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults_by_value: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    dataset_defaults: tuple[DatasetDefaults, ...] = ()
    first_stage: FirstStage | None = None
    evaluated_by: Literal["probe", "classifier"] = "probe"
    predicts: Literal["labels", "bias"] = "labels"
    cpu_scale: Scale = Scale()
    search: Search = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """The batch inputs, the tensor inputs and the requirements: keys of ``NEEDS``."""
        return (*self.batch_inputs, *self.tensor_inputs, *self.requires)

    @property
    def groups_by_bias(self) -> bool:
        """Whether the loss or its batches group the images by their bias values."""
        return (
            "bias" in self.batch_inputs
            or bool({"counts", "group_weights", "partner_bias"} & set(self.tensor_inputs))
            or any(requirement in _BIAS_REQUIREMENTS for requirement in self.requires)
        )

    @property
    def infers_bias(self) -> bool:
        """Whether outputs of the first-stage network take the place of the bias values in training."""
        return self.first_stage is not None and self.first_stage.replaces_bias

    @property
    def uses_bias_labels(self) -> bool:
        """Whether the loss itself uses bias labels of training or validation images."""
        return self.groups_by_bias and not self.infers_bias


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

SARRIDIS_BADD = "BAdd: Sarridis et al., arXiv 2408.11439"
QIU = "AFR: Qiu et al., ICML 2023"
PARK = "FSCL: Park et al., CVPR 2022"
ZHANG_CNC = "CnC: Zhang et al., ICML 2022"
LIU_LC = "LC: Liu et al., ICLR 2023"
YAO = "LISA: Yao et al., ICML 2022"
IDRISSI = "SUBG: Idrissi et al., CLeaR 2022"

_SUPCON = "-mean_P [s_ip - log sum_A exp s]"
_SIMCLR = "-mean_S [s_ip - log sum_A exp s]"
_CONTEX = f"-wa mean_P f(s_ip - log sum_N exp s) {_SIMCLR.replace('-mean', '- wb mean')}"
_INFONCE = "-mean_P [s_ip - log(exp(s_ip - eps) + sum_N exp s)]"
_EPS_SUPCON = "-mean_P [s_ip - log(sum_P exp(s - eps) + sum_N exp s)]"
_FAIRKL = "weight R(cosines of aligned pairs, of conflicting pairs)"
_END = "alpha mean |g| of same-bias pairs + beta (1 - mean (1+g)/2 over Q pairs)"
_BIASCON = "-mean_Q [s_iq - log sum_A exp s]"
_FSCL = "-mean_P [s_ip - log sum_{other y, same b} exp s]"
_CNC = (
    "-mean_Q [s_iq - log(sum_Q exp s + sum_H exp s)], Q and H by first-stage predictions, + 0.25 ce"
)
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
_BIAS_NETWORK = FirstStage("bias-ce", "features", kernel_1x1=True)
_OWN_CLASSIFIER: Any = {"input_kind": "logits", "evaluated_by": "classifier"}

# Not an FB-Biased-MNIST, and not a sparse bias: the manifest of a BiasedMNIST does not have these keys.
_PLAIN_BMNIST: dict[str, Any] = {"foreground_rho": None, "biased_classes": None}
_FLAC_DEFAULTS = (
    *(DatasetDefaults("bmnist", {"alpha": alpha, "delta": 0.5}, {"rho": rho, **_PLAIN_BMNIST})
      for rho, alpha in ((0.99, 110.0), (0.995, 1500.0), (0.997, 2000.0), (0.999, 10000.0))),
    DatasetDefaults("utkface", {"alpha": 1000.0, "delta": 1.0}),
    DatasetDefaults("celeba", {"alpha": 30000.0, "delta": 0.5}, {"target": "Blond_Hair"}),
    DatasetDefaults("celeba", {"alpha": 20000.0, "delta": 0.5}, {"target": "Heavy_Makeup"}),
)  # fmt: skip

_WEIGHTS_SEARCH: Search = {"wa": Uniform(0.1, 0.9), "wb": Complement("wa")}
_EPSILON_SEARCH: Search = {"epsilon": Uniform(0.0, 0.5)}
_WEIGHT_SEARCH: Search = {"weight": LogUniform(0.1, 10.0)}
_END_SEARCH: Search = {"alpha": LogUniform(0.03, 3.0), "beta": LogUniform(0.03, 3.0)}
_BIASCON_SEARCH: Search = {"ce_weight": LogUniform(1e-3, 1e-1), "oversample": LogUniform(1.0, 30.0)}

# fmt: off
LOSSES: dict[str, LossEntry] = {
    "ce": LossEntry(f"{_CROSS_ENTROPY}:cross_entropy", _CE, "cross-entropy", input_kind="logits"),
    "simclr": LossEntry(f"{_PACKAGE}.simclr:simclr", _SIMCLR, CHEN, head="needed", batch_inputs=("views",)),
    "supcon": LossEntry(f"{_PACKAGE}.supcon:supcon", _SUPCON, KHOSLA),
    "contex": LossEntry(_CONTEX_TARGET, f"{_CONTEX}, f(u) = u; 3 further forms", DENG, head="needed", batch_inputs=_VIEWS_LABELS, defaults_by_value=_CONTEX_WEIGHTS, search=_WEIGHTS_SEARCH),
    "contex-clip": LossEntry(_CONTEX_TARGET, f"{_CONTEX}, f(u) = min(u, 0)", DENG, head="needed", batch_inputs=_VIEWS_LABELS, fixed={"form": "clip"}, search=_WEIGHTS_SEARCH),
    "eps_supinfonce": LossEntry(f"{_PACKAGE}.eps_margin:eps_supinfonce", _INFONCE, BARBANO, search=_EPSILON_SEARCH),
    "eps_supcon": LossEntry(f"{_PACKAGE}.eps_margin:eps_supcon", _EPS_SUPCON, BARBANO, search=_EPSILON_SEARCH),
    "gce": LossEntry(f"{_PACKAGE}.lff:gce", "(1 - p_y^q) / q", ZHANG, input_kind="logits", search={"q": Uniform(0.3, 0.95)}),
    "bias-ce": LossEntry(f"{_CROSS_ENTROPY}:bias_cross_entropy", "-log softmax(logits)_b", "cross-entropy of the bias attribute", input_kind="logits", batch_inputs=("bias",), predicts="bias"),
    "lff": LossEntry(f"{_PACKAGE}.lff:lff", f"L_b / (L_b + L_d) ({_CE})", NAM, tensor_inputs=("bias_losses",), first_stage=FirstStage("gce", "losses"), **_OWN_CLASSIFIER),
    "jtt": LossEntry(f"{_PACKAGE}.jtt:jtt", f"w ({_CE}), w = up for images that a short ce run misclassifies", LIU, tensor_inputs=("weights",), first_stage=FirstStage("ce", "errors"), search={"up": LogUniform(5.0, 200.0), "first_epochs": Choice((1, 2))}, **_OWN_CLASSIFIER),
    "softcon": LossEntry(f"{_PACKAGE}.bias_contrastive:softcon", f"{_SOFTCON}, + 0.01 ce", HONG, head="none", tensor_inputs=("logits", "bias_features"), optional_inputs=("logit_labels",), first_stage=_COLOR_NETWORK, evaluated_by="classifier", search={"ce_weight": LogUniform(1e-3, 1e-1)}),
    "flac": LossEntry(f"{_PACKAGE}.flac:flac", "ce + alpha Jeffreys(1 - s_b, s_f)", SARRIDIS, tensor_inputs=("features", "bias_features"), first_stage=_BIAS_NETWORK, dataset_defaults=_FLAC_DEFAULTS, cpu_scale=Scale(lr=0.25), search={"alpha": LogUniform(30.0, 30000.0)}, **_OWN_CLASSIFIER),
    "fairkl": LossEntry(f"{_PACKAGE}.fairkl:fairkl", f"eps_supinfonce + {_FAIRKL}", BARBANO, head="none", batch_inputs=_LABELS_BIAS, search={**_EPSILON_SEARCH, **_WEIGHT_SEARCH}),
    "supcon+fairkl": LossEntry(f"{_PACKAGE}.supcon:supcon_fairkl", f"supcon + {_FAIRKL}", f"{KHOSLA}; {BARBANO}", batch_inputs=_LABELS_BIAS, search=_WEIGHT_SEARCH),
    "supcon+end": LossEntry(f"{_PACKAGE}.supcon:supcon_end", f"supcon + {_END}", f"{KHOSLA}; {TARTAGLIONE}", batch_inputs=_LABELS_BIAS, search=_END_SEARCH),
    "end": LossEntry(f"{_PACKAGE}.end:end", f"ce + {_END}", TARTAGLIONE, batch_inputs=_LABELS_BIAS, tensor_inputs=("features",), search=_END_SEARCH, **_OWN_CLASSIFIER),
    "biascon": LossEntry(f"{_PACKAGE}.bias_contrastive:biascon", f"{_BIASCON}, + 0.01 ce", HONG, head="none", batch_inputs=_LABELS_BIAS, tensor_inputs=("logits",), optional_inputs=("logit_labels",), evaluated_by="classifier", search=_BIASCON_SEARCH),
    "biascon+biasbal": LossEntry(f"{_PACKAGE}.bias_contrastive:biascon_biasbal", f"{_BIASCON}, + 0.01 biasbal", HONG, head="none", batch_inputs=_LABELS_BIAS, tensor_inputs=("logits", "counts"), optional_inputs=("logit_labels", "logit_bias"), evaluated_by="classifier", search=_BIASCON_SEARCH),
    "biasbal": LossEntry(f"{_PACKAGE}.reweighting:biasbal", _BIASBAL, HONG, batch_inputs=_LABELS_BIAS, tensor_inputs=("counts",), **_OWN_CLASSIFIER),
    "reweight": LossEntry(f"{_PACKAGE}.reweighting:reweight", f"sum_i w_i ({_CE}) / sum_i w_i over the batch, w = 1 / p(y, b)", "inverse group frequency", batch_inputs=_LABELS_BIAS, tensor_inputs=("counts",), **_OWN_CLASSIFIER),
    "resample": LossEntry(f"{_CROSS_ENTROPY}:cross_entropy", f"{_CE}, every (y, b) cell drawn equally often", "group-balanced sampling", requires=(Requirement.GROUP_SAMPLING,), fixed=_NO_DECOUPLING, cpu_scale=Scale(epochs=0.4), **_OWN_CLASSIFIER),
    "groupdro": LossEntry(f"{_PACKAGE}.group_dro:groupdro", "sum_g q_g L_g, q_g grows as exp(eta L_g)", SAGAWA, batch_inputs=_LABELS_BIAS, tensor_inputs=("group_weights",), requires=(Requirement.GROUP_SAMPLING,), cpu_scale=Scale(epochs=0.4), search={"eta": LogUniform(1e-3, 1e-1)}, **_OWN_CLASSIFIER),
    "dfr": LossEntry(f"{_CROSS_ENTROPY}:cross_entropy", "ce, then a new last layer on cell-balanced held-out images", KIRICHENKO, requires=(Requirement.HELD_OUT_BIAS,), first_stage=FirstStage("ce", "encoder", plain_views=False), fixed=_NO_DECOUPLING, **_OWN_CLASSIFIER),
    "fscl": LossEntry(f"{_PACKAGE}.fscl:fscl", _FSCL, PARK, batch_inputs=_LABELS_BIAS, fixed={"group_norm": False}),
    "fscl+": LossEntry(f"{_PACKAGE}.fscl:fscl", f"{_FSCL}, every (y, b) cell with the same weight", PARK, batch_inputs=_LABELS_BIAS, fixed={"group_norm": True}),
    "cnc": LossEntry(f"{_PACKAGE}.cnc:cnc", _CNC, ZHANG_CNC, head="none", batch_inputs=_LABELS_BIAS, tensor_inputs=("logits",), requires=(Requirement.GROUP_SAMPLING,), first_stage=FirstStage("ce", "predictions", epochs=1), evaluated_by="classifier", search={"contrast_weight": Uniform(0.5, 0.95)}),
    "lc": LossEntry(f"{_PACKAGE}.lc:lc", "-log softmax(logits + log p(y|b))_y of mixed images, b predicted by a gce run", LIU_LC, batch_inputs=_LABELS_BIAS, tensor_inputs=("counts", "partner_bias", "mix"), first_stage=FirstStage("gce", "predictions"), search={"alpha": LogUniform(0.05, 0.5)}, ranges={"alpha": Range(0, 0.5, excludes_low=True)}, **_OWN_CLASSIFIER),
    "lisa": LossEntry(f"{_PACKAGE}.lisa:lisa", "mix ce(y) + (1 - mix) ce(y of the partner) of mixed images", YAO, batch_inputs=_LABELS_BIAS, tensor_inputs=("partner_labels", "mix"), requires=(Requirement.GROUP_SAMPLING,), search={"alpha": LogUniform(0.5, 4.0), "p_label": Uniform(0.0, 1.0)}, ranges={"alpha": POSITIVE}, **_OWN_CLASSIFIER),
    "badd": LossEntry(f"{_PACKAGE}.badd:badd", "-log softmax(W (h + m sum_a f_a))_y, f_a bias features", SARRIDIS_BADD, requires=(Requirement.ADDED_BIAS_FEATURES,), first_stage=FirstStage("bias-ce", "features", kernel_1x1=True, per_attribute=True), search={"m": LogUniform(0.3, 3.0)}, **_OWN_CLASSIFIER),
    "afr": LossEntry(f"{_PACKAGE}.afr:afr", "ce, then a new last layer with weights exp(-gamma p_y) / n_y", QIU, requires=(Requirement.HELD_OUT_TRAINING,), first_stage=FirstStage("ce", "encoder", plain_views=False, held_out=0.2), search={"gamma": LogUniform(0.5, 20.0)}, **_OWN_CLASSIFIER),
    "subg": LossEntry(f"{_CROSS_ENTROPY}:cross_entropy", f"{_CE}, every (y, b) cell cut to the size of the smallest", IDRISSI, requires=(Requirement.GROUP_SUBSAMPLING,), fixed=_NO_DECOUPLING, cpu_scale=Scale(epochs=0.4), **_OWN_CLASSIFIER),
}
# fmt: on
