"""Every metric of the predictions on a split of a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from biascon.data.dataset import BiasedDataset, Split
from biascon.errors import UsageError, did_you_mean
from biascon.metrics import calibration
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
from biascon.metrics.weighted_averages import ADJUSTED_AVERAGE, measure_adjusted_average
from biascon.runs.evaluation import CalibrationRecord, GroupCalibration
from biascon.runs.records import Accuracies
from biascon.utils.types import Array

TOP = 5
MAX_COUNTS = 20_000  # larger tables of counts are not kept


def measure_accuracies(
    split: Split, predictions: Array, data: BiasedDataset, *, keep_counts: bool = False
) -> Accuracies:
    """Return the accuracies of predictions on a split of a dataset, with their n.

    An undefined accuracy is None. Without a bias attribute every accuracy but top-1 is undefined.

    Args:
        split: The rows that were predicted.
        predictions: int ``(N,)`` in 0..K-1.
        data: The dataset of the split.
        keep_counts: Whether the result has the table of counts, unless that table is large.
    """
    n_labels, n_bias = data.n_labels, data.n_bias
    table = count(split.labels, split.bias, predictions, n_labels=n_labels, n_bias=n_bias)
    aligned = aligned_cells(split, n_labels, n_bias) if data.knows_aligned else None
    values = {
        name: finite_or_none(value) for name, value in accuracy_metrics(table, aligned).items()
    }
    if not data.has_bias:
        values = dict.fromkeys(values) | {"top1": values["top1"]}
    return Accuracies(
        len(split), values, table.tolist() if keep_counts and table.size <= MAX_COUNTS else None
    )


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


def measure(data: BiasedDataset, part: str, predictions: Array, *, seed: int = 0) -> MetricSummary:
    """Return every metric of predictions on a split of a dataset, each with its n and 95 % interval.

    Without a bias attribute every metric but top-1 is undefined, of 0 rows, and ``counts`` is None. Without a
    known alignment the metrics of aligned and conflicting cells are undefined, of 0 rows.

    Args:
        data: The dataset. Its training counts are the reference of bias amplification, and the weights of the
            adjusted average accuracy.
        part: The name of the split, ``"test"`` or ``"val"``.
        predictions: int ``(N,)`` in 0..K-1, in the order of the split.
        seed: The seed of the bootstrap and of the permutations.

    Raises:
        UsageError: The dataset has no such split, or the predictions have another length.
    """
    if part not in data.splits:
        hint = did_you_mean(part, data.splits)
        raise UsageError(
            f"{data.name} has no split '{part}'{hint} (it has: {', '.join(data.splits)})"
        )
    split, labels = data.splits[part], data.manifest.labels
    predictions = np.asarray(predictions)
    if predictions.shape != (len(split),):
        raise UsageError(
            f"expected {len(split)} predictions, one for each image of {part}, "
            f"but got an array of shape {predictions.shape}"
        )
    if not data.has_bias:
        return _without_bias(split, predictions, labels)
    n_labels, n_bias = data.n_labels, data.n_bias
    table = count(split.labels, split.bias, predictions, n_labels=n_labels, n_bias=n_bias)
    training = np.array(data.manifest.counts["train"].cells)
    summary = measure_counts(
        table,
        labels,
        aligned_cells(split, n_labels, n_bias) if data.knows_aligned else None,
        seed=seed,
        training=training,
    )
    adjusted = measure_adjusted_average(table, training)
    return dataclasses.replace(summary, metrics={**summary.metrics, ADJUSTED_AVERAGE: adjusted})


def _without_bias(split: Split, predictions: Array, labels: Sequence[str]) -> MetricSummary:
    is_correct = np.asarray(predictions) == split.labels
    names = (*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS, ADJUSTED_AVERAGE)
    return MetricSummary(
        dict.fromkeys(names, UNDEFINED) | {"top1": measure_rate(is_correct)},
        {label: dict.fromkeys(COMPARISONS, UNDEFINED) for label in labels},
        None,
        None,
    )


def measure_calibration(split: Split, scores: Array, n_bias: int) -> CalibrationRecord:
    """Return expected calibration error and Brier score of predictions, over all rows and by bias value.

    Both are those of ``biascon.metrics.calibration``: 15 bins of the score of the predicted class.

    Args:
        split: The rows that were predicted.
        scores: Probabilities ``(N, K)``.
        n_bias: M, the number of bias values and so of groups.
    """
    by_group = calibration.sum_scores(split.labels, split.bias, scores, n_bias=n_bias)
    overall = calibration.sum_scores(split.labels, np.zeros_like(split.bias), scores, n_bias=1)
    rows = np.bincount(split.bias, minlength=n_bias)
    groups = zip(rows, calibration.ece(by_group), calibration.brier(by_group), strict=True)
    return CalibrationRecord(
        Metric(finite_or_none(calibration.ece(overall)[0]), len(split)),
        Metric(finite_or_none(calibration.brier(overall)[0]), len(split)),
        [
            GroupCalibration(int(n), finite_or_none(error), finite_or_none(brier))
            for n, error, brier in groups
        ],
    )


def measure_top5(labels: Array, scores: Array) -> Metric:
    """Return top-5 accuracy: the share of rows whose label is among the five classes of highest score.

    Among equal scores the first class counts as higher, as for the prediction.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        scores: float ``(N, K)``.

    Returns:
        The accuracy with its Wilson interval; undefined, of 0 rows, with five classes or fewer.
    """
    if scores.shape[1] <= TOP:
        return UNDEFINED
    return measure_rate(top_k(labels, scores, TOP))


def top_k(labels: Array, scores: Array, k: int) -> npt.NDArray[np.bool_]:
    """Return bool ``(N,)``: whether fewer than k classes have a higher score than the label."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (N, 1)
    first = np.arange(scores.shape[1]) < labels[:, None]
    before = ((scores > own) | ((scores == own) & first)).sum(axis=1)
    is_among: npt.NDArray[np.bool_] = before < k
    return is_among
