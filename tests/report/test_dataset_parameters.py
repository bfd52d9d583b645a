"""The parameters of BiasedMNIST datasets, of evaluations of both formats."""

from __future__ import annotations

from typing import Any

import pytest

from biascon.report.dataset_parameters import BiasedMNISTParameters, biased_mnist_parameters
from tests.report.fakes import bmnist, made_up


def parameters_of(**changes: Any) -> BiasedMNISTParameters | None:
    return biased_mnist_parameters(made_up("ce", 0, 0.5, **changes).evaluation.identity)


@pytest.mark.parametrize("source_kind", ["mnist", "mnist5k", "fashion-mnist", "kmnist"])
def test_name_and_parameters_of_a_dataset_agree(source_kind: str) -> None:
    expected = BiasedMNISTParameters("0.997", source_kind)
    assert parameters_of(**bmnist(0.997, source_kind)) == expected
    old = {"builder": "", "source_kind": "", "dataset_parameters": {}}
    assert parameters_of(**bmnist(0.997, source_kind) | old) == expected


@pytest.mark.parametrize(
    ("parameters", "variation"),
    [
        ({"foreground_rho": 0.9}, "fg0.9"),
        ({"biased_classes": [0, 1, 2]}, "biased0.1.2"),
        ({"foreground_rho": 1.0, "biased_classes": [7]}, "fg1.0-biased7"),
    ],
)
def test_two_attributes_or_few_biased_classes_are_another_dataset(
    parameters: dict[str, Any], variation: str
) -> None:
    identity = bmnist(0.997, **parameters)
    assert parameters_of(**identity) == BiasedMNISTParameters("0.997", "mnist", variation)


def test_name_of_a_new_run_decides_nothing() -> None:
    assert parameters_of(**bmnist(0.9) | {"dataset": "a-name"}) == BiasedMNISTParameters(
        "0.9", "mnist"
    )
    assert parameters_of(**bmnist(0.9) | {"builder": "table"}) is None


def test_other_dataset_of_an_old_run_has_no_parameters() -> None:
    assert parameters_of(dataset="celeba-blond", builder="", dataset_parameters={}) is None
