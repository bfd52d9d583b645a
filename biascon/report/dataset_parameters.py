"""Parameters of BiasedMNIST datasets: rho and the set of digits that a dataset is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from biascon.runs.identity import RunIdentity


@dataclass(frozen=True)
class BiasedMNISTParameters:
    """How a BiasedMNIST was made.

    Attributes:
        rho: The share of the training images of a class that have its color, as text: ``"0.997"``.
        source_kind: The set of digits: ``mnist``, ``mnist5k``, ``fashion-mnist`` or ``kmnist``.
        variation: What makes it another dataset than a BiasedMNIST at this rho, as in its name:
            ``"fg0.9"`` (FB-Biased-MNIST), ``"biased0.1.2"`` (sparse bias), or both, joined by ``"-"``.
    """

    rho: str
    source_kind: str
    variation: str = ""


def biased_mnist_parameters(identity: RunIdentity) -> BiasedMNISTParameters | None:
    """Return the parameters of the dataset of a run, None if it is no BiasedMNIST."""
    if not identity.builder:
        return parameters_of_old_run(identity.dataset)
    if identity.builder != "bmnist":
        return None
    parameters = identity.dataset_parameters
    foreground, classes = (parameters.get(key) for key in ("foreground_rho", "biased_classes"))
    parts = [] if foreground is None else [f"fg{float(foreground)!r}"]
    parts += [] if classes is None else [f"biased{'.'.join(map(str, classes))}"]
    return BiasedMNISTParameters(
        repr(float(parameters["rho"])), identity.source_kind, "-".join(parts)
    )


def parameters_of_old_run(dataset: str) -> BiasedMNISTParameters | None:
    """Return the parameters that the name of a dataset states, None if it is no BiasedMNIST.

    Only for evaluations of format 1, which have no parameters of the dataset.

    >>> parameters_of_old_run("fashion-bmnist-0.9-fairkl")
    BiasedMNISTParameters(rho='0.9', source_kind='fashion-mnist', variation='')
    """
    match = re.match(r"((?:fashion-|k)?bmnist(?:5k)?)-(\d\.\d+)", dataset)
    if match is None:
        return None
    return BiasedMNISTParameters(match[2], match[1].replace("bmnist", "mnist"))
