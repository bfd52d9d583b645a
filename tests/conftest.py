"""Fixtures that several test packages share. No test uses the network or the folders of the user."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from biascon.cli import main
from biascon.data import dataset
from biascon.data.builders import biased_mnist, mnist_source, mnist_variants
from biascon.data.builders.biased_mnist import BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits
from biascon.errors import BiasconWarning

MNIST = os.environ.get(
    mnist_source.ENVIRONMENT_VARIABLE
)  # read before a fixture deletes the variable


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the MNIST and the cache of the user, and refuse every download."""
    monkeypatch.delenv(mnist_source.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist_source, "download", lambda folder: "tests use no network")
    monkeypatch.setattr(mnist_source, "fetch_all", lambda *_: "tests use no network")
    for variant in mnist_variants.SETS.values():
        monkeypatch.delenv(variant.variable, raising=False)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """Return the folder of the real MNIST, or skip the test if the environment names none."""
    if not MNIST:
        pytest.skip(
            f"needs the real MNIST: set {mnist_source.ENVIRONMENT_VARIABLE} to the folder of its IDX files"
        )
    return Path(MNIST)


@pytest.fixture(scope="session")
def digits() -> Digits:
    """Return digits with 100 training and 20 test images in each class, from integer arithmetic alone."""
    n = 1200
    i, row, column = np.ogrid[:n, :28, :28]
    gray = (i * 37 + row * 11 + column * 5 + (row * column) % 17) % 256
    images = np.where((row + 2 * column + i) % 5 < 2, gray, 0).astype(np.uint8)
    labels = np.arange(n, dtype=np.int64) * 7 % 10  # interleaved, as in MNIST
    return Digits(
        kind="mnist5k",
        origin="made for the tests",
        sha256={"made": "0" * 64},
        train_images=images[:1000],
        train_labels=labels[:1000],
        test_images=images[1000:],
        test_labels=labels[1000:],
        train_index=np.arange(1000) * 3 + 1,  # differs from the position
        test_index=np.arange(200) * 3 + 2,
    )


@pytest.fixture(scope="session")
def make_dataset(digits: Digits) -> Callable[..., Path]:
    """Return a function that writes a small BiasedMNIST: ``make_dataset(folder, rho=0.9)`` -> folder."""

    def make(folder: Path, **parameters: object) -> Path:
        spec = BiasedMNISTSpec(**{"rho": 0.9, **parameters})  # type: ignore[arg-type]
        description = biased_mnist.describe_biased_mnist(digits, spec)
        dataset.save(folder, biased_mnist.build_splits(digits, spec), description, replace=False)
        return folder

    return make


class Outcome(NamedTuple):
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Return a function that runs a command in an empty folder: ``cli("list", "losses")``."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> Outcome:
        capsys.readouterr()
        code: object = 0
        with warnings.catch_warnings():  # also restores warnings.showwarning
            warnings.simplefilter("default", BiasconWarning)
            try:
                main([str(word) for word in words])
            except SystemExit as stop:
                code = stop.code or 0
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return run
