"""Accuracies over cells: unbiased, bias-aligned, bias-conflicting, worst group.

A cell is a pair (label y, bias value b). A[y, b] is the accuracy over the rows of the cell, NaN where the
cell has no rows. Every function takes counts ``(..., K, M, K)`` (label x bias x prediction). Leading axes,
for example bootstrap replicates, are computed independently.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from biascon.metrics.counts import divide
from biascon.utils.types import Array


def correct(counts: Array) -> Array:
    """Return the number of correct rows of each cell.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        int ``(..., K, M)``.
    """
    return np.moveaxis(np.diagonal(counts, axis1=-3, axis2=-1), -1, -2)


def cell_accuracy(counts: Array) -> Array:
    """Return the accuracy A of each cell: correct rows / rows.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        float64 ``(..., K, M)``; NaN where the cell has no rows.
    """
    return divide(correct(counts), counts.sum(axis=-1))


def top1(counts: Array) -> Array:
    """Return the top-1 accuracy: correct rows / rows, over all cells.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        float64 ``(...)``; NaN without rows.
    """
    return top1_of_cells(correct(counts), counts.sum(axis=-1))


def top1_of_cells(hits: Array, rows: Array) -> Array:
    """Return the top-1 accuracy: correct rows / rows, over all cells.

    Args:
        hits: int ``(..., K, M)``, the correct rows of each cell.
        rows: int ``(..., K, M)``, the rows of each cell.

    Returns:
        float64 ``(...)``; NaN without rows.
    """
    return divide(hits.sum(axis=(-1, -2)), rows.sum(axis=(-1, -2)))


def unbiased(counts: Array) -> Array:
    """Return the unbiased accuracy: the unweighted mean of A over the cells that have rows.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        float64 ``(...)``; NaN without rows.
    """
    return _mean_over_cells(cell_accuracy(counts))


def unbiased_of_cells(hits: Array, rows: Array) -> Array:
    """Return the unbiased accuracy: the unweighted mean of hits / rows over the cells that have rows.

    Args:
        hits: int ``(..., K, M)``, the correct rows of each cell.
        rows: int ``(..., K, M)``, the rows of each cell.

    Returns:
        float64 ``(...)``; NaN without rows.
    """
    return _mean_over_cells(divide(hits, rows))


def bias_aligned(counts: Array, aligned: Array) -> Array:
    """Return the unweighted mean of A over the bias-aligned cells that have rows.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells.

    Returns:
        float64 ``(...)``; NaN where the bias-aligned cells have no rows.
    """
    return _mean_over_cells(np.where(aligned, cell_accuracy(counts), np.nan))


def bias_conflicting(counts: Array, aligned: Array) -> Array:
    """Return the unweighted mean of A over the bias-conflicting cells that have rows.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells. All other cells are bias-conflicting.

    Returns:
        float64 ``(...)``; NaN where the bias-conflicting cells have no rows.
    """
    return _mean_over_cells(np.where(aligned, np.nan, cell_accuracy(counts)))


def aligned_samples(counts: Array, aligned: Array) -> Array:
    """Return the accuracy over the rows of the bias-aligned cells: correct rows / rows.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells.

    Returns:
        float64 ``(...)``; NaN where the bias-aligned cells have no rows.
    """
    return _accuracy_over_rows(counts, aligned)


def conflicting_samples(counts: Array, aligned: Array) -> Array:
    """Return the accuracy over the rows of the bias-conflicting cells: correct rows / rows.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.
        aligned: bool ``(K, M)``, the bias-aligned cells. All other cells are bias-conflicting.

    Returns:
        float64 ``(...)``; NaN where the bias-conflicting cells have no rows.
    """
    return _accuracy_over_rows(counts, ~aligned)


def worst_group(counts: Array) -> Array:
    """Return the worst-group accuracy: the smallest A over the cells that have rows.

    Sagawa et al., "Distributionally robust neural networks for group shifts", ICLR 2020.

    Args:
        counts: int ``(..., K, M, K)``: label x bias x prediction.

    Returns:
        float64 ``(...)``; NaN without rows.
    """
    cells = cell_accuracy(counts)
    return _reduce_without_warning(np.nanmin, cells.reshape(*cells.shape[:-2], -1))


def worst_of_cells(hits: Array, rows: Array) -> Array:
    """Return the worst-group accuracy: the smallest hits / rows over the cells that have rows.

    Args:
        hits: int ``(..., K, M)``, the correct rows of each cell.
        rows: int ``(..., K, M)``, the rows of each cell.

    Returns:
        float64 ``(...)``; NaN without rows.
    """
    cells = divide(hits, rows)
    return _reduce_without_warning(np.nanmin, cells.reshape(*cells.shape[:-2], -1))


def worst_cell(counts: Array) -> tuple[int, int] | None:
    """Return the cell (label, bias) with the worst-group accuracy, None without rows.

    Args:
        counts: int ``(K, M, K)``: label x bias x prediction.
    """
    cells = cell_accuracy(counts)
    if np.isnan(cells).all():
        return None
    label, bias = np.unravel_index(np.nanargmin(cells), cells.shape)
    return int(label), int(bias)


def _mean_over_cells(cells: Array) -> Array:
    """Return the mean over cells ``(..., K, M)`` that are not NaN."""
    return _reduce_without_warning(np.nanmean, cells.reshape(*cells.shape[:-2], -1))


def _accuracy_over_rows(counts: Array, mask: Array) -> Array:
    """Return correct rows / rows over the cells of a bool mask ``(K, M)``."""
    hits = np.where(mask, correct(counts), 0).sum(axis=(-1, -2))
    return divide(hits, np.where(mask, counts.sum(axis=-1), 0).sum(axis=(-1, -2)))


def _reduce_without_warning(reduce: Callable[..., Array], values: Array) -> Array:
    """Reduce the last axis; numpy warns where all values are NaN, here the result is NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result: Array = np.asarray(reduce(values, axis=-1))
    return result
