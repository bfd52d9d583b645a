"""Fixtures of the tests of tuning studies: a small BiasedMNIST, and made-up metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from biascon.data import dataset
from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits
from biascon.tuning import run
from tests.tuning.fake_studies import collect_made_up


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """The folder of a BiasedMNIST with 900 training, 100 validation and 200 test images."""
    spec, folder = BiasedMNISTSpec(0.9), tmp_path_factory.mktemp("data") / "small"
    description = biased_mnist.describe_biased_mnist(digits, spec)
    dataset.save(folder, biased_mnist.build_splits(digits, spec), description, replace=False)
    return folder


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    """Let studies that build their dataset build it from few digits."""
    monkeypatch.setattr(biased_mnist, "find_digits", lambda *_: digits)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the runs of a study have made-up metrics."""
    monkeypatch.setattr(run, "collect_run", collect_made_up)
