"""Accuracies that tell leaning on a bias from doing without it.

A[y, b] is the accuracy in the cell of label y and bias b, undefined (NaN) where the cell is empty.
Every function takes counts ``(..., K, M, K)`` and works along leading axes (bootstrap replicates).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from biascon.metrics.counts import divide
from biascon.utils.types import Array


def correct(counts: Array) -> Array:
    """Return ``(..., K, M)``: how many rows of each cell are predicted right."""
    return np.moveaxis(np.diagonal(counts, axis1=-3, axis2=-1), -1, -2)


def cell_accuracy(counts: Array) -> Array:
    """Return A, ``(..., K, M)``."""
    return divide(correct(counts), counts.sum(axis=-1))


def top1(counts: Array) -> Array:
    """Return the share of all rows that are predicted right."""
    return divide(correct(counts).sum(axis=(-1, -2)), counts.sum(axis=(-1, -2, -3)))


def unbiased(counts: Array) -> Array:
    """Return the unweighted mean of A over the cells that have samples."""
    return _mean_over_cells(cell_accuracy(counts))


def bias_aligned(counts: Array, aligned: Array) -> Array:
    """Return the unweighted mean of A over the aligned cells; ``aligned`` is bool ``(K, M)``."""
    return _mean_over_cells(np.where(aligned, cell_accuracy(counts), np.nan))


def bias_conflicting(counts: Array, aligned: Array) -> Array:
    """Return the unweighted mean of A over the other cells."""
    return _mean_over_cells(np.where(aligned, np.nan, cell_accuracy(counts)))


def aligned_samples(counts: Array, aligned: Array) -> Array:
    """Return the accuracy over the rows of the aligned cells."""
    return _over_rows(counts, aligned)


def conflicting_samples(counts: Array, aligned: Array) -> Array:
    """Return the accuracy over the rows of the other cells."""
    return _over_rows(counts, ~aligned)


def worst_group(counts: Array) -> Array:
    """Return the smallest A over the cells that have samples."""
    cells = cell_accuracy(counts)
    flat = cells.reshape(*cells.shape[:-2], -1)
    return _quiet(np.nanmin, flat)


def worst_cell(counts: Array) -> tuple[int, int] | None:
    """Return (label, bias) of the worst group of counts ``(K, M, K)``, or None without samples."""
    cells = cell_accuracy(counts)
    if np.isnan(cells).all():
        return None
    label, bias = np.unravel_index(np.nanargmin(cells), cells.shape)
    return int(label), int(bias)


def _mean_over_cells(cells: Array) -> Array:
    return _quiet(np.nanmean, cells.reshape(*cells.shape[:-2], -1))


def _over_rows(counts: Array, mask: Array) -> Array:
    right = np.where(mask, correct(counts), 0).sum(axis=(-1, -2))
    return divide(right, np.where(mask, counts.sum(axis=-1), 0).sum(axis=(-1, -2)))


def _quiet(reduce: Any, flat: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an all-NaN slice gives NaN: as stated
        result: Array = np.asarray(reduce(flat, axis=-1))
    return result
