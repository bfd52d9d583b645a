"""Stage two: a linear probe on the features of the frozen encoder.

The probe is multinomial logistic regression on standardised features, solved to a stated tolerance by
scikit-learn (L-BFGS): it is convex, so that the result does not depend on a seed or a schedule.
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
        mean: ``(D,)`` of the training features.
        scale: ``(D,)`` their standard deviation, 1 where it is 0.
        weights: ``(K, D)``.
        intercept: ``(K,)``.
        iterations: How many the solver took.
        converged: Whether it met the tolerance.
    """

    mean: Array
    scale: Array
    weights: Array
    intercept: Array
    iterations: int
    converged: bool

    def probabilities(self, features: Array) -> Array:
        """Return float32 ``(N, K)``: softmax of the scores."""
        standard = _standardised(features, self.mean, self.scale)
        logits = standard @ self.weights.T + self.intercept
        logits -= logits.max(axis=1, keepdims=True)
        exp = np.exp(logits)
        result: Array = (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)
        return result


def fit(features: Array, labels: Array, n_labels: int, config: ProbeConfig) -> LinearProbe:
    """Fit multinomial logistic regression: minimise sum_i CE_i + ||W||^2 / (2 C).

    Args:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, with every class present.
        n_labels: K, 2 or more.
        config: C, the tolerance on the gradient, and the most iterations.

    Raises:
        RunError: A class is missing.
    """
    _every_class(labels, n_labels)
    mean, scale = _standard(features)
    return _warn_if_not_converged(
        _solve(_standardised(features, mean, scale), labels, n_labels, config, mean, scale)
    )


def fit_balanced(
    features: Array, labels: Array, bias: Array, n_labels: int, config: ProbeConfig, *, seed: int
) -> LinearProbe:
    """Fit the last layer of DFR (Kirichenko et al., ICLR 2023) on a held-out split.

    Ten times, from every (label, bias) group that has images, as many are drawn as the smallest has,
    and logistic regression is fitted on them as in ``fit``; weights and intercepts are averaged.

    Args:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, with every class present.
        bias: int64 ``(N,)``.
        n_labels: K, 2 or more.
        config: As for ``fit``.
        seed: Of the draws.

    Raises:
        RunError: A class is missing.
    """
    _every_class(labels, n_labels)
    mean, scale = _standard(features)
    x = _standardised(features, mean, scale)
    _, group = np.unique(np.stack((labels, bias), axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    least = np.bincount(group).min()
    found = []
    for draw in range(DRAWS):
        order = permutation(len(labels), seed, f"balanced/{draw}")
        sorted_ = order[np.argsort(group[order], kind="stable")]  # by group, at random within it
        place = np.arange(len(labels)) - np.searchsorted(group[sorted_], group[sorted_])
        rows = np.sort(sorted_[place < least])
        found.append(_solve(x[rows], labels[rows], n_labels, config, mean, scale))
    return _warn_if_not_converged(
        LinearProbe(
            mean,
            scale,
            np.mean([one.weights for one in found], axis=0),
            np.mean([one.intercept for one in found], axis=0),
            max(one.iterations for one in found),
            all(one.converged for one in found),
        )
    )


DRAWS = 10


def _every_class(labels: Array, n_labels: int) -> None:
    present = len(np.unique(labels))
    if present != n_labels:
        raise RunError(f"the split that a probe is fitted on has {present} of {n_labels} classes")


def _standard(features: Array) -> tuple[Array, Array]:
    """Mean and standard deviation, 1 where it is 0."""
    scale = features.std(axis=0)
    return features.mean(axis=0), np.where(scale > 0, scale, 1).astype(features.dtype)


def _standardised(features: Array, mean: Array, scale: Array) -> Array:
    """Return (features - mean) / scale, with one copy of the features and no more."""
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
    x: Array, labels: Array, n_labels: int, config: ProbeConfig, mean: Array, scale: Array
) -> LinearProbe:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    solver = LogisticRegression(C=config.c, tol=config.tolerance, max_iter=config.max_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        solver.fit(x, labels)
    iterations = int(solver.n_iter_.max())
    weights, intercept = solver.coef_, solver.intercept_
    if n_labels == 2:  # one row of log-odds: give each class half of it
        weights = np.concatenate((-weights, weights)) / 2
        intercept = np.concatenate((-intercept, intercept)) / 2
    converged = iterations < config.max_iterations
    return LinearProbe(mean, scale, weights, intercept, iterations, converged)
