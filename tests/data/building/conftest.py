"""Fixtures for builds of image datasets."""

from __future__ import annotations

from pathlib import Path

import pytest

from biascon.data.building import images
from tests.data import faces


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces.draw_utkface(tmp_path_factory.mktemp("faces") / "raw", faces.make_names(240))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 7)
