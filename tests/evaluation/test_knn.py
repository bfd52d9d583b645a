"""Weighted nearest neighbors: equal to naive loops and scikit-learn, in blocks, in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from biascon.errors import RunError
from biascon.evaluation import knn
from biascon.evaluation.knn import KNNClassifier

CPU = torch.device("cpu")


def random_features(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    features = rng.standard_normal((n, d)) + 0.7 * rng.standard_normal((classes, d))[labels]
    return (features * rng.uniform(0.1, 9, (n, 1))).astype(np.float32), labels


def naive(
    x: np.ndarray, y: np.ndarray, q: np.ndarray, classes: int, k: int, t: float
) -> np.ndarray:
    """Return the probabilities by the formula, with loops in float64."""
    votes = np.zeros((len(q), classes))
    for i, f in enumerate(q.astype(np.float64)):
        s = [float(f @ v / (np.linalg.norm(f) * np.linalg.norm(v))) for v in x.astype(np.float64)]
        for j in sorted(range(len(s)), key=lambda j: (-s[j], j))[:k]:
            votes[i, y[j]] += np.exp(s[j] / t)
        votes[i] /= votes[i].sum()
    return votes


def neighbors(x: np.ndarray, y: np.ndarray, k: int = 20, t: float = 0.07) -> KNNClassifier:
    return KNNClassifier(x, y, int(y.max()) + 1, k, t, CPU)


@pytest.mark.parametrize(("k", "t"), [(1, 0.07), (20, 0.07), (20, 1.0), (150, 0.1), (1000, 0.07)])
def test_the_votes_are_those_of_the_formula(k: int, t: float) -> None:
    (x, y), (q, _) = random_features(300, 16, 4), random_features(40, 16, 4, seed=1)
    got = neighbors(x, y, k, t).probabilities(q)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, naive(x, y, q, 4, min(k, 300), t), atol=2e-6)


def test_the_predictions_are_those_of_scikit_learn() -> None:
    (x, y), (q, _) = random_features(500, 8, 5), random_features(200, 8, 5, seed=1)
    reference = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(x.astype(np.float64), y)
    probabilities = neighbors(x, y).probabilities(q)
    np.testing.assert_allclose(
        probabilities, reference.predict_proba(q.astype(np.float64)), atol=2e-5
    )


@pytest.mark.parametrize("rows", [1, 7, 20, 299])
def test_the_block_size_does_not_change_the_votes(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (x, y), (q, _) = random_features(300, 16, 4), random_features(40, 16, 4, seed=1)
    whole = neighbors(x, y).probabilities(q)
    monkeypatch.setattr(knn, "TRAINING_ROWS", rows)
    monkeypatch.setattr(knn, "QUERY_ROWS", 9)
    np.testing.assert_allclose(neighbors(x, y).probabilities(q), whole, atol=2e-6)


@pytest.mark.parametrize("rows", [3, 8, 100])
def test_the_first_of_equally_distant_images_vote(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn, "TRAINING_ROWS", rows)
    x = np.tile(np.float32([[1, 0]]), (10, 1))
    x[4] = [0, 1]
    y = np.array([0, 1, 1, 0, 0, 2, 2, 2, 2, 2])
    got = neighbors(x, y, k=4, t=1.0).probabilities(np.float32([[2, 0]]))
    np.testing.assert_allclose(got, [[0.5, 0.5, 0.0]])


def test_a_zero_feature_is_equally_far_from_all_images() -> None:
    x, y = random_features(30, 4, 3)
    x[3] = 0
    got = neighbors(x, y, k=30).probabilities(np.zeros((1, 4), np.float32))
    np.testing.assert_allclose(got[0], np.bincount(y) / 30, atol=1e-6)
    assert np.isfinite(neighbors(x, y).probabilities(x)).all()


def test_a_low_temperature_does_not_overflow() -> None:
    x, y = random_features(50, 4, 3)
    got = neighbors(x, y, t=1e-4).probabilities(x)
    assert np.isfinite(got).all()
    assert (got.argmax(axis=1) == y).all()  # the nearest is the image itself


def test_float16_features_vote_as_their_float32_values() -> None:
    (x, y), (q, _) = random_features(300, 16, 4), random_features(40, 16, 4, seed=1)
    half, queries = x.astype(np.float16), q.astype(np.float16)
    want = neighbors(half.astype(np.float32), y).probabilities(queries.astype(np.float32))
    np.testing.assert_array_equal(neighbors(half, y).probabilities(queries), want)


def test_no_training_image_is_refused() -> None:
    with pytest.raises(RunError, match="no training image"):
        KNNClassifier(np.zeros((0, 4), np.float32), np.array([], np.int64), 2, 5, 0.07, CPU)


MEASURED = """
import resource, sys
import numpy as np, torch
from biascon.evaluation.knn import KNNClassifier
torch.set_num_threads(1)
x = np.ones((100_000, 256), np.float32)
x[:, 0] = np.arange(len(x))
y = np.arange(len(x)) % 10
near = KNNClassifier(x, y, 10, 200, 0.07, torch.device("cpu"))
near.probabilities(x[:10])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
near.probabilities(x[:3000])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_does_not_grow_with_queries_times_rows() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) / 1024 < 500  # MiB; all similarities would be 1,144 of float32
