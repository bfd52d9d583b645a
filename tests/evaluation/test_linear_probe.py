"""Stage two: the linear probe minimizes the stated objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from biascon.config.run_config import ProbeConfig
from biascon.errors import BiasconWarning, RunError
from biascon.probing import feature_rows, logistic_regression
from biascon.probing.linear_probe import fit, fit_weighted


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
    """A thousand times stricter, and from another path of the solver, the weights hardly move."""
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 10
    color = np.where(rng.random(3000) < 0.99, labels, rng.integers(0, 10, 3000))
    shape = rng.normal(size=(10, 20))[labels] + 0.7 * rng.normal(size=(3000, 20))
    latent = np.concatenate((10 * np.eye(10)[color], shape), axis=1)  # the color is easier to learn
    features = (latent @ rng.normal(size=(30, 60)) / 5).astype(np.float32)
    config = ProbeConfig()
    exact, default = (
        fit(features, labels, 10, dataclasses.replace(config, tolerance=t)).weights
        for t in (config.tolerance / 1000, config.tolerance)
    )
    assert np.linalg.norm(default - exact) / np.linalg.norm(exact) < 1e-4


def problems() -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    rng = np.random.default_rng(0)
    for k in (2, 3, 10):
        labels = np.arange(600) % k
        yield (
            f"blobs {k}",
            rng.normal(size=(600, 12)) + 2 * rng.normal(size=(k, 12))[labels],
            labels,
            1.0,
        )
    labels = np.arange(900) % 4
    latent = rng.normal(size=(900, 6)) + rng.normal(size=(4, 6))[labels]
    correlated = np.maximum(latent @ rng.normal(size=(6, 40)), 0)
    yield "correlated", correlated + 1e-3 * rng.normal(size=(900, 40)), labels, 1.0
    labels = np.arange(300) % 3
    separable = 0.1 * rng.normal(size=(300, 5)) + 10 * rng.normal(size=(3, 5))[labels]
    yield "separable", separable, labels, 100.0
    for rare in (2, 3):
        labels = np.repeat(np.arange(rare), (980, 15, 5)[:rare])
        unbalanced = rng.normal(size=(len(labels), 8)) + rng.normal(size=(rare, 8))[labels]
        yield f"unbalanced {rare}", unbalanced, labels, 0.1
    labels = np.arange(50) % 5
    yield "more features than images", rng.normal(size=(50, 200)), labels, 1.0


PROBLEMS = {name: rest for name, *rest in problems()}
PATHS: dict[str, dict[str, int]] = {
    "default": {},
    "kronecker": {"DIRECT_UNKNOWNS": 0},
    "sampled": {"SAMPLED_ROWS": 100, "SAMPLED_ROWS_PER_FEATURE": 0},
    "streamed": {"SAMPLED_ROWS": 100, "SAMPLED_ROWS_PER_FEATURE": 0, "HESSIAN_BYTES": 0},
}


def solution_of_scikit_learn(
    x: np.ndarray, labels: np.ndarray, c: float, weights: np.ndarray | None = None
) -> np.ndarray:
    x = x.astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    solver = LogisticRegression(C=c, tol=1e-10, max_iter=10_000, solver="newton-cg")
    probabilities: np.ndarray = solver.fit(x, labels, weights).predict_proba(x)
    return probabilities


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_every_path_of_the_solver_ends_at_the_solution_of_scikit_learn(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels, c = PROBLEMS[name]
    x, k = x.astype(np.float32), len(np.unique(labels))
    want = solution_of_scikit_learn(x, labels, c)
    for path, constants in PATHS.items():
        with monkeypatch.context() as patch:
            for constant, value in constants.items():
                patch.setattr(logistic_regression, constant, value)
            probe = fit(x, labels, k, ProbeConfig(c=c, tolerance=1e-8))
        assert probe.converged, path
        np.testing.assert_allclose(probe.probabilities(x), want, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", ["blobs 2", "blobs 10", "unbalanced 3"])
def test_weighted_rows_give_the_solution_of_scikit_learn(name: str) -> None:
    x, labels, c = PROBLEMS[name]
    x, k = x.astype(np.float32), len(np.unique(labels))
    weights = np.random.default_rng(1).uniform(0, 3, len(labels))
    weights[::7] = 0
    probe = fit_weighted(x, labels, weights, k, ProbeConfig(c=c, tolerance=1e-8))
    want = solution_of_scikit_learn(x, labels, c, weights / weights.mean())
    np.testing.assert_allclose(probe.probabilities(x), want, atol=1e-6)


def test_the_size_of_a_block_changes_only_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, _ = PROBLEMS["correlated"]
    x = x.astype(np.float32)
    whole = fit(x, labels, 4, ProbeConfig())
    monkeypatch.setattr(feature_rows, "MIN_BLOCK_ROWS", 7)
    monkeypatch.setitem(feature_rows.BLOCK_NUMBERS, "cpu", 1)
    blocks = fit(x, labels, 4, ProbeConfig())
    np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(blocks.scale, whole.scale, rtol=1e-12)
    np.testing.assert_allclose(blocks.probabilities(x), whole.probabilities(x), atol=1e-6)


def test_the_features_are_not_changed() -> None:
    x, labels, _ = PROBLEMS["blobs 3"]
    kept = x.copy()
    fit(x, labels, 3, ProbeConfig()).probabilities(x)
    np.testing.assert_array_equal(x, kept)


def test_float16_features_are_read_as_they_are() -> None:
    x, labels, _ = PROBLEMS["blobs 3"]
    half = x.astype(np.float16)
    of_half = fit(half, labels, 3, ProbeConfig())
    of_single = fit(half.astype(np.float32), labels, 3, ProbeConfig())
    np.testing.assert_array_equal(of_half.weights, of_single.weights)
    np.testing.assert_array_equal(of_half.probabilities(half), of_single.probabilities(half))


@pytest.mark.parametrize(
    ("n", "d", "k", "c", "signal"),
    [
        (20_000, 8, 3, 10.0, 0.3),
        (20_000, 32, 10, 100.0, 0.3),
        (400, 8, 3, 1e6, 0.0),
        (5_000, 16, 4, 1e6, 0.0),
        (3_000, 16, 4, 1e-6, 0.3),
        (400, 8, 3, 1e-8, 0.3),
    ],
)
def test_weak_signals_with_any_penalty_are_fitted_in_few_steps(
    n: int, d: int, k: int, c: float, signal: float
) -> None:
    # With many images or a large C, rounding of the Hessian exceeds the penalty of a shift of all classes.
    # With a small C, nearly all curvature is below the penalty of the weights.
    rng = np.random.default_rng(0)
    labels = np.arange(n) % k
    x = rng.standard_normal((n, d)).astype(np.float32)
    x[:, :k] += signal * np.eye(k, dtype=np.float32)[labels]
    probe = fit(x, labels, k, ProbeConfig(c=c, tolerance=1e-8))
    assert probe.converged
    assert probe.iterations <= 12
    want = solution_of_scikit_learn(x, labels, c)
    np.testing.assert_allclose(probe.probabilities(x), want, atol=1e-6)


def test_the_warning_names_a_remedy_that_can_help() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    x = rng.standard_normal((300, 4)).astype(np.float32)
    with pytest.warns(BiasconWarning, match=r"probe\.max_iterations"):
        fit(x, labels, 3, ProbeConfig(max_iterations=1, tolerance=1e-12))
    wide = np.concatenate((x, np.full((300, 1), 1e8, np.float32), 1e-3 * x), axis=1)
    with pytest.warns(BiasconWarning, match=r"probe\.c="):
        fit(wide, labels, 3, ProbeConfig(c=1e9, tolerance=1e-14))
