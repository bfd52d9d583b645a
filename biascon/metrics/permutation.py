"""Permutation tests of the hypothesis that a metric does not depend on the bias attribute.

A maximum minus a minimum over groups is above 0 even if all groups have the same rates, so its interval
does not show whether there is a disparity. The permutation test permutes the bias values of the rows many
times and computes the metric of every permuted data set. There are two kinds of permutation:

- ``"labels"``: among the rows of each label. Null hypothesis: given the label, the prediction does not
  depend on the group. Use it for equalized odds, equal opportunity and the accuracies of cells.
- ``"rows"``: among all rows. Null hypothesis: neither the label nor the prediction depends on the group.
  Use it for demographic parity. If the label distribution differs between the groups, predictive parity and
  equalized odds may be significant under this null hypothesis for that reason alone.

Rows are not shuffled. The table of counts of shuffled rows has a multivariate hypergeometric distribution
with the margins of the observed table, and is drawn directly with ``scipy.stats.random_table``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.metrics.intervals import REPLICATES
from biascon.metrics.margins import Margins
from biascon.utils.types import Array

WITHIN = ("labels", "rows")
_BLOCK = 500  # tables per block
_TIE = 1e-12  # metrics that deviate by less are equal: sums in another order round differently


@dataclass(frozen=True)
class NullDistribution:
    """A metric, its mean under permutation of the bias values, and the permutation p-value.

    Attributes:
        observed: float ``(...)``, the metric of the observed table.
        expected: float ``(...)``, the mean over the permuted tables for which the metric is defined; NaN if
            there is none.
        p: float ``(...)``, (1 + replicates at least as extreme) / (1 + replicates); NaN where ``observed``
            is NaN.
        replicates: The number of permuted tables.
    """

    observed: Array
    expected: Array
    p: Array
    replicates: int


def permute_bias(
    counts: Array, within: str, rng: np.random.Generator, replicates: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield tables of counts with permuted bias values, in blocks.

    Every table keeps the number of rows of each (label, prediction) and of each group. Within labels, it
    also keeps the number of rows of each (label, group).

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        within: ``"labels"`` permutes among the rows of each label, ``"rows"`` among all rows.
        rng: The random generator.
        replicates: The number of tables in all blocks together.

    Yields:
        int64 ``(R, K, M, K)``.

    Raises:
        UsageError: ``within`` is not one of these values.
    """
    if within not in WITHIN:
        raise UsageError(f"expected within to be one of {list(WITHIN)}, but got '{within}'")
    k, m, _ = counts.shape
    for start in range(0, replicates, _BLOCK):
        size = min(_BLOCK, replicates - start)
        if within == "labels":
            block = np.empty((size, k, m, k), np.int64)
            for label, table in enumerate(counts):
                block[:, label] = _draw_tables(table.sum(axis=1), table.sum(axis=0), size, rng)
        else:
            cells = counts.sum(axis=1).reshape(-1)  # (label, prediction)
            tables = _draw_tables(counts.sum(axis=(0, 2)), cells, size, rng)
            block = tables.reshape(size, m, k, k).swapaxes(1, 2)
        yield block


def permute_margins(
    counts: Array, within: str, rng: np.random.Generator, replicates: int
) -> Iterator[Margins]:
    """Yield the margins of tables of counts with permuted bias values, as ``permute_bias``, in blocks.

    No full table is made. The draws differ from those of ``permute_bias``; the distribution is the same.
    Among all rows (``"rows"``), only the sums of predictions are drawn: the labels and the correct rows are
    those of ``counts``.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        within: ``"labels"`` or ``"rows"``.
        rng: The random generator.
        replicates: The number of tables in all blocks together.

    Yields:
        Margins of arrays int64 ``(R, K, M)``.

    Raises:
        UsageError: ``within`` is not one of these values.
    """
    if within not in WITHIN:
        raise UsageError(f"expected within to be one of {list(WITHIN)}, but got '{within}'")
    k, m, _ = counts.shape
    observed = Margins.of(counts)
    for start in range(0, replicates, _BLOCK):
        shape = (min(_BLOCK, replicates - start), k, m)
        total, hits = (np.broadcast_to(x, shape) for x in (observed.total, observed.hits))
        if within == "rows":
            selected = _draw_tables(counts.sum(axis=(0, 1)), counts.sum(axis=(0, 2)), shape[0], rng)
            yield Margins(total, hits, selected)
            continue
        hits, selected = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for label, table in enumerate(counts):
            predictions, groups = table.sum(axis=0), table.sum(axis=1)
            predicted = np.flatnonzero(predictions)
            if not len(predicted):
                continue
            drawn = _draw_tables(predictions[predicted], groups, shape[0], rng)
            selected[:, predicted] += drawn
            if predictions[label]:
                hits[:, label] = drawn[:, np.searchsorted(predicted, label)]
        yield Margins(total, hits, selected)


