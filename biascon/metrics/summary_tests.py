"""The permutation tests of the metrics of a summary."""

from __future__ import annotations

from collections.abc import Sequence

from biascon.metrics import accuracy, fairness
from biascon.metrics.estimates import finite_or_none
from biascon.metrics.permutation import permutation_test
from biascon.metrics.records import PermutationResult
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array

# The metrics of the permutation test, by how the bias values are permuted: among all rows, or among
# the rows of each label.
NULLS = {
    "rows": ("demographic_parity_difference",),
    "labels": ("worst_group", "equalized_odds_difference", "equal_opportunity_difference"),
}
# Tables with more entries are not tested: the permutations would take minutes.
MAX_PERMUTED = 20_000


def run_permutation_tests(
    table: Array, seed: int, positive: int | None
) -> dict[str, PermutationResult]:
    """Return the permutation test of every metric of ``NULLS``.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        seed: The random seed.
        positive: The index of the positive class of two classes. None tests the mean over classes.
    """
    results = {}
    for within, names in NULLS.items():

        def compute_metrics(tables: Array, names: Sequence[str] = names) -> dict[str, Array]:
            values = {"worst_group": accuracy.worst_group(tables)}
            for name, per_class in fairness.from_counts(tables).items():
                values[name] = (
                    fairness.average_labeled(per_class, table)
                    if positive is None
                    else per_class[..., positive]
                )
            return {name: values[name] for name in names}

        null_distributions = permutation_test(
            table,
            compute_metrics,
            numpy_generator(seed, f"permutation/{within}"),
            within=within,
            lower={"worst_group"} & set(names),
        )
        for name, null in null_distributions.items():
            results[name] = PermutationResult(
                finite_or_none(null.expected), finite_or_none(null.p), within, null.replicates
            )
    return results
