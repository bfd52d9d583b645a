"""The objective of logistic regression: value and gradient in float64, and its Hessian in float32.

``biascon.evaluation.logistic_regression`` states the objective and minimizes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biascon.evaluation.feature_rows import FeatureRows
from biascon.utils.devices import free_memory

SAMPLED_ROWS, SAMPLED_ROWS_PER_FEATURE = 4096, 8  # rows of a sampled Hessian
LEFT_OUT = 0.1  # curvature of the rows that are left out, in units of 1 / C
HESSIAN_BYTES = 1 << 30  # rows of the Hessian on a CPU; on a GPU a quarter of the free memory


@dataclass(frozen=True)
class Point:
    """The objective at a point: unknowns and gradient ``(K, D + 1)``, value, curvature of rows ``(N,)``."""

    unknowns: Tensor
    value: float
    gradient: Tensor
    curvature: Tensor


class Objective:
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

    def mean_gradient(self, point: Point) -> float:
        """Return the largest entry of the gradient of F / sum_i w_i."""
        return float(point.gradient.abs().max()) / self.total

    def evaluate(self, unknowns: Tensor) -> Point:
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
        return Point(unknowns, float(value) + penalty, gradient, curvature.clamp_min_(0))

    def hessian(self, point: Point, max_rows: int) -> Hessian:
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

    def is_too_large(self, point: Point) -> bool:
        """Whether the rows of the exact Hessian do not fit into memory."""
        return int(self._rows_that_matter(point).numel()) > self.max_rows

    def product(self, point: Point, direction: Tensor) -> Tensor:
        """Return the exact Hessian times ``(K, D + 1)`` in float32, without keeping rows."""
        result = torch.zeros_like(direction)
        penalty = Hessian.penalty_of(self.c, direction)
        size = self.features.block_rows
        for part in torch.split(self._rows_that_matter(point), max(size, 8192)):
            x = self.features.take(part)
            p = torch.softmax(x @ point.unknowns.T.float(), dim=1)
            result += _product(x, p, p * self.weights[part, None].float(), direction)
        return result + direction * penalty

    def _rows_that_matter(self, point: Point) -> Tensor:
        """Return the rows, int64 ``(R,)`` ascending, without those whose curvature is negligible."""
        ascending, order = (point.curvature * self.lengths).sort()
        bound = torch.tensor(LEFT_OUT / self.c, dtype=torch.float64, device=order.device)
        n_left_out = int(torch.searchsorted(ascending.double().cumsum(0), bound))
        return order[min(n_left_out, len(order) - 1) :].sort().values


def _inclusion_probabilities(mass: Tensor, n: int) -> Tensor:
    """Return float64 ``(R,)``: probabilities in proportion to the mass, at most 1, with sum about n."""
    unit = mass.sum() / n
    for _ in range(5):
        unit = unit * (mass / unit).clamp_max(1).sum() / n
    return (mass / unit).clamp(1e-12, 1)


def _product(x: Tensor, p: Tensor, weighted: Tensor, direction: Tensor) -> Tensor:
    """Return sum_i w_i (diag p_i - p_i p_i') d x_i x_i' for d ``(K, D + 1)``."""
    u = x @ direction.T
    # A shift of all classes changes nothing. With 0 for the likeliest class, small numbers stay exact.
    u -= u.gather(1, p.argmax(dim=1, keepdim=True))
    u -= torch.einsum("nk,nk->n", p, u)[:, None]
    u *= weighted
    product: Tensor = u.T @ x
    return product


class Hessian:
    """The Hessian at a point: a product with a direction, and parts of a preconditioner.

    Where a probability is close to 1, 1 - p has no correct digit in float32. No formula here uses it.
    """

    def __init__(self, x: Tensor, p: Tensor, weights: Tensor, curvature: Tensor, c: float) -> None:
        self.x, self.p, self.weighted = x, p, p * weights[:, None]
        self.curvature, self.penalty = curvature, self.penalty_of(c, x)
        # The intercepts have no penalty; a small one makes the preconditioner invertible.
        self.positive_penalty = self.penalty.clone()
        self.positive_penalty[-1] = 1e-3 / c

    @staticmethod
    def penalty_of(c: float, like: Tensor) -> Tensor:
        """Return the penalty of every column, float32 ``(D + 1,)``: 1 / C, and 0 for the intercept."""
        penalty = torch.full(like.shape[1:], 1 / c, device=like.device)
        penalty[-1] = 0
        return penalty

    def product(self, direction: Tensor) -> Tensor:
        """Return H d for d ``(K, D + 1)``."""
        return _product(self.x, self.p, self.weighted, direction) + direction * self.penalty

    def factorize(self) -> Tensor:
        """Return the Cholesky factor of H as a matrix, float32 ``(K (D + 1), K (D + 1))``."""
        (k, width), x = (self.p.shape[1], self.x.shape[1]), self.x
        matrix = torch.empty(k, width, k, width, device=x.device)
        for a in range(k):
            others = self.p.clone()
            others[:, a] = 0
            q = -self.weighted[:, a, None] * self.p[:, a:]  # (R, K - a)
            q[:, 0] = self.weighted[:, a] * others.sum(dim=1)
            blocks = x.T @ (q[:, :, None] * x[:, None, :]).flatten(1)
            matrix[a, :, a:] = blocks.view(width, k - a, width)
            matrix[a:, :, a] = matrix[a, :, a:].permute(1, 2, 0).clone()
        matrix = matrix.view(k * width, k * width).double()
        matrix.diagonal().add_(self.positive_penalty.double().repeat(k))
        factor: Tensor = torch.linalg.cholesky(matrix)
        return factor.float()

    def shape_of_classes(self) -> tuple[Tensor, Tensor]:
        """Return eigenvalues and eigenvectors of the mean of diag p - p p' over the rows, ``(K, K)``."""
        products = self.weighted.T @ self.p
        products.fill_diagonal_(0)
        mean = (torch.diag(products.sum(dim=1)) - products) / self.curvature.sum().clamp_min(1e-30)
        values, vectors = torch.linalg.eigh((mean + mean.T) / 2)
        return values.clamp_min(0), vectors
