"""Every metric of predictions on a split: plain data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data.dataset import BiasedDataset, Split
from biascon.errors import UsageError
from biascon.metrics import accuracy, fairness
from biascon.metrics.counts import count, divide
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
TOP = 5
NEED_ALIGNED = tuple(name for name in ACCURACIES if name.startswith("bias_"))


def measure_accuracies(
    split: Split, predictions: Array, data: BiasedDataset
) -> dict[str, float | int | None]:
    """Return the accuracy family of predictions on a split of a dataset, with its n.

    An undefined value is None, as is every one but top-1 where the dataset has no bias attribute.
    """
    sizes = {"n_labels": data.n_labels, "n_bias": data.n_bias}
    table = count(split.labels, split.bias, predictions, **sizes)
    aligned = aligned_cells(split, *sizes.values()) if data.knows_aligned else None
    values = {name: number(value) for name, value in accuracies(table, aligned).items()}
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


def accuracies(table: Array, aligned: Array | None) -> dict[str, Array]:
    """The accuracy family of tables ``(..., K, M, K)``; NaN where it needs ``aligned`` and that is None."""
    if aligned is None:
        every = accuracies(table, np.zeros(table.shape[-3:-1], dtype=bool))
        unknown = np.full(table.shape[:-3], np.nan)
        return {name: unknown if name in NEED_ALIGNED else every[name] for name in ACCURACIES}
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
    split: Split,
    predictions: Array,
    labels: Sequence[str],
    n_bias: int,
    *,
    seed: int,
    has_bias: bool = True,
    knows_aligned: bool = True,
) -> dict[str, Any]:
    """Return every metric of predictions on a split, each with its value, n and 95 % interval.

    Args:
        split: The rows that were predicted.
        predictions: int ``(N,)`` in 0..K-1.
        labels: The names of the K classes.
        n_bias: M.
        seed: Of the bootstrap.
        has_bias: Whether there is a bias attribute; without, every metric but top-1 is None, of 0 rows,
            and ``counts`` is None.
        knows_aligned: Whether it is known which cells are aligned; else those metrics are None, of 0 rows.

    Returns:
        Plain data: ``{metric: {"value", "n", "ci"}, ..., "by_class": {label: {...}}, "counts": [[[...]]]}``;
        an undefined value is None.
    """
    n_labels = len(labels)
    if not has_bias:
        return _without_bias(split, predictions, labels, seed=seed)
    table = count(split.labels, split.bias, predictions, n_labels=n_labels, n_bias=n_bias)
    aligned = aligned_cells(split, n_labels, n_bias) if knows_aligned else None
    per_class = fairness.through_metric_frame(split.labels, predictions, split.bias, n_labels)
    return measure_counts(table, labels, aligned, seed=seed, per_class=per_class)


def _without_bias(
    split: Split, predictions: Array, labels: Sequence[str], *, seed: int
) -> dict[str, Any]:
    nothing: dict[str, Any] = {"value": None, "n": 0, "ci": [None, None]}
    rights = np.asarray(predictions) == split.labels
    return {
        **{name: dict(nothing) for name in ACCURACIES},
        "top1": _rate(rights, numpy_generator(seed, "bootstrap")),
        **{name: dict(nothing) for name in fairness.METRICS},
        "by_class": {label: {name: dict(nothing) for name in fairness.METRICS} for label in labels},
        "counts": None,
    }


def measure_top5(labels: Array, scores: Array, *, seed: int) -> dict[str, Any]:
    """Return the share of rows whose label is among the five classes of the highest scores.

    Of equal scores the class that comes first counts as higher, as for the prediction.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        scores: float ``(N, K)``.
        seed: Of the bootstrap.

    Returns:
        ``{"value", "n", "ci"}``; the value is None and n is 0 where there are five classes or fewer.
    """
    if scores.shape[1] <= TOP:
        return {"value": None, "n": 0, "ci": [None, None]}
    return _rate(top_k(labels, scores, TOP), numpy_generator(seed, "bootstrap/top5"))


def top_k(labels: Array, scores: Array, k: int) -> npt.NDArray[np.bool_]:
    """Return bool ``(N,)``: whether fewer than k classes come before the label by score."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (N, 1)
    first = np.arange(scores.shape[1]) < labels[:, None]
    before = ((scores > own) | ((scores == own) & first)).sum(axis=1)
    found: npt.NDArray[np.bool_] = before < k
    return found


def _rate(rights: Array, rng: np.random.Generator) -> dict[str, Any]:
    """Return a share of rows with its bootstrap interval."""
    table = np.array([rights.sum(), (~rights).sum()], dtype=np.int64)

    def share(tables: Array) -> dict[str, Array]:
        return {"share": divide(tables[..., 0], tables.sum(axis=-1))}

    limits = bootstrap(table, share, rng)["share"]
    return _metric(share(table)["share"], len(rights), limits)


def measure_counts(
    table: Array,
    labels: Sequence[str],
    aligned: Array | None,
    *,
    seed: int,
    per_class: Mapping[str, Array] | None = None,
    intervals: bool = True,
) -> dict[str, Any]:
    """Return every metric of a table of counts, in the form of ``measure``.

    Args:
        table: int64 ``(K, M, K)``: label x bias x prediction.
        labels: The names of the K classes.
        aligned: bool ``(K, M)``, or None where it is not known which cells are aligned: those metrics are
            None, of 0 rows.
        seed: Of the bootstrap.
        per_class: The fairness metrics, each ``(K,)``, where they were computed from rows; else they are
            computed from the table.
        intervals: Whether to compute them; without, they are None.
    """

    def everything(tables: Array) -> dict[str, Array]:
        per_class = fairness.from_counts(tables)
        macro = {name: fairness.macro(value) for name, value in per_class.items()}
        classes = {f"class/{name}": value for name, value in per_class.items()}
        return {**accuracies(tables, aligned), **macro, **classes}

    if per_class is None:
        per_class = fairness.from_counts(table)
    points: dict[str, Array] = dict(accuracies(table, aligned))
    points |= {name: fairness.macro(value) for name, value in per_class.items()}
    if intervals:
        limits = bootstrap(table, everything, numpy_generator(seed, "bootstrap"))
    else:
        limits = {name: (np.full((), np.nan),) * 2 for name in points}
        limits |= {f"class/{name}": (np.full(len(labels), np.nan),) * 2 for name in per_class}
    rows = int(table.sum())
    on_aligned = 0 if aligned is None else int(table[aligned].sum())
    on_others = 0 if aligned is None else rows - on_aligned
    n = {
        "bias_aligned": on_aligned,
        "bias_aligned_samples": on_aligned,
        "bias_conflicting": on_others,
        "bias_conflicting_samples": on_others,
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
