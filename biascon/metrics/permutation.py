"""Permutation tests of "is there any disparity": what chance alone makes of a metric of groups.

A maximum minus a minimum over groups is above 0 even where all groups are treated alike, so its
interval does not say whether there is a disparity. Here the bias attribute is dealt out anew among
the rows, and the metric computed again, many times. Two ways to deal:

- ``"labels"``: among the rows of each label. Under the null the prediction does not depend on the
  group given the label: for equalized odds, equal opportunity and accuracies of cells.
- ``"rows"``: among all rows. Under the null neither label nor prediction depends on the group: for
  demographic parity. If the groups' *labels* differ, predictive parity and equalized odds may be
  "significant" under this null for that reason alone.

Rows are never shuffled: the table of counts after a shuffle has a multivariate hypergeometric
distribution with the margins of the observed one, and is drawn directly (scipy's ``random_table``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.metrics.intervals import REPLICATES
from biascon.utils.types import Array

WITHIN = ("labels", "rows")
_BLOCK = 500
_TIE = 1e-12  # the same rates, added up in another order


@dataclass(frozen=True)
class NullDistribution:
    """A metric beside what chance alone gives.

    Attributes:
        observed: The metric of the table, ``(...)``.
        expected: Its mean over the replicates that have one.
        p: (1 + replicates at least as extreme) / (1 + replicates); NaN where ``observed`` is.
        replicates: How many.
    """

    observed: Array
    expected: Array
    p: Array
    replicates: int


def permute_bias(
    counts: Array, within: str, rng: np.random.Generator, replicates: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield blocks ``(R, K, M, K)`` of tables with the bias dealt out anew, replicates in all.

    Every table keeps how often each (label, prediction) and each group occurs; within labels also
    how often each (label, group) does.

    Args:
        counts: Integers ``(K, M, K)``.
        within: "labels" or "rows".
        rng: A generator of its own purpose.
        replicates: How many tables.

    Raises:
        UsageError: Another ``within``.
    """
    from scipy import stats

    if within not in WITHIN:
        raise UsageError(f"expected within to be one of {list(WITHIN)}, but got '{within}'")
    k, m, _ = counts.shape
    for start in range(0, replicates, _BLOCK):
        size = min(_BLOCK, replicates - start)
        if within == "labels":
            block = np.empty((size, k, m, k), np.int64)
            for label, table in enumerate(counts):
                margins = stats.random_table(table.sum(axis=1), table.sum(axis=0))
                block[:, label] = margins.rvs(size, random_state=rng)
        else:
            cells = counts.sum(axis=1).reshape(-1)  # (label, prediction)
            margins = stats.random_table(counts.sum(axis=(0, 2)), cells)
            drawn = np.asarray(margins.rvs(size, random_state=rng)).astype(np.int64)
            block = drawn.reshape(size, m, k, k).swapaxes(1, 2)
        yield block


def permutation_test(
    counts: Array,
    metrics: Callable[[Array], Mapping[str, Array]],
    rng: np.random.Generator,
    *,
    within: str,
    replicates: int = REPLICATES,
    lower: Collection[str] = (),
) -> dict[str, NullDistribution]:
    """Test every metric of a table against the null that the bias attribute does not matter.

    The p-value is never 0, and at most ``alpha`` with probability at most ``alpha`` under the null
    (Phipson and Smyth, "Permutation p-values should never be zero", SAGMB 9(1), 2010). A replicate
    for which a metric is undefined counts as extreme, so p is rather too large than too small.

    Args:
        counts: Integers ``(K, M, K)``.
        metrics: Maps tables ``(R, K, M, K)`` to arrays ``(R, ...)`` by name.
        rng: A generator of its own purpose.
        within: "labels" or "rows", see above.
        replicates: How many tables are drawn, at least 1.
        lower: The metrics that are small where there is a disparity (ratios, accuracies); of all
            others it is the large values.

    Raises:
        UsageError: Another ``within``, no replicates, or names in ``lower`` that are no metrics.
    """
    if replicates < 1:
        raise UsageError(f"expected at least one replicate, but got {replicates}")
    observed = {name: np.asarray(value)[0] for name, value in metrics(counts[None]).items()}
    if not set(lower) <= set(observed):
        raise UsageError(f"expected lower to be of {sorted(observed)}, but got {sorted(lower)}")
    extreme = {name: np.zeros(value.shape, np.int64) for name, value in observed.items()}
    total = {name: np.zeros(value.shape) for name, value in observed.items()}
    defined = {name: np.zeros(value.shape, np.int64) for name, value in observed.items()}
    for block in permute_bias(counts, within, rng, replicates):
        for name, drawn in metrics(block).items():
            undefined = np.isnan(drawn)
            excess = observed[name] - drawn if name in lower else drawn - observed[name]
            extreme[name] += ((excess >= -_TIE) | undefined).sum(axis=0)
            total[name] += np.where(undefined, 0.0, drawn).sum(axis=0)
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
