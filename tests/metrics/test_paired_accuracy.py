"""The paired bootstrap of accuracies: the same numbers as over tables of counts."""

from __future__ import annotations

import numpy as np
import pytest

from biascon.metrics import accuracy
from biascon.metrics.joint_counts import JointCounts, count_jointly
from biascon.metrics.paired_accuracy import paired_accuracy_bootstrap
from biascon.metrics.paired_tests import paired_bootstrap

METRICS = {
    "unbiased": (accuracy.unbiased, accuracy.unbiased_of_cells),
    "top1": (accuracy.top1, accuracy.top1_of_cells),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("n", "k", "m"), [(3000, 10, 10), (300, 3, 2), (40, 4, 1), (5, 2, 2), (0, 2, 2)]
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_it_is_the_bootstrap_over_tables_to_the_last_digit(
    metric: str, n: int, k: int, m: int, shuffled: bool
) -> None:
    rng = np.random.default_rng((n, k))
    labels, bias = rng.integers(0, k, n), rng.integers(0, m, n)
    a = np.where(rng.random(n) < 0.8, labels, rng.integers(0, k, n))
    b = np.where(rng.random(n) < 0.7, a, rng.integers(0, k, n))
    counts = count_jointly(labels, bias, a, b, n_labels=k, n_bias=m)
    if shuffled:  # the combinations may be in any order
        order = rng.permutation(len(counts.n))
        counts = JointCounts(counts.cells[order], counts.n[order], k, m)
    of_tables, of_cells = METRICS[metric]
    expected = paired_bootstrap(
        counts, lambda tables: {"x": of_tables(tables)}, np.random.default_rng(1), replicates=400
    )["x"]
    found = paired_accuracy_bootstrap(counts, of_cells, np.random.default_rng(1), replicates=400)
    for name in ("value", "low", "high"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
