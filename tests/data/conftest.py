"""Fixtures of the tests of datasets: a small BiasedMNIST, its splits and its description."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits
from biascon.data.dataset import (
    Split,
)
from biascon.data.manifest import DatasetDescription


@pytest.fixture
def folder(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "small")


@pytest.fixture
def splits(digits: Digits) -> dict[str, Split]:
    return biased_mnist.build_splits(digits, BiasedMNISTSpec(0.9))


@pytest.fixture
def description(digits: Digits) -> DatasetDescription:
    return biased_mnist.describe_biased_mnist(digits, BiasedMNISTSpec(0.9))
