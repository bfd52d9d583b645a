"""Stage two: a linear probe on the features of the frozen encoder.

The probe is multinomial logistic regression on standardized features. scikit-learn (L-BFGS) solves it to a
stated tolerance. The problem is convex, so the result does not depend on a seed or a schedule.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from biascon.config.run_config import ProbeConfig
from biascon.errors import BiasconWarning, RunError
from biascon.utils.seeds import permutation
from biascon.utils.types import Array


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: scores = ((features - mean) / scale) @ weights.T + intercept.

    Attributes:
        mean: ``(D,)``, the mean of the training features.
        scale: ``(D,)``, their standard deviation, 1 where it is 0.
        weights: ``(K, D)``.
        intercept: ``(K,)``.
        iterations: The number of iterations of the solver.
        converged: Whether the solver met the tolerance.
    """

    mean: Array
    scale: Array
    weights: Array
    intercept: Array
    iterations: int
    converged: bool

    def probabilities(self, features: Array) -> Array:
        """Return float32 ``(N, K)``: softmax of the scores."""
        standard = _standardize(features, self.mean, self.scale)
        logits = standard @ self.weights.T + self.intercept
        logits -= logits.max(axis=1, keepdims=True)
        exp = np.exp(logits)
        result: Array = (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)
        return result


def fit(features: Array, labels: Array, n_labels: int, config: ProbeConfig) -> LinearProbe:
    """Fit multinomial logistic regression: minimize sum_i CE_i + ||W||^2 / (2 C).

    Args:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, with every class present.
        n_labels: K, 2 or more.
        config: C, the tolerance on the gradient, and the largest number of iterations.

    Raises:
        RunError: A class is missing.
    """
    _check_classes(labels, n_labels)
    mean, scale = _mean_and_scale(features)
    return _warn_if_not_converged(
        _solve(_standardize(features, mean, scale), labels, n_labels, config, mean, scale)
    )


def fit_balanced(
    features: Array, labels: Array, bias: Array, n_labels: int, config: ProbeConfig, *, seed: int
) -> LinearProbe:
    """Fit the last layer of DFR (Kirichenko et al., ICLR 2023) on a held-out split.

    Ten times, the same number of images is drawn from every (label, bias) cell that has images: the size
    of the smallest cell. Logistic regression is fitted on each draw as in ``fit``. Weights and
    intercepts of the ten fits are averaged.

    Args:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, with every class present.
        bias: int64 ``(N,)``.
        n_labels: K, 2 or more.
        config: As for ``fit``.
        seed: The seed of the draws.

    Raises:
        RunError: A class is missing.
    """
    _check_classes(labels, n_labels)
    mean, scale = _mean_and_scale(features)
    x = _standardize(features, mean, scale)
    _, cell = np.unique(np.stack((labels, bias), axis=1), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    smallest = np.bincount(cell).min()
    probes = []
    for draw in range(DRAWS):
        order = permutation(len(labels), seed, f"balanced/{draw}")
        by_cell = order[np.argsort(cell[order], kind="stable")]  # in random order within a cell
        position = np.arange(len(labels)) - np.searchsorted(cell[by_cell], cell[by_cell])
        rows = np.sort(by_cell[position < smallest])
        probes.append(_solve(x[rows], labels[rows], n_labels, config, mean, scale))
    return _warn_if_not_converged(
        LinearProbe(
            mean,
            scale,
            np.mean([probe.weights for probe in probes], axis=0),
            np.mean([probe.intercept for probe in probes], axis=0),
            max(probe.iterations for probe in probes),
            all(probe.converged for probe in probes),
        )
    )


def fit_weighted(
    features: Array, labels: Array, weights: Array, n_labels: int, config: ProbeConfig
) -> LinearProbe:
    """Fit multinomial logistic regression with a weight for each image: sum_i w_i CE_i + ||W||^2 / (2 C).

    Args:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, with every class present.
        weights: float64 ``(N,)``, at least 0; they are divided by their mean.
        n_labels: K, 2 or more.
        config: As for ``fit``.

    Raises:
        RunError: A class is missing.
    """
    _check_classes(labels, n_labels)
    mean, scale = _mean_and_scale(features)
    x = _standardize(features, mean, scale)
    return _warn_if_not_converged(
        _solve(x, labels, n_labels, config, mean, scale, weights / weights.mean())
    )


DRAWS = 10


def _check_classes(labels: Array, n_labels: int) -> None:
    present = len(np.unique(labels))
    if present != n_labels:
        raise RunError(
            f"expected images of all {n_labels} classes to fit the probe, but the split has {present}"
        )


def _mean_and_scale(features: Array) -> tuple[Array, Array]:
    """Return the mean and the standard deviation ``(D,)``, 1 where it is 0."""
    scale = features.std(axis=0)
    return features.mean(axis=0), np.where(scale > 0, scale, 1).astype(features.dtype)


def _standardize(features: Array, mean: Array, scale: Array) -> Array:
    """Return (features - mean) / scale; the features are copied only once."""
    x: Array = features - mean
    x /= scale
    return x


def _warn_if_not_converged(probe: LinearProbe) -> LinearProbe:
    if not probe.converged:
        warnings.warn(
            f"the linear probe did not converge in {probe.iterations} iterations; "
            "raise --set probe.max_iterations=...",
            BiasconWarning,
            stacklevel=3,
        )
    return probe


def _solve(
    x: Array,
    labels: Array,
    n_labels: int,
    config: ProbeConfig,
    mean: Array,
    scale: Array,
    weights: Array | None = None,
) -> LinearProbe:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    solver = LogisticRegression(C=config.c, tol=config.tolerance, max_iter=config.max_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        solver.fit(x, labels, weights)
    iterations = int(solver.n_iter_.max())
    weights, intercept = solver.coef_, solver.intercept_
    if n_labels == 2:  # the solver has one row of log-odds: give each class half of it
        weights = np.concatenate((-weights, weights)) / 2
        intercept = np.concatenate((-intercept, intercept)) / 2
    converged = iterations < config.max_iterations
    return LinearProbe(mean, scale, weights, intercept, iterations, converged)
