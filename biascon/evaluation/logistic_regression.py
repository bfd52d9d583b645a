"""Multinomial logistic regression with an L2 penalty: Newton's method, exact gradients in float64.

The objective is that of scikit-learn's ``LogisticRegression`` with the solver ``lbfgs``, on standardized
features x::

    F(W, b) = sum_i w_i CE_i + ||W||^2 / (2 C)          intercepts b without a penalty
    F(w, b) = sum_i w_i CE_i + ||w||^2 / (2 C)          two classes: w is the difference of the two rows

F is strictly convex up to a shift of all intercepts, which are centered. The solution is therefore unique,
and does not depend on the path of the solver.

**Stopping rule.** The solver stops when the largest entry of the gradient of F / sum_i w_i is at most a
thousandth of the tolerance, and reports convergence if that entry is at most the tolerance. It also stops
where rounding errors in float64 leave no step that lowers F or its gradient.

**Method.** Loss and gradient are computed in float64 over all rows, in blocks. A Newton direction is the
solution of H d = -g by preconditioned conjugate gradients in float32, to a relative residual of
min(0.1, sqrt(largest gradient)), at least 0.001. Directions need not be exact: the line search (Armijo) and
the stopping rule use the exact objective. The rows of H are those whose curvature matters: rows are left out
if their curvature sums to less than 0.1 / C. Far from the solution, H is estimated from max(4,096, 8 D) rows
or more, drawn systematically with a probability in proportion to their curvature (no random numbers). Rows
that do not fit into memory are read again for every product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from biascon.evaluation.feature_rows import FeatureRows
from biascon.evaluation.logistic_objective import Hessian, Objective, Point

TARGET = 1e-3  # the solver stops at this part of the tolerance
LOWEST_TARGET = 1e-12  # a mean gradient below it is rounding error
EXACT_BELOW = 2e-5  # largest mean gradient below which the Hessian is not sampled
DIRECT_UNKNOWNS = 2048  # up to so many unknowns, the preconditioner is a factorized Hessian
REFRESH_AFTER = 20  # iterations after which the preconditioner is computed again
CG_ITERATIONS = 300
ARMIJO, SMALLEST_STEP = 1e-4, 1e-9


@dataclass(frozen=True)
class Solution:
    """The minimum of the objective.

    Attributes:
        weights: float64 ``(K, D)``, for standardized features.
        intercept: float64 ``(K,)``, with mean 0.
        iterations: The number of Newton steps.
        gradient: The largest entry of the gradient of the mean objective.
    """

    weights: Tensor
    intercept: Tensor
    iterations: int
    gradient: float


class _Preconditioner:
    """An approximate inverse of the Hessian.

    With few unknowns near the solution it is the inverse of a Hessian of sampled rows. Otherwise H is
    approximated by A x G + 1 / C, a Kronecker product: A is the mean of diag p - p p', and G the weighted sum
    of x x'. The eigenvectors of A and G diagonalize it. G is kept while it works.
    """

    def __init__(self) -> None:
        self.factor: Tensor | None = None
        self.basis: tuple[Tensor, Tensor, Tensor] | None = None  # values, vectors, trace of G
        self.classes: tuple[Tensor, Tensor] | None = None
        self.scale, self.root = 1.0, torch.ones(1)

    def update(self, hessian: Hessian, sampled: Hessian | None, is_slow: bool) -> None:
        """Fit the preconditioner to a Hessian.

        Args:
            hessian: The Hessian.
            sampled: The Hessian of fewer rows at the same point to factorize, None not to factorize.
            is_slow: Whether the last solution took many iterations.
        """
        if sampled is not None and (self.factor is None or is_slow):
            self.factor = sampled.factorize()
        if self.factor is not None:
            return
        weights, x = hessian.curvature, hessian.x
        self.root = hessian.positive_penalty.rsqrt()
        trace = weights @ torch.einsum("nd,nd->n", x, x)
        if self.basis is None or is_slow or x.shape[1] <= 512:
            gram = (x * weights[:, None]).T @ x
            values, vectors = torch.linalg.eigh(self.root[:, None] * gram * self.root)
            self.basis = values.clamp_min(0), vectors, trace
        self.scale = float(trace / self.basis[2].clamp_min(1e-30))
        self.classes = hessian.shape_of_classes()

    def apply(self, residual: Tensor) -> Tensor:
        """Return the approximate inverse times ``(K, D + 1)``."""
        if self.factor is not None:
            return torch.cholesky_solve(residual.reshape(-1, 1), self.factor).view_as(residual)
        assert self.basis is not None and self.classes is not None
        (values, vectors, _), (shares, mixes) = self.basis, self.classes
        rotated = mixes.T @ (residual * self.root) @ vectors
        rotated /= torch.outer(shares, values * self.scale) + 1
        return (mixes @ rotated @ vectors.T) * self.root


def solve(
    features: FeatureRows,
    labels: Tensor,
    n_labels: int,
    *,
    c: float,
    tolerance: float,
    max_iterations: int,
    weights: Tensor | None = None,
    start: Tensor | None = None,
) -> Solution:
    """Return the minimum of the objective of this module.

    Args:
        features: The rows, with the moments that standardize them.
        labels: int64 ``(N,)`` in 0..K-1, on the device of the features.
        n_labels: K, 2 or more.
        c: C, the inverse strength of the penalty.
        tolerance: The largest entry of the gradient of the mean objective at which the fit is converged.
        max_iterations: The largest number of Newton steps.
        weights: float64 ``(N,)``, the weights w_i of the rows; None for 1.
        start: float64 ``(K, D + 1)``, where the solver starts: weights, then intercepts; None for 0.
    """
    if weights is None:
        weights = torch.ones(features.rows, dtype=torch.float64, device=features.device)
    objective = Objective(features, labels, weights, n_labels, c)
    if start is None:
        start = torch.zeros(n_labels, features.dim + 1, dtype=torch.float64, device=features.device)
    point, preconditioner = objective.evaluate(start), _Preconditioner()
    target = min(tolerance, max(tolerance * TARGET, LOWEST_TARGET))
    iterations, cg_iterations = 0, 0
    while iterations < max_iterations and objective.mean_gradient(point) > target:
        direction, cg_iterations = _newton_direction(
            objective, point, preconditioner, cg_iterations > REFRESH_AFTER
        )
        following = _search_line(objective, point, direction)
        if following is None:
            break
        point = following
        iterations += 1
    intercept = point.unknowns[:, -1] - point.unknowns[:, -1].mean()
    return Solution(point.unknowns[:, :-1], intercept, iterations, objective.mean_gradient(point))


def _newton_direction(
    objective: Objective, point: Point, preconditioner: _Preconditioner, is_slow: bool
) -> tuple[Tensor, int]:
    """Return the direction, float64 ``(K, D + 1)``, and the number of iterations that it took."""
    largest = objective.mean_gradient(point)
    is_near = largest < EXACT_BELOW
    is_streamed = is_near and objective.is_too_large(point)
    is_sampled = is_streamed or not is_near
    hessian = objective.hessian(point, objective.sampled_rows if is_sampled else objective.max_rows)
    product = partial(objective.product, point) if is_streamed else hessian.product
    sampled = None
    if is_near and point.unknowns.numel() <= DIRECT_UNKNOWNS:
        is_small = len(hessian.x) <= objective.sampled_rows
        sampled = hessian if is_small else objective.hessian(point, objective.sampled_rows)
    preconditioner.update(hessian, sampled, is_slow)
    length = float(point.gradient.norm())
    right = (-point.gradient / length).float()
    solution, iterations = _conjugate_gradients(
        product, preconditioner, right, min(0.1, max(1e-3, math.sqrt(largest)))
    )
    direction = solution.double() * length
    return direction - direction.mean(dim=0), iterations


def _conjugate_gradients(
    multiply: Callable[[Tensor], Tensor],
    preconditioner: _Preconditioner,
    right: Tensor,
    tolerance: float,
) -> tuple[Tensor, int]:
    """Return the solution d of H d = right to a relative residual, and the number of iterations."""
    solution, residual = torch.zeros_like(right), right.clone()
    z = preconditioner.apply(residual)
    step, size = z.clone(), (residual * z).sum()
    bound = float(size) * tolerance**2
    for iteration in range(1, CG_ITERATIONS + 1):
        product = multiply(step)
        length = size / (step * product).sum()
        if not bool(length.isfinite()):  # an exact solution
            return solution, iteration
        solution += length * step
        residual -= length * product
        z = preconditioner.apply(residual)
        following = (residual * z).sum()
        if float(following) <= bound:
            return solution, iteration
        step = z + (following / size) * step
        size = following
    return solution, CG_ITERATIONS


def _search_line(objective: Objective, point: Point, direction: Tensor) -> Point | None:
    """Return a lower point along a direction, None if rounding errors hide it."""
    slope, step = float((point.gradient * direction).sum()), 1.0
    if not slope < 0:
        return None
    while step >= SMALLEST_STEP:
        trial = objective.evaluate(point.unknowns + step * direction)
        if trial.value <= point.value + ARMIJO * step * slope:
            return trial
        # Near the minimum the decrease is smaller than the rounding errors of F: compare gradients.
        is_flat = abs(trial.value - point.value) <= 1e-12 * abs(point.value)
        if is_flat and objective.mean_gradient(trial) < objective.mean_gradient(point):
            return trial
        step /= 2
        # The sample may miss a direction of large curvature: draw more rows from now on.
        objective.sampled_rows = min(2 * objective.sampled_rows, objective.max_rows)
    return None
