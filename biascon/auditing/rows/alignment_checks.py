"""A check of aligned values by the predictions: aligned rows that are right less often than the others."""

from __future__ import annotations

import dataclasses

import numpy as np

from biascon.data.alignment import Alignment
from biascon.metrics.accuracy import cell_accuracy, correct
from biascon.utils.types import Array

_Z = 1.96  # of a difference that sampling explains in 95 % of samples


def add_doubt(alignment: Alignment, table: Array) -> Alignment:
    """Return the alignment with a note if the aligned cells have a lower accuracy than the others.

    The mean accuracy of the aligned cells is compared with that of the conflicting cells. The note is added
    if the difference is more than 1.96 standard errors below 0. The error of a cell with c of n rows right
    is that of p = (c + 1) / (n + 2).

    Args:
        alignment: Which cells are aligned.
        table: int64 ``(K, M, K)``: label x group x prediction.
    """
    if alignment.cells is None:
        return alignment
    n = table.sum(axis=-1)
    accuracy = cell_accuracy(table)
    p = (correct(table) + 1) / (n + 2)
    means, variance = [], 0.0
    for cells in (alignment.cells & (n > 0), ~alignment.cells & (n > 0)):
        size = int(cells.sum())
        if not size:
            return alignment
        means.append(float(accuracy[cells].mean()))
        variance += float((p * (1 - p) / np.maximum(n, 1))[cells].sum()) / size**2
    aligned, conflicting = means
    if conflicting - aligned <= _Z * variance**0.5:
        return alignment
    note = (
        f"bias-aligned accuracy ({100 * aligned:.1f}) is below bias-conflicting ({100 * conflicting:.1f}), "
        "by more than chance; a model that leans on the bias has the opposite: are the aligned values right?"
    )
    return dataclasses.replace(alignment, notes=(*alignment.notes, note))
