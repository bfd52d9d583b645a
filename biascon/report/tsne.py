"""t-SNE maps of the test features of runs, kept in the cache of the run folder."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.errors import BiasconError, BiasconWarning
from biascon.report.predictions import read_predictions
from biascon.runs.cache import cache_path, write_cached
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import FEATURES, read_seal
from biascon.runs.seals import check_files
from biascon.utils.progress import Say, say_nothing, with_progress
from biascon.utils.types import Array

FEATURES_TEST = FEATURES[2]
MAX_POINTS = 1000  # of a map; the images are evenly spaced in the test split
MAX_ITERATIONS = 500
CACHE = "tsne.safetensors"


@dataclass(frozen=True, eq=False)
class TSNEMap:
    """A t-SNE map of some test images of a run.

    Attributes:
        positions: float32 ``(S, 2)``.
        labels: int ``(S,)``.
        bias: int ``(S,)``.
    """

    positions: Array
    labels: Array
    bias: Array


def has_features(run: FinishedRun) -> bool:
    """Whether the run folder has the features of the test images, as the run ended with them.

    A warning states that features have changed.
    """
    try:
        status = (run.folder / FEATURES_TEST).stat()
    except OSError:
        return False
    return _features_digest(run.folder, status.st_size, status.st_mtime_ns) is not None


@functools.lru_cache(maxsize=1024)
def _features_digest(folder: Path, size: int, mtime_ns: int) -> str | None:
    """Return the SHA-256 of the test features, None if they have changed."""
    del size, mtime_ns
    try:
        seal = read_seal(folder)
        if seal is None or FEATURES_TEST not in seal.files:
            return None
        check_files(folder, [FEATURES_TEST], seal.files, trust_unchanged=True)
    except BiasconError as error:
        warnings.warn(f"no t-SNE map: {error}", BiasconWarning, stacklevel=3)
        return None
    return seal.files[FEATURES_TEST]


def prepare_maps(runs: Sequence[FinishedRun], say: Say = say_nothing) -> None:
    """Compute the maps of several runs that have features, one after the other.

    scikit-learn and OpenBLAS set numbers of threads for the whole process, which is not safe in several
    threads.

    Args:
        runs: The runs, each once.
        say: Called with a line of progress every few seconds.
    """
    for run in with_progress(runs, "t-SNE maps", len(runs), say):
        tsne_map(run)


def tsne_map(run: FinishedRun) -> TSNEMap:
    """Return the t-SNE map of the test features of a run; the run has features and predictions.

    The map is computed with one thread, so that it does not depend on the number of cores. It is kept in the
    cache of the run folder with the digest of the features and the version of scikit-learn.
    """
    status = (run.folder / FEATURES_TEST).stat()
    positions = _positions(run.folder, status.st_size, status.st_mtime_ns)
    predictions = read_predictions(run)
    assert predictions is not None
    _, labels, bias = predictions.rows
    rows = _chosen_rows(len(labels))
    return TSNEMap(positions, labels[rows], bias[rows])


def _chosen_rows(n: int) -> Array:
    return np.linspace(0, n - 1, min(MAX_POINTS, n)).astype(np.int64)


@functools.lru_cache(maxsize=1024)
def _positions(folder: Path, size: int, mtime_ns: int) -> Array:
    """Return the positions of the chosen test images: from the cache, or computed and written there."""
    from safetensors.numpy import load_file

    key = _cache_key(_features_digest(folder, size, mtime_ns))
    cached = _read_positions(folder, key)
    if cached is not None:
        return cached
    features = load_file(folder / FEATURES_TEST)["features"]
    positions = _embed(features[_chosen_rows(len(features))])
    _write_positions(folder, key, positions)
    return positions


def _embed(x: Array) -> Array:
    """Return the t-SNE map ``(S, 2)`` of features ``(S, D)``."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    x = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    perplexity = min(30.0, (len(x) - 1) / 3)
    with threadpool_limits(1):
        model = TSNE(init="pca", perplexity=perplexity, max_iter=MAX_ITERATIONS, random_state=0)
        positions: Array = model.fit_transform(x)
    return positions


def _cache_key(features: str | None) -> str:
    """Return what a map depends on."""
    import sklearn

    return f"{features} {MAX_POINTS} {MAX_ITERATIONS} {sklearn.__version__}"


def _read_positions(folder: Path, key: str) -> Array | None:
    """Return the positions in the cache; None if there are none, or they are damaged or of another key."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(cache_path(folder, CACHE), framework="numpy") as file:
            positions: Array = file.get_tensor("positions")
            stated = (file.metadata() or {}).get("key")
    except (OSError, SafetensorError):
        return None
    is_map = positions.ndim == 2 and positions.shape[1] == 2 and bool(np.isfinite(positions).all())
    return positions if stated == key and is_map else None


def _write_positions(folder: Path, key: str, positions: Array) -> None:
    from safetensors.numpy import save

    content = save({"positions": np.ascontiguousarray(positions)}, metadata={"key": key})
    write_cached(folder, CACHE, content)
