"""Every metric of predictions on a split: plain data out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data.dataset import Split
from biascon.errors import UsageError
from biascon.metrics import accuracy, fairness
from biascon.metrics.counts import count
from biascon.metrics.intervals import bootstrap
from biascon.seeds import numpy_generator

Array = npt.NDArray[Any]
ACCURACIES = (
    "top1",
    "unbiased",
    "bias_aligned",
    "bias_conflicting",
    "worst_group",
    "bias_aligned_samples",
    "bias_conflicting_samples",
)


def measure_accuracies(
    split: Split, predictions: Array, n_labels: int, n_bias: int
) -> dict[str, Any]:
    """Return the accuracy family of predictions on a split, with its n; an undefined value is None."""
    table = count(split.labels, split.bias, predictions, n_labels=n_labels, n_bias=n_bias)
    values = accuracies(table, aligned_cells(split, n_labels, n_bias))
    return {"n": len(split), **{name: number(values[name]) for name in ACCURACIES}}


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


def accuracies(table: Array, aligned: Array) -> dict[str, Array]:
    """The accuracy family of tables ``(..., K, M, K)``."""
    return {
        "top1": accuracy.top1(table),
        "unbiased": accuracy.unbiased(table),
        "bias_aligned": accuracy.bias_aligned(table, aligned),
        "bias_conflicting": accuracy.bias_conflicting(table, aligned),
        "worst_group": accuracy.worst_group(table),
        "bias_aligned_samples": accuracy.aligned_samples(table, aligned),
        "bias_conflicting_samples": accuracy.conflicting_samples(table, aligned),
    }


def measure(
    split: Split, predictions: Array, labels: Sequence[str], n_bias: int, *, seed: int
) -> dict[str, Any]:
    """Return every metric of predictions on a split, each with its value, n and 95 % interval.

    Args:
        split: The rows that were predicted.
        predictions: int ``(N,)`` in 0..K-1.
        labels: The names of the K classes.
        n_bias: M.
        seed: Of the bootstrap.

    Returns:
        Plain data: ``{metric: {"value", "n", "ci"}, ..., "by_class": {label: {...}}, "counts": [[[...]]]}``;
        an undefined value is None.
    """
    n_labels = len(labels)
    table = count(split.labels, split.bias, predictions, n_labels=n_labels, n_bias=n_bias)
    aligned = aligned_cells(split, n_labels, n_bias)

    def everything(tables: Array) -> dict[str, Array]:
        per_class = fairness.from_counts(tables)
        macro = {name: fairness.macro(value) for name, value in per_class.items()}
        classes = {f"class/{name}": value for name, value in per_class.items()}
        return {**accuracies(tables, aligned), **macro, **classes}

    limits = bootstrap(table, everything, numpy_generator(seed, "bootstrap"))
    points: dict[str, Array] = dict(accuracies(table, aligned))
    per_class = fairness.through_metric_frame(split.labels, predictions, split.bias, n_labels)
    points |= {name: fairness.macro(value) for name, value in per_class.items()}
    rows = int(table.sum())
    on_aligned = int(table[aligned].sum())
    n = {
        "bias_aligned": on_aligned,
        "bias_aligned_samples": on_aligned,
        "bias_conflicting": rows - on_aligned,
        "bias_conflicting_samples": rows - on_aligned,
    }
    result: dict[str, Any] = {
        name: _metric(value, n.get(name, rows), limits[name]) for name, value in points.items()
    }
    worst = accuracy.worst_cell(table)
    if worst is not None:
        result["worst_group"]["n"] = int(table[worst].sum())
        result["worst_group"]["group"] = {"label": worst[0], "bias": worst[1]}
    result["by_class"] = {
        label: {
            name: _metric(value[k], rows, tuple(side[k] for side in limits[f"class/{name}"]))
            for name, value in per_class.items()
        }
        for k, label in enumerate(labels)
    }
    result["counts"] = table.tolist()
    return result


def _metric(value: Array, n: int, limits: tuple[Array, ...]) -> dict[str, Any]:
    low, high = (number(side) for side in limits)
    return {"value": number(value), "n": n, "ci": [low, high]}


def number(value: Array | float) -> float | None:
    """Return a float, None where it is not finite."""
    number = float(value)
    return number if np.isfinite(number) else None
