"""Checks of scores: likely causes of scores that are no probabilities, and notes about what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biascon.errors import UsageError
from biascon.utils.text import quote_some
from biascon.utils.types import Array

_SUM_TOLERANCE = 0.02  # of a row of percentages or of exponentials, relative to their sum


def check_one_score(scores: Array) -> None:
    """Check the scores ``(N, 1)`` of one class.

    Raises:
        UsageError: A score is outside 0..1.
    """
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise UsageError(
            f"expected scores in 0..1, but got {scores.min():g}..{scores.max():g}{explain_scores(scores)}"
        )


def explain_scores(scores: Array) -> str:
    """Return the likely cause why scores ``(N, S)`` are no probabilities, and what to pass.

    Args:
        scores: float64, without NaN; at least one row.
    """
    low, high = float(scores.min()), float(scores.max())
    is_single = scores.shape[1] == 1
    sums = scores.sum(axis=1)
    if not np.isfinite(scores).all():
        return "; infinite scores are no probabilities"
    if low >= 0 and high <= 1:
        return "; is each a sigmoid of its own? divide the scores of a row by their sum"
    if low >= 0 and high <= 100 and (is_single or _are_near(sums, 100)):
        return "; are they percent? pass score / 100"
    if high <= 0 and not is_single and _are_near(np.exp(scores).sum(axis=1), 1):
        return "; are they logarithms of probabilities? pass exp(score)"
    way_out = "1 / (1 + exp(-score))" if is_single else "their softmax"
    return f"; are they logits? pass {way_out}"


def _are_near(values: Array, expected: float) -> bool:
    return bool((np.abs(values - expected) <= _SUM_TOLERANCE * expected).all())


def score_notes(
    classes: Sequence[str],
    *,
    scored_class: str | None,
    is_positive: bool,
    n_rows: int,
    n_other: int,
) -> list[str]:
    """Return notes: which class a single score is of, and how often scores and predictions differ.

    Args:
        classes: The K classes in order.
        scored_class: The class of a single score, None if there is one score for each class.
        is_positive: Whether ``scored_class`` was chosen as the positive class.
        n_rows: The number of rows with scores.
        n_other: The rows in which another class than the predicted one has the highest score.
    """
    names = quote_some(classes)
    notes = []
    if scored_class is not None:
        reason = "the positive class" if is_positive else f"the second of {names}"
        notes.append(f"the score is taken as that of class '{scored_class}' ({reason})")
    if n_other:
        hint = ""
        if n_other > n_rows / 2:
            hint = (
                f"; are the scores in the order of the classes {names}?"
                if scored_class is None
                else "; is it the score of the other class?"
            )
        elif len(classes) == 2:
            hint = ", as with a threshold other than 0.5"
        notes.append(
            f"in {n_other:,} of {n_rows:,} rows ({100 * n_other / n_rows:.1f} %) the class with the highest "
            f"score is not the prediction{hint}"
        )
    return notes
