"""The Hessian of multinomial logistic regression: its product with a direction, and preconditioners.

Where a probability is close to 1, 1 - p has no correct digit in float32. No formula here uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGES = (0.0, 1e-7, 1e-6, 1e-5, 1e-4)  # parts of the largest entry on the diagonal


def multiply_rows(x: Tensor, p: Tensor, weighted: Tensor, direction: Tensor) -> Tensor:
    """Return sum_i w_i (diag p_i - p_i p_i') d x_i x_i' for d ``(K, D + 1)``."""
    u = x @ direction.T
    # A shift of all classes changes nothing. With 0 for the likeliest class, small numbers stay exact.
    u -= u.gather(1, p.argmax(dim=1, keepdim=True))
    u -= torch.einsum("nk,nk->n", p, u)[:, None]
    u *= weighted
    product: Tensor = u.T @ x
    return product


class Hessian:
    """The Hessian at a point, of rows that are kept in memory.

    Args:
        x: float32 ``(R, D + 1)``: standardized features with a column of ones.
        p: float32 ``(R, K)``: the probabilities at the point.
        weights: float32 ``(R,)``: w_i, divided by the probability with which a row was drawn.
        curvature: float32 ``(R,)``: w_i (1 - sum_k p_ik^2) of exact probabilities, divided likewise.
        c: C, the inverse strength of the penalty.
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
        return multiply_rows(self.x, self.p, self.weighted, direction) + direction * self.penalty

    def factorize(self) -> Tensor | None:
        """Return the Cholesky factor of H as a matrix, float32 ``(K (D + 1), K (D + 1))``.

        Entries of H are sums in float32. Their rounding can exceed the penalty in a direction in which H has
        no curvature, such as a shift of all classes. A ridge is then added, as small as possible. None if
        even the largest ridge does not make the matrix positive definite.
        """
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
        wide = matrix.view(k * width, k * width).double()
        wide.diagonal().add_(self.positive_penalty.double().repeat(k))
        largest, added = float(wide.diagonal().max()), 0.0
        for ridge in RIDGES:
            wide.diagonal().add_(ridge * largest - added)
            added = ridge * largest
            factor: Tensor
            factor, info = torch.linalg.cholesky_ex(wide)
            if int(info) == 0 and bool(factor.isfinite().all()):
                return factor.float()
        return None

    def shape_of_classes(self) -> tuple[Tensor, Tensor]:
        """Return eigenvalues and eigenvectors of the mean of diag p - p p' over the rows, ``(K, K)``."""
        products = self.weighted.T @ self.p
        products.fill_diagonal_(0)
        mean = (torch.diag(products.sum(dim=1)) - products) / self.curvature.sum().clamp_min(1e-30)
        values, vectors = torch.linalg.eigh((mean + mean.T) / 2)
        return values.clamp_min(0), vectors


class Preconditioner:
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
