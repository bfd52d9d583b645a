"""Every metric of predictions on a split: plain data out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data.dataset import BiasedDataset, Split
from biascon.errors import UsageError
from biascon.metrics import calibration, fairness
from biascon.metrics.counts import count
from biascon.metrics.records import UNDEFINED, Metric, MetricSummary
from biascon.metrics.summary import (
    ACCURACIES,
    AMPLIFICATIONS,
    COMPARISONS,
    accuracy_metrics,
    finite_or_none,
    measure_counts,
    measure_rate,
)
from biascon.utils.types import Array

TOP = 5


def measure_accuracies(
    split: Split, predictions: Array, data: BiasedDataset
) -> dict[str, float | int | None]:
    """Return the accuracy family of predictions on a split of a dataset, with its n.

    An undefined value is None, as is every one but top-1 where the dataset has no bias attribute.
    """
    sizes = {"n_labels": data.n_labels, "n_bias": data.n_bias}
    table = count(split.labels, split.bias, predictions, **sizes)
    aligned = aligned_cells(split, *sizes.values()) if data.knows_aligned else None
    values = {
        name: finite_or_none(value) for name, value in accuracy_metrics(table, aligned).items()
    }
    known = {name: value if data.has_bias else None for name, value in values.items()}
    return {"n": len(split), **known, "top1": values["top1"]}


def aligned_cells(split: Split, n_labels: int, n_bias: int) -> npt.NDArray[np.bool_]:
    """Return bool ``(K, M)``: the cells whose rows the dataset calls bias-aligned.

    Raises:
        UsageError: A cell has rows of both kinds.
    """
    table = np.zeros((2, n_labels, n_bias), dtype=np.int64)
    np.add.at(table, (split.aligned.astype(np.int64), split.labels, split.bias), 1)
    if ((table[0] > 0) & (table[1] > 0)).any():
        raise UsageError("expected a cell to be aligned or conflicting, but got one that is both")
    aligned: npt.NDArray[np.bool_] = table[1] > 0
    return aligned


def measure(
    split: Split,
    predictions: Array,
    labels: Sequence[str],
    n_bias: int,
    *,
    seed: int,
    training: Array | None = None,
    has_bias: bool = True,
    knows_aligned: bool = True,
) -> MetricSummary:
    """Return every metric of predictions on a split, each with its value, n and 95 % interval.

    Args:
        split: The rows that were predicted.
        predictions: int ``(N,)`` in 0..K-1.
        labels: The names of the K classes.
        n_bias: M.
        seed: Of the bootstrap.
        training: int ``(K, M)``, as of ``measure_counts``.
        has_bias: Whether there is a bias attribute; without, every metric but top-1 is None, of 0 rows,
            and ``counts`` is None.
        knows_aligned: Whether it is known which cells are aligned; else those metrics are None, of 0 rows.

    Returns:
        Plain data: ``{metric: {"value", "n", "ci"}, ..., "by_class": {label: {...}}, "disparity": {...},
        "counts": [[[...]]]}``; an undefined value is None.
    """
    n_labels = len(labels)
    if not has_bias:
        return _without_bias(split, predictions, labels)
    table = count(split.labels, split.bias, predictions, n_labels=n_labels, n_bias=n_bias)
    aligned = aligned_cells(split, n_labels, n_bias) if knows_aligned else None
    per_class = fairness.through_metric_frame(split.labels, predictions, split.bias, n_labels)
    return measure_counts(table, labels, aligned, seed=seed, per_class=per_class, training=training)


def _without_bias(split: Split, predictions: Array, labels: Sequence[str]) -> MetricSummary:
    is_correct = np.asarray(predictions) == split.labels
    names = (*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS)
    return MetricSummary(
        dict.fromkeys(names, UNDEFINED) | {"top1": measure_rate(is_correct)},
        {label: dict.fromkeys(COMPARISONS, UNDEFINED) for label in labels},
        None,
        None,
    )


def measure_calibration(split: Split, scores: Array, n_bias: int) -> dict[str, Any]:
    """Return expected calibration error and Brier score of predictions, over all rows and by bias value.

    As of ``biascon.metrics.calibration``: 15 bins of the predicted class's score, the last one closed.

    Args:
        split: The rows that were predicted.
        scores: Probabilities ``(N, K)``.
        n_bias: M.

    Returns:
        ``{"error": {"value", "n"}, "brier": {"value", "n"}, "by_group": [{"n", "error", "brier"}, ...]}``
        with M groups; an undefined value is None.
    """
    sums = calibration.sum_scores(split.labels, split.bias, scores, n_bias=n_bias)
    whole = calibration.sum_scores(split.labels, np.zeros_like(split.bias), scores, n_bias=1)
    rows = np.bincount(split.bias, minlength=n_bias)
    measured = zip(rows, calibration.ece(sums), calibration.brier(sums), strict=True)
    return {
        "error": {"value": finite_or_none(calibration.ece(whole)[0]), "n": len(split)},
        "brier": {"value": finite_or_none(calibration.brier(whole)[0]), "n": len(split)},
        "by_group": [
            {"n": int(n), "error": finite_or_none(error), "brier": finite_or_none(brier)}
            for n, error, brier in measured
        ],
    }


def measure_top5(labels: Array, scores: Array) -> Metric:
    """Return the share of rows whose label is among the five classes of the highest scores.

    Of equal scores the class that comes first counts as higher, as for the prediction.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        scores: float ``(N, K)``.

    Returns:
        ``{"value", "n", "ci"}``; the value is None and n is 0 where there are five classes or fewer.
    """
    if scores.shape[1] <= TOP:
        return UNDEFINED
    return measure_rate(top_k(labels, scores, TOP))


def top_k(labels: Array, scores: Array, k: int) -> npt.NDArray[np.bool_]:
    """Return bool ``(N,)``: whether fewer than k classes come before the label by score."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (N, 1)
    first = np.arange(scores.shape[1]) < labels[:, None]
    before = ((scores > own) | ((scores == own) & first)).sum(axis=1)
    found: npt.NDArray[np.bool_] = before < k
    return found
