"""Predictions of linear probes for rows that they have not seen: nested cross-validation.

The rows are divided into outer folds. The rows of an outer fold are predicted by a probe that is fitted on
the other outer folds. The penalty of this probe is chosen on these other folds alone: they are divided into
inner folds, and the penalty with the lowest mean log loss on the inner held-out rows is taken. No row has a
part in the choice or the fit of the probe that predicts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import DataError, UsageError
from biascon.probing.linear_probe import fit_penalties
from biascon.utils.progress import Say, say_nothing, with_progress
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

FOLDS = 5
MIN_FOLDS = 3  # two rows of each class are then left to choose the penalty on
INNER_FOLDS = 3
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # values of C
SELECTION_ROWS = 10_000  # rows that the penalty is chosen on, at most
_SELECTION_PER_CLASS = 2 * INNER_FOLDS  # rows of a class that are not left out of them
_SELECTION_TOLERANCE, _TOLERANCE = 1e-3, 1e-6  # of the mean gradient
_ITERATIONS = 1000
_TIE = 1e-9  # mean log losses that deviate by less are equal


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """The predictions of all rows, each by a probe that has not seen the row.

    Attributes:
        predicted: int64 ``(N,)``, the class of each row.
        penalties: The chosen C of each outer fold.
        converged: Whether the solver met its tolerance in every outer fold.
    """

    predicted: npt.NDArray[np.int64]
    penalties: tuple[float, ...]
    converged: bool


def assign_folds(
    targets: Array, other: Array, folds: int, *, seed: int, purpose: str
) -> npt.NDArray[np.int64]:
    """Return a fold for each row: those of one class are spread evenly, and within a class those of a cell.

    Args:
        targets: int ``(N,)``, the classes.
        other: int ``(N,)``, another column: a cell is one pair of both values.
        folds: The number of folds.
        seed: The random seed.
        purpose: What the folds are for; another purpose gives other folds.

    Returns:
        int64 ``(N,)`` in 0..folds-1. The numbers of rows of a class in two folds differ by one at most.
    """
    order = permutation(len(targets), seed, purpose)
    order = order[np.lexsort((other[order], targets[order]))]
    fold = np.empty(len(targets), np.int64)
    fold[order] = np.arange(len(targets)) % folds
    return fold


def predict_held_out(
    features: Array,
    targets: Array,
    other: Array,
    n_classes: int,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    purpose: str = "probe",
    say: Say = say_nothing,
) -> HeldOutPredictions:
    """Return the prediction of each row by a probe that has not seen it.

    Args:
        features: float32 ``(N, D)``, finite.
        targets: int64 ``(N,)`` in 0..K-1, the classes to predict.
        other: int64 ``(N,)``, another column that the folds are balanced by.
        n_classes: K, 2 or more.
        folds: The number of outer folds.
        seed: The random seed of the folds.
        purpose: What is predicted, for the random generators.
        say: Called with a line of progress every few seconds.

    Raises:
        UsageError: There are fewer than ``MIN_FOLDS`` folds.
        DataError: A class has fewer rows than there are folds.
    """
    if folds < MIN_FOLDS:
        raise UsageError(f"expected {MIN_FOLDS} folds or more, but got {folds}")
    smallest = int(np.bincount(targets, minlength=n_classes).min())
    if smallest < folds:
        raise DataError(f"expected {folds} rows of each class, but the smallest has {smallest}")
    fold = assign_folds(targets, other, folds, seed=seed, purpose=f"{purpose}/folds")
    predicted = np.empty(len(targets), np.int64)
    penalties, converged = [], True
    for k in with_progress(range(folds), f"folds of the probe ({purpose})", folds, say):
        fitted, held_out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        x, y = features[fitted], targets[fitted]
        c = _choose_penalty(x, y, other[fitted], n_classes, seed, f"{purpose}/{k}")
        (probe,) = fit_penalties(
            x, y, n_classes, [c], tolerance=_TOLERANCE, max_iterations=_ITERATIONS
        )
        predicted[held_out] = probe.probabilities(features[held_out]).argmax(axis=1)
        penalties.append(c)
        converged &= probe.converged
    return HeldOutPredictions(predicted, tuple(penalties), converged)


def _choose_penalty(
    features: Array, targets: Array, other: Array, n_classes: int, seed: int, purpose: str
) -> float:
    """Return the C of the lowest mean log loss on inner held-out rows; of equal ones the smallest."""
    rows = _rows_of_selection(targets, n_classes, seed, f"{purpose}/rows")
    y = targets[rows]
    fold = assign_folds(y, other[rows], INNER_FOLDS, seed=seed, purpose=f"{purpose}/inner")
    losses = np.zeros(len(PENALTIES))
    for k in range(INNER_FOLDS):
        fitted, held_out = fold != k, fold == k
        probes = fit_penalties(
            features[rows[fitted]],
            y[fitted],
            n_classes,
            PENALTIES,
            tolerance=_SELECTION_TOLERANCE,
            max_iterations=_ITERATIONS,
        )
        x, label = features[rows[held_out]], y[held_out]
        for i, probe in enumerate(probes):
            p = probe.probabilities(x)[np.arange(len(label)), label].astype(np.float64)
            losses[i] -= np.log(np.maximum(p, np.finfo(np.float32).tiny)).sum()
    losses /= len(y)
    return PENALTIES[int(np.flatnonzero(losses <= losses.min() + _TIE)[0])]


def _rows_of_selection(
    targets: Array, n_classes: int, seed: int, purpose: str
) -> npt.NDArray[np.int64]:
    """Return the rows that the penalty is chosen on: all, or about ``SELECTION_ROWS`` of many rows."""
    n = len(targets)
    if n <= SELECTION_ROWS:
        return np.arange(n)
    sizes = np.bincount(targets, minlength=n_classes)
    wanted = np.maximum(np.ceil(sizes * (SELECTION_ROWS / n)), _SELECTION_PER_CLASS)
    order = permutation(n, seed, purpose)
    order = order[np.argsort(targets[order], kind="stable")]
    rank = np.arange(n) - (np.cumsum(sizes) - sizes)[targets[order]]
    return np.sort(order[rank < wanted[targets[order]]])
