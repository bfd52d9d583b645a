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

from biascon.probing.feature_rows import FeatureRows
from biascon.probing.hessian import Hessian, Preconditioner, multiply_rows
from biascon.utils.devices import free_memory
from biascon.utils.progress import report_progress

TARGET = 1e-3  # the solver stops at this part of the tolerance
LOWEST_TARGET = 1e-12  # a mean gradient below it is rounding error
SAMPLED_ROWS, SAMPLED_ROWS_PER_FEATURE = 4096, 8  # rows of a sampled Hessian
EXACT_BELOW = 2e-5  # largest mean gradient below which the Hessian is not sampled
LEFT_OUT = 0.1  # curvature of the rows that are left out, in units of 1 / C
LEFT_OUT_SHARE = 0.01  # and at most this part of the curvature of all rows
DIRECT_UNKNOWNS = 2048  # up to so many unknowns, the preconditioner is a factorized Hessian
REFRESH_AFTER = (
    20  # iterations of conjugate gradients after which the preconditioner is computed again
)
CG_ITERATIONS = 300
ARMIJO, SMALLEST_STEP = 1e-4, 1e-9
HESSIAN_BYTES = 1 << 30  # rows of the Hessian on a CPU; on a GPU a quarter of the free memory


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


@dataclass(frozen=True)
class _Point:
    """The objective at a point: unknowns and gradient ``(K, D + 1)``, value, curvature of rows ``(N,)``."""

    unknowns: Tensor
    value: float
    gradient: Tensor
    curvature: Tensor


class _Objective:
    """F, its gradient in float64, and the rows of its Hessian in float32."""

    def __init__(
        self, features: FeatureRows, labels: Tensor, weights: Tensor, n_labels: int, c: float
    ) -> None:
        self.features, self.labels, self.weights, self.k = features, labels, weights, n_labels
        # The penalty of the difference of two rows is that of both rows with half of C.
        self.c = c / 2 if n_labels == 2 else c
        self.total = float(weights.sum())
        self.lengths = features.squared_lengths()
        bound = HESSIAN_BYTES
        if features.device.type == "cuda":
            bound = free_memory(features.device) // 4
        self.sampled_rows: int = max(SAMPLED_ROWS, SAMPLED_ROWS_PER_FEATURE * features.dim)
        self.max_rows: int = max(
            self.sampled_rows, bound // (4 * (features.dim + 1 + 3 * n_labels))
        )

    def mean_gradient(self, point: _Point) -> float:
        return float(point.gradient.abs().max()) / self.total

    def evaluate(self, unknowns: Tensor) -> _Point:
        """Return the objective at ``(K, D + 1)``: weights for standardized features, then intercepts."""
        moments = self.features.moments
        weights = unknowns[:, :-1] / moments.scale  # for features that are not standardized
        intercept = unknowns[:, -1] - weights @ moments.mean
        columns = weights.T.contiguous()
        value = torch.zeros((), dtype=torch.float64, device=unknowns.device)
        products, sums = torch.zeros_like(weights), torch.zeros_like(intercept)
        curvature = torch.empty(self.features.rows, device=unknowns.device)
        for rows, x in self.features.blocks():
            logs = torch.log_softmax(torch.addmm(intercept, x, columns), dim=1)
            label, weight = self.labels[rows, None], self.weights[rows]
            value -= weight @ logs.gather(1, label)[:, 0]
            residual = logs.exp_()  # probabilities
            curvature[rows] = (1 - torch.einsum("nk,nk->n", residual, residual)) * weight
            residual.scatter_add_(1, label, torch.full_like(residual[:, :1], -1.0))
            residual *= weight[:, None]
            products.addmm_(residual.T, x)
            sums += residual.sum(dim=0)
        gradient = torch.cat(
            ((products - sums[:, None] * moments.mean) / moments.scale, sums[:, None]), dim=1
        )
        gradient[:, :-1] += unknowns[:, :-1] / self.c
        penalty = float(unknowns[:, :-1].square().sum()) / (2 * self.c)
        return _Point(unknowns, float(value) + penalty, gradient, curvature.clamp_min_(0))

    def hessian(self, point: _Point, max_rows: int) -> Hessian:
        """Return the Hessian at a point, estimated from about ``max_rows`` rows if there are more."""
        rows, weights = self._rows_that_matter(point), self.weights
        share = torch.ones((), dtype=torch.float64, device=rows.device)
        if len(rows) > max_rows:
            mass = (point.curvature * self.lengths)[rows].double()
            share = _inclusion_probabilities(mass, max_rows)
            reached = share.cumsum(0) + 0.5
            is_drawn = reached.floor() > (reached - share).floor()
            rows, share = rows[is_drawn], share[is_drawn]
        x = self.features.take(rows)
        p = torch.softmax(x @ point.unknowns.T.float(), dim=1)
        curvature = (point.curvature[rows] / share).float()
        return Hessian(x, p, (weights[rows] / share).float(), curvature, self.c)

    def is_too_large(self, point: _Point) -> bool:
        """Whether the rows of the exact Hessian do not fit into memory."""
        return int(self._rows_that_matter(point).numel()) > self.max_rows

    def product(self, point: _Point, direction: Tensor) -> Tensor:
        """Return the exact Hessian times ``(K, D + 1)`` in float32, without keeping rows."""
        result = torch.zeros_like(direction)
        penalty = Hessian.penalty_of(self.c, direction)
        size = self.features.block_rows
        for part in torch.split(self._rows_that_matter(point), max(size, 8192)):
            x = self.features.take(part)
            p = torch.softmax(x @ point.unknowns.T.float(), dim=1)
            result += multiply_rows(x, p, p * self.weights[part, None].float(), direction)
        return result + direction * penalty

    def _rows_that_matter(self, point: _Point) -> Tensor:
        """Return the rows, int64 ``(R,)`` ascending, without those whose curvature is negligible."""
        ascending, order = (point.curvature * self.lengths).sort()
        mass = ascending.double().cumsum(0)
        # The intercepts have no penalty: with a small C, rows of a large curvature would be left out.
        bound = (mass[-1:] * LEFT_OUT_SHARE).clamp_max(LEFT_OUT / self.c)
        n_left_out = int(torch.searchsorted(mass, bound))
        return order[min(n_left_out, len(order) - 1) :].sort().values


def _inclusion_probabilities(mass: Tensor, n: int) -> Tensor:
    """Return float64 ``(R,)``: probabilities in proportion to the mass, at most 1, with sum about n."""
    unit = mass.sum() / n
    for _ in range(5):
        unit = unit * (mass / unit).clamp_max(1).sum() / n
    return (mass / unit).clamp(1e-12, 1)


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
    objective = _Objective(features, labels, weights, n_labels, c)
    if start is None:
        start = torch.zeros(n_labels, features.dim + 1, dtype=torch.float64, device=features.device)
    point, preconditioner = objective.evaluate(start), Preconditioner()
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
        report_progress("linear probe", iterations, None, "iterations")
    intercept = point.unknowns[:, -1] - point.unknowns[:, -1].mean()
    return Solution(point.unknowns[:, :-1], intercept, iterations, objective.mean_gradient(point))


def _newton_direction(
    objective: _Objective, point: _Point, preconditioner: Preconditioner, is_slow: bool
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
    preconditioner: Preconditioner,
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


def _search_line(objective: _Objective, point: _Point, direction: Tensor) -> _Point | None:
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
