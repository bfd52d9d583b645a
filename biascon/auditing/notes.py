"""Notes of an audit: which groups are not compared, and which metrics are undefined for lack of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biascon.auditing.group_rates import WeightTables
from biascon.utils.text import join_first, quote_some
from biascon.utils.types import Array


def describe_undefined(
    counts: Array,
    classes: Sequence[str],
    groups: Sequence[str],
    compared: Array,
    min_group: int,
) -> list[str]:
    """Return notes about groups that are not compared, and about metrics that lack rows.

    Args:
        counts: int64 ``(K, M, K)``: label x group x prediction.
        classes: The names of the K classes.
        groups: The names of the M groups.
        compared: bool ``(M,)``, the groups that are compared.
        min_group: The rows that a group needs to be compared.
    """
    rows = counts.sum(axis=-1)  # (K, M)
    notes = []
    unlabeled = {k for k in range(len(classes)) if rows[k].sum() == 0}
    if unlabeled:
        unused = quote_some(classes[k] for k in sorted(unlabeled))
        notes.append(f"predicted, but the label of no row (n = 0): {unused}")
    if not compared.all():
        n = rows.sum(axis=0)
        left_out = join_first(
            [f"'{groups[m]}' ({n[m]:,})" for m in np.flatnonzero(~compared).tolist()]
        )
        notes.append(
            f"left out of the comparisons and of the worst group: {(~compared).sum():,} of "
            f"{len(groups):,} groups, with fewer than {min_group:,} rows: {left_out}"
        )
    chosen = np.flatnonzero(compared).tolist()
    if len(chosen) < 2:
        only = f"one group only, '{groups[chosen[0]]}'" if len(chosen) else "no group to compare"
        return [*notes, f"{only}: differences and ratios are undefined"]
    names = [groups[m] for m in chosen]
    return [*notes, *_describe_cells(rows[:, chosen], classes, names, unlabeled)]


def _describe_cells(
    rows: Array, classes: Sequence[str], groups: Sequence[str], unlabeled: set[int]
) -> list[str]:
    """Return notes about labels that a compared group lacks, and about groups of one label."""
    notes = []
    is_mean = "" if len(classes) == 2 else ", and so is their mean over classes"
    empty = [(k, m) for k, m in np.argwhere(rows == 0).tolist() if k not in unlabeled]
    if empty:
        cells = join_first([f"'{classes[k]}' in '{groups[m]}'" for k, m in empty])
        affected = quote_some(dict.fromkeys(classes[k] for k, _ in empty))
        notes.append(
            f"labels without a row (n = 0) in a group: {cells}: equal opportunity and equalized odds of "
            f"class {affected} are undefined{is_mean}"
        )
    noted = {k for k, _ in empty}
    only = [(k, m) for k, m in np.argwhere(rows == rows.sum(axis=0)).tolist() if k not in noted]
    if only:
        cells = join_first([f"'{groups[m]}' has only '{classes[k]}'" for k, m in only])
        affected = quote_some(dict.fromkeys(classes[k] for k, _ in only))
        notes.append(
            f"groups of one label: {cells}: equalized odds of class {affected} are undefined{is_mean}"
        )
    return notes


def describe_weights(weights: WeightTables) -> list[str]:
    """Return the notes about weights."""
    data = weights.to_json()
    return [
        f"rates are weighted by '{weights.column}'; n is the number of rows. Intervals use the effective "
        f"number of rows, {data['effective_n']:,.0f} in all (Kish)",
        "not available with weights, and therefore '-': permutation tests, intervals of means over classes, "
        "calibration error and Brier score of the predicted class",
    ]
