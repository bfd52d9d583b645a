"""License and citation of the images of each source, as the cards in ``datasets/`` state them."""

from __future__ import annotations

from dataclasses import dataclass

from biascon.data.manifest import DatasetDescription


@dataclass(frozen=True)
class Terms:
    """Under which terms the images of a dataset may be used, and which work to cite.

    Attributes:
        license: The license as text.
        citation: The works to cite, or "" if none is known.
    """

    license: str
    citation: str = ""


_RESEARCH = (
    "Non-commercial research only. Do not publish the images, nor a dataset folder made of them."
)
_NOT_STATED = (
    "The authors state no license; the rights in the images belong to their makers. Do not redistribute the "
    "images, nor a dataset folder made of them."
)
_OWN = (
    "The terms of the images that the dataset was built from apply to the dataset folder, which holds their "
    "pixels."
)
_LECUN = (
    "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. Proc. IEEE "
    "1998."
)
_BAHNG = (
    "Bahng, Chun, Yun, Choo, Oh: Learning De-biased Representations with Biased Representations. ICML "
    "2020."
)
_KRIZHEVSKY = (
    "Krizhevsky: Learning Multiple Layers of Features from Tiny Images. Technical report, University of "
    "Toronto, 2009."
)
_CORRUPTIONS = (
    "Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations. "
    "ICLR 2019. Nam, Cha, Ahn, Lee, Shin: Learning from Failure. NeurIPS 2020."
)
_PARTS = "{} Do not publish a dataset folder, which holds the pixels of the images."
_MNIST = Terms("The authors' page of MNIST states no license.", _LECUN)

# By the kind of the source in the manifest.
TERMS: dict[str, Terms] = {
    "mnist": _MNIST,
    "mnist5k": _MNIST,
    "fashion-mnist": Terms(
        "MIT",
        "Xiao, Rasul, Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning "
        "Algorithms. arXiv 1708.07747, 2017.",
    ),
    "kmnist": Terms(
        "CC BY-SA 4.0",
        "Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto, Ha: Deep Learning for Classical Japanese "
        "Literature. arXiv 1812.01718, 2018.",
    ),
    "utkface": Terms(
        _RESEARCH,
        "Zhang, Song, Qi: Age Progression/Regression by Conditional Adversarial Autoencoder. CVPR 2017.",
    ),
    "celeba": Terms(
        _RESEARCH, "Liu, Luo, Wang, Tang: Deep Learning Face Attributes in the Wild. ICCV 2015."
    ),
    "waterbirds": Terms(
        _PARTS.format("The terms of Caltech-UCSD Birds-200-2011 and of Places apply."),
        "Sagawa, Koh, Hashimoto, Liang: Distributionally Robust Neural Networks for Group Shifts. ICLR 2020.",
    ),
    "urbancars": Terms(
        _PARTS.format("The terms of Stanford Cars, Places and LVIS (COCO) apply."),
        "Li et al.: A Whac-A-Mole Dilemma: Shortcuts Come in Multiples Where Mitigating One Amplifies "
        "Others. CVPR 2023.",
    ),
    "fairface": Terms(
        "CC BY 4.0. The images show persons: do not publish a dataset folder.",
        "Kärkkäinen, Joo: FairFace: Face Attribute Dataset for Balanced Race, Gender, and Age for Bias "
        "Measurement and Mitigation. WACV 2021.",
    ),
    "debias": Terms(
        _PARTS.format(
            "The terms of the source of the set apply: MNIST, CIFAR-10, or FFHQ (non-commercial)."
        ),
        "Lee, Kim, Lee, Lee, Choo: Learning Debiased Representation via Disentangled Feature "
        "Augmentation. NeurIPS 2021.",
    ),
    "bar": Terms(
        _PARTS.format("The terms of imSitu, of Stanford 40 Actions and of web pages apply."),
        "Nam, Cha, Ahn, Lee, Shin: Learning from Failure. NeurIPS 2020.",
    ),
    "cifar10": Terms(_NOT_STATED, _KRIZHEVSKY),
    "cifar100": Terms(_NOT_STATED, _KRIZHEVSKY),
    "caltech101": Terms(
        _NOT_STATED,
        "Fei-Fei, Fergus, Perona: Learning generative visual models from few training examples: an "
        "incremental Bayesian approach tested on 101 object categories. CVPR Workshop on Generative-Model "
        "Based Vision, 2004.",
    ),
    "caltech256": Terms(
        _NOT_STATED,
        "Griffin, Holub, Perona: Caltech-256 object category dataset. Technical report CNS-TR-2007-001, "
        "California Institute of Technology, 2007.",
    ),
    "imagenet": Terms(
        "Non-commercial research and educational purposes only, by ImageNet's terms of access. Do not "
        "redistribute the images, nor a dataset folder made of them.",
        "Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge. International Journal of "
        "Computer Vision 115:211-252, 2015.",
    ),
}


def find_terms(description: DatasetDescription) -> Terms:
    """Return the terms of a dataset.

    The keys ``license`` and ``citation`` of the manifest come first; a plug-in may set them. Otherwise the
    kind of the source decides. A source without an entry has the terms of the user's own images.
    """
    terms = TERMS.get(str(description.source.get("kind")), Terms(_OWN))
    citation = terms.citation
    if description.builder == "bmnist":
        citation = f"{citation} {_BAHNG}".strip()
    if description.builder == "corrupted-cifar10":
        citation = f"{citation} {_CORRUPTIONS}"
    own = {key: description.extra.get(key) for key in ("license", "citation")}
    return Terms(
        own["license"] if isinstance(own["license"], str) else terms.license,
        own["citation"] if isinstance(own["citation"], str) else citation,
    )
