"""Fixtures of the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import Digits


@pytest.fixture
def small_digits(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the embedded digits by a small set."""
    monkeypatch.setattr(mnist_source, "load_embedded", lambda: digits)


@pytest.fixture
def folder(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "small")
