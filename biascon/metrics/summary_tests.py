"""The permutation tests of the metrics of a summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from biascon.metrics import accuracy, fairness
from biascon.metrics.estimates import finite_or_none
from biascon.metrics.margins import Margins
from biascon.metrics.multiclass import MULTICLASS_METRICS, multiclass_equalized_odds
from biascon.metrics.permutation import margins_permutation_test, permutation_test
from biascon.metrics.records import PermutationResult
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array

# The metrics of the permutation test, by how the bias values are permuted: among all rows, or among
# the rows of each label.
NULLS = {
    "rows": ("demographic_parity_difference",),
    "labels": ("worst_group", "equalized_odds_difference", "equal_opportunity_difference"),
}
# Above this number of table entries, sums are permuted and not tables (``permute_margins``).
MAX_TABLES = 20_000
# Tables with more entries are not tested: the permutations would take longer than all intervals.
MAX_PERMUTED = 100_000


def run_permutation_tests(
    table: Array, seed: int, positive: int | None
) -> dict[str, PermutationResult]:
    """Return the permutation test of every metric of ``NULLS``.

    With more than two labels, and not more than ``MAX_TABLES`` entries, multi-class equalized odds are
    tested too.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction.
        seed: The random seed.
        positive: The index of the positive class of two classes. None tests the mean over classes.
    """
    n_labels = int((table.sum(axis=(1, 2)) > 0).sum())
    results = {}
    for within, tested in NULLS.items():
        names = tested
        if within == "labels" and n_labels > 2 and table.size <= MAX_TABLES:
            names = (*tested, *MULTICLASS_METRICS)

        def select(values: Mapping[str, Array], names: Sequence[str] = names) -> dict[str, Array]:
            return {
                name: values[name]
                if values[name].ndim == 1
                else fairness.average_labeled(values[name], table)
                if positive is None
                else values[name][..., positive]
                for name in names
            }

        def compute_metrics(
            tables: Array,
            select: Callable[..., dict[str, Array]] = select,
            names: Sequence[str] = names,
        ) -> dict[str, Array]:
            values = {"worst_group": accuracy.worst_group(tables), **fairness.from_counts(tables)}
            if MULTICLASS_METRICS[0] in names:
                values[MULTICLASS_METRICS[0]] = multiclass_equalized_odds(tables)
            return select(values)

        def compute_sums(
            sums: Margins, select: Callable[..., dict[str, Array]] = select
        ) -> dict[str, Array]:
            worst = accuracy.worst_of_cells(sums.hits, sums.total)
            return select(
                {"worst_group": worst, **fairness.from_sums(sums.total, sums.hits, sums.selected)}
            )

        rng, lower = numpy_generator(seed, f"permutation/{within}"), {"worst_group"} & set(names)
        null_distributions = (
            permutation_test(table, compute_metrics, rng, within=within, lower=lower)
            if table.size <= MAX_TABLES
            else margins_permutation_test(table, compute_sums, rng, within=within, lower=lower)
        )
        for name, null in null_distributions.items():
            results[name] = PermutationResult(
                finite_or_none(null.expected), finite_or_none(null.p), within, null.replicates
            )
    return results
