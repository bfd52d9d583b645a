"""Fixtures of the tests of MNIST: small IDX files that are accepted as MNIST."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import SHA256, Digits
from tests.data.builders.idx_files import encode_idx

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = SHA256


@pytest.fixture
def blobs(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small IDX files that are accepted as MNIST."""
    files = {
        TRAIN_IMAGES: encode_idx(digits.train_images),
        TRAIN_LABELS: encode_idx(digits.train_labels),
        TEST_IMAGES: encode_idx(digits.test_images),
        TEST_LABELS: encode_idx(digits.test_labels),
    }
    digests = {name: hashlib.sha256(blob).hexdigest() for name, blob in files.items()}
    monkeypatch.setattr(mnist_source, "SHA256", digests)
    return files


@pytest.fixture
def put(blobs: dict[str, bytes]) -> Callable[..., Path]:
    """Write the four files into a folder: plain, gzipped, or with ``.idx`` for ``-idx``."""

    def write(folder: Path, *, suffix: str = "", dotted: bool = False, **instead: bytes) -> Path:
        folder.mkdir(parents=True)
        for name, blob in blobs.items():
            stem = name.replace("-idx", ".idx") if dotted else name
            data = instead.get(name.split("-idx")[0].replace("-", "_"), blob)
            data = gzip.compress(data) if suffix == ".gz" else data
            (folder / f"{stem}{suffix}").write_bytes(data)
        return folder

    return write
