"""Notes of an audit: which groups are not compared, and which metrics are undefined for lack of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biascon.auditing.group_rates import WeightTables, has_weight
from biascon.utils.text import join_first, quote_some
from biascon.utils.types import Array


def describe_undefined(
    counts: Array,
    classes: Sequence[str],
    groups: Sequence[str],
    compared: Array,
    min_group: int,
    weights: WeightTables | None = None,
) -> list[str]:
    """Return notes about groups that are not compared, and about metrics that lack rows.

    Args:
        counts: int64 ``(K, M, K)``: label x group x prediction.
        classes: The names of the K classes.
        groups: The names of the M groups.
        compared: bool ``(M,)``, the groups that are compared.
        min_group: The rows that a group needs to be compared.
        weights: The weights of the rows, None for weights of 1.
    """
    rows = counts.sum(axis=-1)  # (K, M)
    notes = []
    unlabeled = {k for k in range(len(classes)) if rows[k].sum() == 0}
    if unlabeled:
        unused = quote_some(classes[k] for k in sorted(unlabeled))
        notes.append(f"classes that are predicted but are the label of no row (n = 0): {unused}")
    notes += _describe_left_out(rows.sum(axis=0), groups, min_group, weights)
    chosen = np.flatnonzero(compared).tolist()
    if len(chosen) < 2:
        only = f"one group only, '{groups[chosen[0]]}'" if len(chosen) else "no group to compare"
        return [*notes, f"{only}: differences and ratios are undefined"]
    names = [groups[m] for m in chosen]
    absent = {k for k in range(len(classes)) if rows[k, chosen].sum() == 0} - unlabeled
    if absent:
        labels = quote_some(classes[k] for k in sorted(absent))
        notes.append(f"labels of left-out groups alone, which are not compared: {labels}")
    unlabeled |= absent
    if weights is not None:  # a label with rows of weight 0 only has no rates either
        rows = np.where(np.asarray(weights.sums).sum(axis=-1) > 0, rows, 0)
    return [*notes, *_describe_cells(rows[:, chosen], classes, names, unlabeled, weights)]


def _describe_left_out(
    n: Array, groups: Sequence[str], min_group: int, weights: WeightTables | None
) -> list[str]:
    """Return notes about the groups with too few rows, and about those without weight."""
    left_out = "left out of the comparisons and of the worst group"
    notes = []

    def list_groups(chosen: Array) -> str:
        return join_first([f"'{groups[m]}' ({n[m]:,})" for m in np.flatnonzero(chosen).tolist()])

    small = n < min_group
    if small.any():
        notes.append(
            f"{left_out}: {small.sum():,} of {len(groups):,} groups, with fewer than {min_group:,} rows: "
            f"{list_groups(small)}"
        )
        notes.append(
            "groups that are left out stay in the accuracies over all rows; their cells stay in the means "
            "over cells, such as the unbiased accuracy"
        )
    if weights is not None and not has_weight(weights).all():
        weightless = ~has_weight(weights)
        notes.append(
            f"{left_out}: {weightless.sum():,} of {len(groups):,} groups, in which every weight is 0: "
            f"{list_groups(weightless)}; n counts their rows"
        )
    return notes


def _describe_cells(
    rows: Array,
    classes: Sequence[str],
    groups: Sequence[str],
    unlabeled: set[int],
    weights: WeightTables | None,
) -> list[str]:
    """Return notes about labels that a compared group lacks, and about groups of one label."""
    notes = []
    lacks = "without a row (n = 0)" if weights is None else "without a row or without weight"
    is_mean = "" if len(classes) == 2 else ", and so is their mean over classes"
    empty = [(k, m) for k, m in np.argwhere(rows == 0).tolist() if k not in unlabeled]
    if empty:
        cells = join_first([f"'{classes[k]}' in '{groups[m]}'" for k, m in empty])
        affected = quote_some(dict.fromkeys(classes[k] for k, _ in empty))
        notes.append(
            f"labels {lacks} in a group: {cells}: equal opportunity and equalized odds of "
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
