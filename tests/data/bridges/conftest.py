"""Datasets for the tests of the bridges, built once a file."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.bridges.hugging_face_images import import_datasets
from biascon.data.dataset import Split, load, save
from biascon.data.split import BiasedDataset
from biascon.errors import MissingPackageError
from tests.small_datasets import describe_dataset, write_faces


@pytest.fixture(scope="module")
def faces_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("bridges") / "faces", n=40)


@pytest.fixture(scope="module")
def faces(faces_folder: Path) -> BiasedDataset:
    return load(faces_folder)


@pytest.fixture
def gray_folder(tmp_path: Path) -> Path:
    """Write gray images without a bias attribute and without a validation split."""
    splits = {}
    for name, n in (("train", 9), ("test", 5)):
        labels = np.arange(n) % 2
        pixels = (np.arange(n * 64).reshape(n, 1, 8, 8) * 7 % 256).astype(np.uint8)
        splits[name] = Split(pixels, labels, labels * 0, labels > 5, np.arange(n) + 100)
    save(tmp_path / "gray", splits, describe_dataset("gray", ["T-shirt/top", "a b"]), replace=False)
    return tmp_path / "gray"


@pytest.fixture(scope="session")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the package ``datasets`` with a cache of its own, or skip the test."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("HF_HUB_OFFLINE", "1")
    try:
        module = import_datasets()
    except MissingPackageError:
        pytest.skip("needs Hugging Face's package: pip install 'biascon[hf]'")
    finally:
        patch.undo()
    module.disable_progress_bars()
    return module


@pytest.fixture(scope="session")
def mlcroissant() -> Any:
    """Return the package ``mlcroissant``, or skip the test."""
    try:
        return importlib.import_module("mlcroissant")
    except ModuleNotFoundError:
        pytest.skip("needs mlcroissant: pip install 'biascon[croissant]'")
