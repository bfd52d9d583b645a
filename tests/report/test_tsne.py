"""t-SNE maps: kept in the cache of the run folder, never of changed features."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from biascon.errors import BiasconWarning
from biascon.report import tsne
from biascon.report.experiments import find_runs
from biascon.report.predictions import read_predictions
from biascon.runs.cache import cache_path
from biascon.runs.finished import FinishedRun
from biascon.utils.types import Array
from tests.run_helpers import reseal

GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "runs"


@pytest.fixture
def run(tmp_path: Path, embedded: list[Array]) -> FinishedRun:
    """A committed run with made features of its test images."""
    shutil.copytree(GOLDEN, tmp_path / "runs", ignore=shutil.ignore_patterns(".cache"))
    run = find_runs(tmp_path / "runs")[0]
    predictions = read_predictions(run)
    assert predictions is not None
    n = len(predictions.predicted)
    features = np.random.default_rng(0).random((n, 4), dtype=np.float32)
    save_file({"features": features}, run.folder / tsne.FEATURES_TEST)
    reseal(run.folder)
    return run


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """The features that a map was computed of; the map is their first two columns."""
    calls: list[Array] = []

    def embed(x: Array) -> Array:
        calls.append(x)
        return x[:, :2]

    monkeypatch.setattr(tsne, "_embed", embed)
    forget()
    return calls


def forget() -> None:
    """Forget what this process has read."""
    tsne._positions.cache_clear()
    tsne._features_digest.cache_clear()


def test_a_map_is_computed_once_and_then_read(run: FinishedRun, embedded: list[Array]) -> None:
    assert tsne.has_features(run)
    first = tsne.tsne_map(run)
    forget()
    second = tsne.tsne_map(run)
    assert len(embedded) == 1
    np.testing.assert_array_equal(first.positions, second.positions)
    assert len(first.positions) == len(first.labels) == len(first.bias) == len(embedded[0])
    assert len(embedded[0]) <= tsne.MAX_POINTS


@pytest.mark.parametrize("damage", [b"", b"\0" * 64, b"{}"])
def test_a_damaged_map_is_computed_again(
    run: FinishedRun, embedded: list[Array], damage: bytes
) -> None:
    tsne.tsne_map(run)
    cache_path(run.folder, tsne.CACHE).write_bytes(damage)
    forget()
    tsne.tsne_map(run)
    assert len(embedded) == 2


def test_other_features_have_another_map(run: FinishedRun, embedded: list[Array]) -> None:
    first = tsne.tsne_map(run)
    path = run.folder / tsne.FEATURES_TEST
    predictions = read_predictions(run)
    assert predictions is not None
    n = len(predictions.predicted)
    save_file({"features": np.ones((n, 4), np.float32)}, path)
    reseal(run.folder)
    forget()
    second = tsne.tsne_map(run)
    assert len(embedded) == 2
    assert not np.array_equal(first.positions, second.positions)


def test_changed_features_have_no_map(run: FinishedRun) -> None:
    content = bytearray((run.folder / tsne.FEATURES_TEST).read_bytes())
    content[-1] ^= 1
    (run.folder / tsne.FEATURES_TEST).write_bytes(content)
    forget()
    with pytest.warns(BiasconWarning, match="no t-SNE map: .* has changed"):
        assert not tsne.has_features(run)


def test_a_run_without_features_has_no_map(run: FinishedRun) -> None:
    (run.folder / tsne.FEATURES_TEST).unlink()
    assert not tsne.has_features(run)
