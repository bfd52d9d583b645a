"""Stage two: the linear probe minimizes the stated objective."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from biascon.config.run_config import ProbeConfig
from biascon.errors import BiasconWarning, RunError
from biascon.evaluation.linear_probe import fit


def blobs(k: int, n: int = 400, d: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % k
    centers = rng.normal(size=(k, d))
    return (centers[labels] + rng.normal(size=(n, d))).astype(np.float32) * 3 + 7, labels


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_the_gradient_of_the_stated_objective_vanishes_at_the_solution(k: int, c: float) -> None:
    features, labels = blobs(k)
    probe = fit(features.astype(np.float64), labels, k, ProbeConfig(c=c, tolerance=1e-9))
    x = (features - probe.mean) / probe.scale
    residual = probe.probabilities(features).astype(np.float64) - np.eye(k)[labels]
    # For two classes scikit-learn penalises the difference w of the rows, with ||w||^2 / (2 C).
    weights = probe.weights[1] - probe.weights[0] if k == 2 else probe.weights
    data_term = (residual.T @ x)[1] if k == 2 else residual.T @ x
    np.testing.assert_allclose(data_term + weights / c, 0, atol=2e-3)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=2e-3)
    assert probe.converged


def test_probabilities_sum_to_one_and_do_not_overflow() -> None:
    features, labels = blobs(3)
    probe = fit(features, labels, 3, ProbeConfig())
    scores = probe.probabilities(features * 1e4)
    assert scores.shape == (400, 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


def test_scaling_and_shifting_a_feature_changes_no_prediction() -> None:
    features, labels = blobs(3)
    moved = features * np.array([1, 10, 0.1, 5, 2], np.float32) + 3
    scores = [
        fit(x, labels, 3, ProbeConfig(tolerance=1e-8)).probabilities(x) for x in (features, moved)
    ]
    np.testing.assert_allclose(*scores, atol=2e-3)


def test_a_constant_feature_is_harmless() -> None:
    features, labels = blobs(3)
    features[:, 2] = 4
    assert np.isfinite(fit(features, labels, 3, ProbeConfig()).probabilities(features)).all()


def test_a_missing_class_is_refused() -> None:
    features, labels = blobs(3)
    with pytest.raises(RunError, match=r"all 4 classes .* has 3"):
        fit(features, labels, 4, ProbeConfig())


def test_too_few_iterations_are_warned_about_and_recorded() -> None:
    features, labels = blobs(10)
    with pytest.warns(BiasconWarning, match="did not converge in 1 iterations"):
        probe = fit(features, labels, 10, ProbeConfig(max_iterations=1))
    assert not probe.converged


def test_the_default_tolerance_is_at_the_optimum() -> None:
    """A hundred times stricter, the weights hardly move; at 1e-3 they are far from there."""
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 10
    color = np.where(rng.random(3000) < 0.99, labels, rng.integers(0, 10, 3000))
    shape = rng.normal(size=(10, 20))[labels] + 0.7 * rng.normal(size=(3000, 20))
    latent = np.concatenate((10 * np.eye(10)[color], shape), axis=1)  # the color is easier to learn
    features = (latent @ rng.normal(size=(30, 60)) / 5).astype(np.float32)
    config = ProbeConfig()
    tolerances = (config.tolerance / 100, config.tolerance, 1e-3)
    exact, default, loose = (
        fit(features, labels, 10, dataclasses.replace(config, tolerance=t)).weights
        for t in tolerances
    )
    scale = np.linalg.norm(exact)
    assert np.linalg.norm(default - exact) / scale < 3e-3
    assert np.linalg.norm(loose - exact) / scale > 1e-2
