"""Stage two: a linear probe on the features of the frozen encoder.

The probe is multinomial logistic regression on standardized features. ``biascon.probing.
logistic_regression`` solves it on the device of the run, to a stated tolerance. The problem is strictly
convex, so the result does not depend on a seed, a schedule, the path of the solver, or the number of threads,
beyond rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from biascon.errors import BiasconWarning, RunError
from biascon.probing.feature_rows import FeatureRows, Moments, solver_device
from biascon.probing.logistic_regression import solve
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

CPU = torch.device("cpu")
DRAWS = 10


class ProbeSettings(Protocol):
    """The settings of a fit; ``biascon.config`` has them as ``ProbeConfig``."""

    @property
    def c(self) -> float:
        """The inverse strength of the L2 penalty, on standardized features."""

    @property
    def tolerance(self) -> float:
        """The largest entry of the gradient of the mean objective at which the fit is converged."""

    @property
    def max_iterations(self) -> int:
        """The largest number of iterations of the solver."""


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: scores = ((features - mean) / scale) @ weights.T + intercept.

    Attributes:
        mean: float64 ``(D,)``, the mean of the training features.
        scale: float64 ``(D,)``, their standard deviation, 1 where it is 0.
        weights: float64 ``(K, D)``.
        intercept: float64 ``(K,)``, with mean 0.
        iterations: The number of iterations of the solver.
        converged: Whether the solver met the tolerance.
        device: The device to compute on.
    """

    mean: Array
    scale: Array
    weights: Array
    intercept: Array
    iterations: int
    converged: bool
    device: torch.device = field(default=CPU)

    def probabilities(self, features: Array) -> Array:
        """Return float32 ``(N, K)``: softmax of the scores, which are computed in float64.

        Args:
            features: float32 or float16 ``(N, D)``; they are read in blocks.
        """
        mean, scale, weights, intercept = (
            torch.from_numpy(values).double().to(self.device)
            for values in (self.mean, self.scale, self.weights, self.intercept)
        )
        rows = FeatureRows(features, self.device, Moments(mean, scale))
        result = np.empty((len(features), len(self.weights)), dtype=np.float32)
        with torch.inference_mode():
            for part, x in rows.blocks():
                scores = torch.addmm(intercept, x.sub_(mean).div_(scale), weights.T)
                result[part] = scores.softmax(dim=1).float().cpu().numpy()
        return result


def fit(
    features: Array,
    labels: Array,
    n_labels: int,
    config: ProbeSettings,
    *,
    device: torch.device = CPU,
) -> LinearProbe:
    """Fit multinomial logistic regression: minimize sum_i CE_i + ||W||^2 / (2 C).

    Args:
        features: float32 or float16 ``(N, D)``; they are read in blocks.
        labels: int64 ``(N,)``, with every class present.
        n_labels: K, 2 or more.
        config: C, the tolerance on the gradient, and the largest number of iterations.
        device: The device to compute on. MPS has no float64: the CPU computes for it.

    Raises:
        RunError: A class is missing.
    """
    _check_classes(labels, n_labels)
    rows = FeatureRows(features, solver_device(device))
    return _warn_if_not_converged(_solve(rows, labels, n_labels, config), config)


@dataclass(frozen=True)
class SolverSettings:
    """The settings of one fit, as ``ProbeSettings`` describes them."""

    c: float
    tolerance: float
    max_iterations: int


def fit_penalties(
    features: Array,
    labels: Array,
    n_labels: int,
    penalties: Sequence[float],
    *,
    tolerance: float,
    max_iterations: int,
) -> Iterator[LinearProbe]:
    """Yield the fit of ``fit`` for each C in turn; each fit starts at the solution of the one before.

    Args:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, with every class present.
        n_labels: K, 2 or more.
        penalties: The values of C; in ascending order the path is shortest.
        tolerance: As for ``fit``.
        max_iterations: As for ``fit``.

    Raises:
        RunError: A class is missing.
    """
    _check_classes(labels, n_labels)
    rows, start = FeatureRows(features, CPU), None
    for c in penalties:
        settings = SolverSettings(c, tolerance, max_iterations)
        probe = _solve(rows, labels, n_labels, settings, start=start)
        start = np.concatenate((probe.weights, probe.intercept[:, None]), axis=1)
        yield probe


