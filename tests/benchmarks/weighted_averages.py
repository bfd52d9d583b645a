"""How often the intervals of weighted sums of accuracies hold the true value: the table of docs/metrics.md.

    python tests/benchmarks/weighted_averages.py

One line a design: the coverage of the interval of this sum, and that of Wilson's limits of every cell joined
by MOVER.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biascon.metrics.intervals import wilson
from biascon.metrics.joint_counts import JointCounts
from biascon.metrics.weighted_averages import measure_weighted_sum, weighted_paired_difference

Floats = npt.NDArray[np.float64]
WATERBIRDS = np.array([3498, 184, 56, 1057]) / 4795
URBANCARS = np.tile(np.array([0.9025, 0.0475, 0.0475, 0.0025]) / 2, (2, 1))
DIGITS = np.tile(
    np.array([0.81, 0.09, 0.09, 0.01]) / 10, (10, 1)
)  # two attributes at 0.9, ten labels


def gap(shares: Floats, pattern: int) -> Floats:
    """Return the coefficients of the gap of a pattern: pattern accuracy minus in-distribution accuracy."""
    coefficients = -shares
    coefficients[:, pattern] += 1 / len(shares)
    return coefficients.reshape(-1)


def cover(name: str, rates: Floats, n: Floats, c: Floats, tables: int = 1500) -> None:
    """Print the coverage of both intervals over made tables."""
    rng = np.random.default_rng(0)
    truth = float((c * rates).sum())
    hits = rng.binomial(n.astype(int), rates, (tables, len(n)))
    metrics = [measure_weighted_sum(each, n, c) for each in hits]
    held = np.mean(
        [m.low <= truth <= m.high for m in metrics if m.low is not None and m.high is not None]
    )
    low, high = wilson(hits, n)
    value = hits / n
    below = c * np.where(c > 0, value - low, high - value)
    above = c * np.where(c > 0, high - value, value - low)
    total = (c * value).sum(axis=1)
    joined = (total - np.sqrt((below**2).sum(axis=1)) <= truth) & (
        truth <= total + np.sqrt((above**2).sum(axis=1))
    )
    print(
        f"{name:60s} {100 * held:5.1f} %   Wilson by cell {100 * joined.mean():5.1f} %", flush=True
    )


def cover_pairs(name: str, a: Floats, b: Floats, n: Floats, c: Floats, tables: int = 500) -> None:
    """Print the coverage of the paired interval: 70 % of the images are right or wrong for both alike."""
    rng = np.random.default_rng(0)
    both = 0.7 * np.minimum(a, b) + 0.3 * a * b
    shares = np.stack([1 - a - b + both, b - both, a - both, both], axis=-1)
    cells = np.array([(0, i, 1 - x, 1 - y) for i in range(len(n)) for x in (0, 1) for y in (0, 1)])
    coefficients = np.stack([c, 0 * c])
    truth, held = float((c * (a - b)).sum()), 0
    for _ in range(tables):
        rows = np.concatenate([rng.multinomial(int(m), p) for m, p in zip(n, shares, strict=True)])
        found = weighted_paired_difference(JointCounts(cells, rows, 2, len(n)), coefficients)
        held += bool(found.low <= truth <= found.high)
    print(f"{name:60s} {100 * held / tables:5.1f} %", flush=True)


def main() -> None:
    """Print every design."""
    birds = np.array([112.0, 112, 32, 32])
    cover("Waterbirds, 70 to 99 %", np.array([0.99, 0.80, 0.70, 0.95]), birds, WATERBIRDS)
    cover("Waterbirds, 95 to 99.9 %", np.array([0.999, 0.98, 0.95, 0.99]), birds, WATERBIRDS)
    aligned = np.eye(10).reshape(-1) > 0
    digits = np.where(aligned, 0.0997, 0.003 / 90)
    for n in (100, 10):
        for accuracy in (0.99, 0.8):
            rates = np.where(aligned, accuracy, 0.5)
            cover(
                f"rho 0.997, {n} a cell, aligned {accuracy}", rates, np.full(100, float(n)), digits
            )
    for n in (125, 10):
        for rates in ([0.97, 0.7, 0.8, 0.4], [0.99, 0.95, 0.97, 0.9], [0.999, 0.99, 0.99, 0.98]):
            for pattern in (1, 3):
                name = f"UrbanCars, {n} a group, {rates}, gap of pattern {pattern}"
                c = gap(URBANCARS, pattern)
                cover(name, np.tile(rates, 2), np.full(8, float(n)), c)
    sizes = np.tile([10.0, 90, 90, 810], 10)
    for rates in ([0.99, 0.9, 0.6, 0.5], [0.999, 0.99, 0.98, 0.97]):
        cover(
            f"ten labels, {rates}, in distribution", np.tile(rates, 10), sizes, DIGITS.reshape(-1)
        )
        for pattern in (1, 3):
            name = f"ten labels, {rates}, gap of pattern {pattern}"
            cover(name, np.tile(rates, 10), sizes, gap(DIGITS, pattern))
    first, second = np.array([0.99, 0.8, 0.7, 0.95]), np.array([0.97, 0.7, 0.8, 0.9])
    cover_pairs("paired, Waterbirds", first, second, birds, WATERBIRDS)
    first, second = np.tile([0.97, 0.7, 0.8, 0.4], 2), np.tile([0.97, 0.8, 0.8, 0.6], 2)
    for n in (125, 10):
        c = gap(URBANCARS, 1)
        cover_pairs(
            f"paired, UrbanCars, {n} a group, gap of pattern 1",
            first,
            second,
            np.full(8, float(n)),
            c,
        )
        cover_pairs(f"paired, UrbanCars, {n} a group, a tie", first, first, np.full(8, float(n)), c)


if __name__ == "__main__":
    main()