def _draw_tables(
    rows: Array, columns: Array, size: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return random tables with fixed margins, int64 ``(R, len(rows), len(columns))``.

    With one row or one column, the table is the other margin. ``scipy.stats.random_table`` (1.17.1) returns
    negative entries for such margins.
    """
    from scipy import stats

    if len(rows) == 1 or len(columns) == 1:
        table = np.multiply.outer(rows, columns) // max(int(rows.sum()), 1)
        return np.broadcast_to(table, (size, *table.shape)).astype(np.int64)
    tables = np.asarray(stats.random_table(rows, columns).rvs(size, random_state=rng))
    return tables.astype(np.int64)


def permutation_test(
    counts: Array,
    metrics: Callable[[Array], Mapping[str, Array]],
    rng: np.random.Generator,
    *,
    within: str,
    replicates: int = REPLICATES,
    lower: Collection[str] = (),
) -> dict[str, NullDistribution]:
    """Return the permutation test of every metric of a table of counts.

    With B replicates, of which b are at least as extreme as the observed metric::

        p = (1 + b) / (1 + B)

    The p-value is never 0. Under the null hypothesis, P(p <= alpha) <= alpha (Phipson and Smyth,
    "Permutation p-values should never be zero", Statistical Applications in Genetics and Molecular Biology
    9(1), 2010). A replicate for which the metric is undefined counts as extreme, which can only increase p.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        metrics: A function from tables ``(R, K, M, K)`` to float arrays ``(R, ...)`` by metric name.
        rng: The generator of the permutations; no other computation may use it.
        within: ``"labels"`` or ``"rows"``, as for ``permute_bias``.
        replicates: The number of permuted tables, at least 1.
        lower: Names of the metrics for which small values are extreme (ratios, accuracies). For all other
            metrics large values are extreme.

    Returns:
        The test by metric name.

    Raises:
        UsageError: ``within`` is unknown, ``replicates`` is below 1, or ``lower`` has unknown metrics.
    """
    _check_replicates(replicates)
    blocks = (metrics(tables) for tables in permute_bias(counts, within, rng, replicates))
    return _compare_with_null(metrics(counts[None]), blocks, replicates, lower)


def margins_permutation_test(
    counts: Array,
    metrics: Callable[[Margins], Mapping[str, Array]],
    rng: np.random.Generator,
    *,
    within: str,
    replicates: int = REPLICATES,
    lower: Collection[str] = (),
) -> dict[str, NullDistribution]:
    """Return the permutation test of metrics of margins: ``permutation_test`` for large tables.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
        metrics: A function from margins of arrays ``(R, K, M)`` to float arrays ``(R, ...)`` by metric name.
        rng: The generator of the permutations; no other computation may use it.
        within: ``"labels"`` or ``"rows"``, as for ``permute_margins``.
        replicates: The number of permuted tables, at least 1.
        lower: Names of the metrics for which small values are extreme.

    Returns:
        The test by metric name.

    Raises:
        UsageError: As for ``permutation_test``.
    """
    _check_replicates(replicates)
    blocks = (metrics(sums) for sums in permute_margins(counts, within, rng, replicates))
    return _compare_with_null(metrics(Margins.of(counts[None])), blocks, replicates, lower)


def _check_replicates(replicates: int) -> None:
    if replicates < 1:
        raise UsageError(f"expected at least one replicate, but got {replicates}")


def _compare_with_null(
    of_table: Mapping[str, Array],
    blocks: Iterable[Mapping[str, Array]],
    replicates: int,
    lower: Collection[str],
) -> dict[str, NullDistribution]:
    """Return the test of each metric of one table ``(1, ...)`` against permuted tables ``(R, ...)``."""
    observed = {name: np.asarray(value)[0] for name, value in of_table.items()}
    if not set(lower) <= set(observed):
        names = f"{sorted(observed)}, but got {sorted(lower)}"
        raise UsageError(f"expected lower to hold only names of {names}")
    extreme = {name: np.zeros(value.shape, np.int64) for name, value in observed.items()}
    total = {name: np.zeros(value.shape) for name, value in observed.items()}
    defined = {name: np.zeros(value.shape, np.int64) for name, value in observed.items()}
    for block in blocks:
        for name, permuted in block.items():
            undefined = np.isnan(permuted)
            excess = observed[name] - permuted if name in lower else permuted - observed[name]
            extreme[name] += ((excess >= -_TIE) | undefined).sum(axis=0)
            total[name] += np.where(undefined, 0.0, permuted).sum(axis=0)
            defined[name] += (~undefined).sum(axis=0)
    return {
        name: NullDistribution(
            value,
            np.where(defined[name] > 0, total[name] / np.maximum(defined[name], 1), np.nan),
            np.where(np.isnan(value), np.nan, (1 + extreme[name]) / (1 + replicates)),
            replicates,
        )
        for name, value in observed.items()
    }