def fit_balanced(
    features: Array,
    labels: Array,
    bias: Array,
    n_labels: int,
    config: ProbeSettings,
    *,
    seed: int,
    device: torch.device = CPU,
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
        device: As for ``fit``.

    Raises:
        RunError: A class is missing.
    """
    _check_classes(labels, n_labels)
    device = solver_device(device)
    moments = FeatureRows(features, device).moments
    _, cell = np.unique(np.stack((labels, bias), axis=1), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    smallest = np.bincount(cell).min()
    probes: list[LinearProbe] = []
    for draw in range(DRAWS):
        order = permutation(len(labels), seed, f"balanced/{draw}")
        by_cell = order[np.argsort(cell[order], kind="stable")]  # in random order within a cell
        position = np.arange(len(labels)) - np.searchsorted(cell[by_cell], cell[by_cell])
        rows = np.sort(by_cell[position < smallest])
        drawn = FeatureRows(np.ascontiguousarray(features[rows]), device, moments)
        probes.append(_solve(drawn, labels[rows], n_labels, config))
    return _warn_if_not_converged(
        LinearProbe(
            probes[0].mean,
            probes[0].scale,
            np.mean([probe.weights for probe in probes], axis=0),
            np.mean([probe.intercept for probe in probes], axis=0),
            max(probe.iterations for probe in probes),
            all(probe.converged for probe in probes),
            device,
        ),
        config,
    )


def fit_weighted(
    features: Array,
    labels: Array,
    weights: Array,
    n_labels: int,
    config: ProbeSettings,
    *,
    device: torch.device = CPU,
) -> LinearProbe:
    """Fit multinomial logistic regression with a weight for each image: sum_i w_i CE_i + ||W||^2 / (2 C).

    Args:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, with every class present.
        weights: float64 ``(N,)``, at least 0; they are divided by their mean.
        n_labels: K, 2 or more.
        config: As for ``fit``.
        device: As for ``fit``.

    Raises:
        RunError: A class is missing.
    """
    _check_classes(labels, n_labels)
    rows = FeatureRows(features, solver_device(device))
    probe = _solve(rows, labels, n_labels, config, weights / weights.mean())
    return _warn_if_not_converged(probe, config)


def _check_classes(labels: Array, n_labels: int) -> None:
    present = len(np.unique(labels))
    if present != n_labels:
        raise RunError(
            f"expected images of all {n_labels} classes to fit the probe, but the split has {present}"
        )


def _warn_if_not_converged(probe: LinearProbe, config: ProbeSettings) -> LinearProbe:
    if not probe.converged:
        if probe.iterations >= config.max_iterations:
            remedy = "raise --set probe.max_iterations=..."
        else:
            remedy = "rounding errors hide a lower point; lower --set probe.c=..."
        warnings.warn(
            f"the linear probe did not converge in {probe.iterations} iterations; {remedy}",
            BiasconWarning,
            stacklevel=3,
        )
    return probe


def _solve(
    rows: FeatureRows,
    labels: Array,
    n_labels: int,
    config: ProbeSettings,
    weights: Array | None = None,
    start: Array | None = None,
) -> LinearProbe:
    device = rows.device
    with torch.no_grad():
        solution = solve(
            rows,
            torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device),
            n_labels,
            c=config.c,
            tolerance=config.tolerance,
            max_iterations=config.max_iterations,
            weights=None if weights is None else torch.from_numpy(weights).double().to(device),
            start=None if start is None else torch.from_numpy(start).double().to(device),
        )
    mean, scale, matrix, intercept = (
        values.cpu().numpy()
        for values in (rows.moments.mean, rows.moments.scale, solution.weights, solution.intercept)
    )
    converged = solution.gradient <= config.tolerance
    return LinearProbe(mean, scale, matrix, intercept, solution.iterations, converged, device)
