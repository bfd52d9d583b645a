"""How often an interval over random splits of one pool of images excludes a difference that is 0.

    python tests/benchmarks/resampled_splits.py

Two learners are equal in the population: least squares on one half of the features each, and the two halves
are exchangeable. A pool of 500 rows is split at random n times: 20 % are tested, the rest or a random half of
it is trained on. The n paired differences in accuracy give a 95 % t interval with the variance s^2 / n, and
one with s^2 (1 / n + n_test / n_train) (Nadeau and Bengio, Machine Learning 52, 2003). The lines "fresh" draw
a new pool for each split, for which s^2 / n is right.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
from scipy import stats

POOL, TEST, FEATURES = 500, 100, 20
Array = npt.NDArray[np.float64]


def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Return features float ``(n, 2 * FEATURES)`` and labels -1 or 1 ``(n,)``."""
    x = rng.normal(size=(n, 2 * FEATURES))
    y = np.sign(x.sum(axis=1) / np.sqrt(2 * FEATURES) + rng.normal(size=n))
    return x, y


def difference(x: Array, y: Array, train: Array, test: Array) -> float:
    """Return the accuracy of the first learner minus that of the second one on the tested rows."""
    accuracies = []
    for part in (slice(None, FEATURES), slice(FEATURES, None)):
        weights = np.linalg.lstsq(x[train, part], y[train], rcond=None)[0]
        accuracies.append(float((np.sign(x[test, part] @ weights) == y[test]).mean()))
    return accuracies[0] - accuracies[1]


def wrong_rates(n: int, n_train: int, *, one_pool: bool, replicates: int) -> tuple[float, float]:
    """Return how often the plain and the corrected interval exclude 0."""
    wrong = np.zeros(2)
    for k in range(replicates):
        rng = np.random.default_rng([k, n, n_train, one_pool])
        x, y = draw(rng, POOL)
        d = []
        for _ in range(n):
            if not one_pool:
                x, y = draw(rng, POOL)
            order = rng.permutation(POOL)
            d.append(difference(x, y, order[TEST : TEST + n_train], order[:TEST]))
        t = stats.t.ppf(0.975, n - 1)
        for column, factor in enumerate((1 / n, 1 / n + TEST / n_train)):
            wrong[column] += abs(np.mean(d)) > t * np.sqrt(np.var(d, ddof=1) * factor)
    return float(wrong[0] / replicates), float(wrong[1] / replicates)


def main() -> None:
    """Print a row for each design."""
    replicates = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    print("pools, n, trained rows, wrong with s^2 / n, wrong with the correction")
    for n in (5, 10):
        for n_train in (POOL - TEST, (POOL - TEST) // 2):
            plain, corrected = wrong_rates(n, n_train, one_pool=True, replicates=replicates)
            print(f"one, {n}, {n_train}, {plain:.3f}, {corrected:.3f}", flush=True)
        plain, _ = wrong_rates(n, POOL - TEST, one_pool=False, replicates=replicates)
        print(f"fresh, {n}, {POOL - TEST}, {plain:.3f}, -", flush=True)


if __name__ == "__main__":
    main()
