"""The training rows of each cell, and the accuracy averaged with their shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from biascon.auditing.group_rates import Rate
from biascon.auditing.rows.label_mismatch import explain_difference
from biascon.data.values import CodedColumn, sort_values
from biascon.errors import DataError
from biascon.metrics.records import UNDEFINED, Metric
from biascon.metrics.summary import finite_or_none
from biascon.metrics.weighted_averages import measure_weighted_sum
from biascon.utils.text import join_first, quote_some
from biascon.utils.types import Array

Cells = Mapping[tuple[str, ...], float]  # (label, a value of every bias column) -> number of rows


def count_cells(
    parts: Iterable[Sequence[CodedColumn]], *, prefix: str, drop_missing: bool
) -> dict[tuple[str, ...], float]:
    """Return the number of rows of each combination of values.

    Args:
        parts: The label and the bias columns of the training rows, in parts.
        prefix: The start of an error message.
        drop_missing: Whether rows that lack a value are left out.

    Raises:
        DataError: There are no rows, or rows lack a value and are not to be left out.
    """
    cells: dict[tuple[str, ...], float] = {}
    missing = 0
    for columns in parts:
        codes = np.stack([_code_missing(column) for column in columns], axis=1)
        combinations, n = np.unique(codes, axis=0, return_counts=True)
        for combination, count in zip(combinations.tolist(), n.tolist(), strict=True):
            if min(combination) < 0:
                missing += count
                continue
            key = tuple(str(c.texts[k]) for c, k in zip(columns, combination, strict=True))
            cells[key] = cells.get(key, 0) + count
    if missing and not drop_missing:
        raise DataError(
            f"{prefix}a value is missing in {missing:,} training row{'s' * (missing != 1)}; --drop-missing "
            "(drop_missing=True) leaves them out"
        )
    if not cells:
        raise DataError(f"{prefix}expected training rows, but there are none")
    return cells


def check_training(
    cells: Cells, names: Sequence[str], known: Sequence[set[str]], *, prefix: str
) -> None:
    """Check that the training rows write their values as the audited rows do.

    Args:
        cells: The number of training rows of each combination of a label and bias values.
        names: The names of these columns.
        known: The values of the same columns in the audited rows.
        prefix: The start of an error message.

    Raises:
        DataError: A column of the training rows has no value in common with that of the audited rows.
    """
    for name, here, column in zip(names, known, zip(*cells, strict=True), strict=True):
        there = set(column)
        if here & there:
            continue
        cause = explain_difference(here, there)
        raise DataError(
            f"{prefix}'{name}' of the training rows ({quote_some(sort_values(there), 3)}) has no value in "
            f"common with that of the audited rows ({quote_some(sort_values(here), 3)})"
            + (f": {cause}; write both the same way" if cause else "")
        )


def _code_missing(column: CodedColumn) -> Array:
    """Return the codes of a column, -1 for every missing value."""
    lookup = [-1 if text is None else k for k, text in enumerate(column.texts)]
    return np.array([*lookup, -1], dtype=np.int64)[column.codes]


def adjusted_average(
    rate: Rate,
    cells: Cells,
    classes: Sequence[str],
    groups: Sequence[tuple[str, ...]],
    columns: Sequence[int],
) -> tuple[Metric, list[str]]:
    """Return the accuracy with every cell weighted by its share of the training rows, and notes.

    This is the adjusted average accuracy of Sagawa et al., "Distributionally robust neural networks for group
    shifts", ICLR 2020. It is undefined if a cell has training rows but no test rows. Value and interval are
    those of ``weighted_averages.measure_weighted_sum``; weighted rows count as effective rows.

    Args:
        rate: The accuracy of every cell, ``(K, M)``.
        cells: The training rows of each combination of a label and a value of every bias column.
        classes: The K classes.
        groups: The M groups by some of the bias columns.
        columns: The positions of these columns among all bias columns.
    """
    class_index = {name: k for k, name in enumerate(classes)}
    group_index = {group: m for m, group in enumerate(groups)}
    shares = np.zeros(rate.n.shape)
    lacking: dict[str, None] = {}
    total = sum(cells.values())
    for (label, *values), count in cells.items():
        group = tuple(values[c] for c in columns)
        k, m = class_index.get(label), group_index.get(group)
        if k is None or m is None or rate.n[k, m] == 0:
            lacking[f"'{label}' in '{' x '.join(group)}'"] = None
        else:
            shares[k, m] += count / total
    if lacking:
        note = f"cells with training rows but without rows here: {join_first(list(lacking))}"
        return UNDEFINED, [f"{note}: the adjusted average accuracy is undefined"]
    used = shares > 0
    limits = measure_weighted_sum(rate.hits, rate.effective, shares)
    value = finite_or_none((shares[used] * rate.value[used]).sum())
    return Metric(value, int(rate.n[used].sum()), limits.low, limits.high), []
