"""Every metric of predictions on a split: plain data out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data.dataset import BiasedDataset, Split
from biascon.errors import UsageError
from biascon.metrics import accuracy, amplification, calibration, fairness, parity
from biascon.metrics.counts import count
from biascon.metrics.extremes import comparison_limits, worst_group_limits
from biascon.metrics.intervals import bootstrap, mean_of_rates, wilson
from biascon.metrics.permutation import permutation_test
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
COMPARISONS = (*fairness.METRICS, *parity.METRICS)  # of the groups
AMPLIFICATIONS = amplification.METRICS[:2]  # the third needs predictions of the bias attribute
# What is tested for "is there any disparity", by how the bias is dealt out under the null.
NULLS = {
    "rows": ("demographic_parity_difference",),
    "labels": ("worst_group", "equalized_odds_difference", "equal_opportunity_difference"),
}
MAX_PERMUTED = 20_000  # cells of a table beyond which the test would take minutes


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
    training: Array | None = None,
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


def _without_bias(split: Split, predictions: Array, labels: Sequence[str]) -> dict[str, Any]:
    rights = np.asarray(predictions) == split.labels
    return {
        **{name: _nothing() for name in (*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS)},
        "top1": _rate(rights),
        "by_class": {label: {name: _nothing() for name in COMPARISONS} for label in labels},
        "disparity": None,
        "counts": None,
    }


def _nothing() -> dict[str, Any]:
    return {"value": None, "n": 0, "ci": [None, None]}


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
    sums = calibration.tally(split.labels, split.bias, scores, n_bias=n_bias)
    whole = calibration.tally(split.labels, np.zeros_like(split.bias), scores, n_bias=1)
    rows = np.bincount(split.bias, minlength=n_bias)
    measured = zip(rows, calibration.ece(sums), calibration.brier(sums), strict=True)
    return {
        "error": {"value": number(calibration.ece(whole)[0]), "n": len(split)},
        "brier": {"value": number(calibration.brier(whole)[0]), "n": len(split)},
        "by_group": [
            {"n": int(n), "error": number(error), "brier": number(brier)}
            for n, error, brier in measured
        ],
    }


def measure_top5(labels: Array, scores: Array) -> dict[str, Any]:
    """Return the share of rows whose label is among the five classes of the highest scores.

    Of equal scores the class that comes first counts as higher, as for the prediction.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        scores: float ``(N, K)``.

    Returns:
        ``{"value", "n", "ci"}``; the value is None and n is 0 where there are five classes or fewer.
    """
    if scores.shape[1] <= TOP:
        return _nothing()
    return _rate(top_k(labels, scores, TOP))


def top_k(labels: Array, scores: Array, k: int) -> npt.NDArray[np.bool_]:
    """Return bool ``(N,)``: whether fewer than k classes come before the label by score."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (N, 1)
    first = np.arange(scores.shape[1]) < labels[:, None]
    before = ((scores > own) | ((scores == own) & first)).sum(axis=1)
    found: npt.NDArray[np.bool_] = before < k
    return found


def _rate(rights: Array) -> dict[str, Any]:
    """Return a share of rows with Wilson's interval."""
    rows = len(rights)
    value = np.asarray(rights.mean() if rows else np.nan)
    return _metric(value, rows, wilson(int(rights.sum()), rows))


def measure_counts(
    table: Array,
    labels: Sequence[str],
    aligned: Array | None,
    *,
    seed: int,
    per_class: Mapping[str, Array] | None = None,
    training: Array | None = None,
    intervals: bool = True,
) -> dict[str, Any]:
    """Return every metric of a table of counts, in the form of ``measure``.

    Args:
        table: int64 ``(K, M, K)``: label x bias x prediction.
        labels: The names of the K classes.
        aligned: bool ``(K, M)``, or None where it is not known which cells are aligned: those metrics are
            None, of 0 rows.
        seed: Of the bootstrap and of the permutations.
        per_class: The fairness metrics, each ``(K,)``, where they were computed from rows; else they are
            computed from the table.
        training: int ``(K, M)``, the training rows of each label and bias, or None where they are not known:
            bias amplification is then None, of 0 rows.
        intervals: Whether to compute them, and the tests; without, they are None.
    """
    known = training if training is not None else np.zeros(table.shape[:2], np.int64)

    def smooth(tables: Array) -> dict[str, Array]:
        amplified = amplification.from_counts(known, tables)
        found = accuracies(tables, aligned) | {name: amplified[name] for name in AMPLIFICATIONS}
        return {name: value for name, value in found.items() if name != "worst_group"}

    classes = dict(fairness.from_counts(table) if per_class is None else per_class)
    classes |= parity.from_counts(table)
    points = smooth(table) | {"worst_group": accuracy.worst_group(table)}
    points |= {name: fairness.macro(value) for name, value in classes.items()}
    if intervals:
        limits = bootstrap(table, smooth, numpy_generator(seed, "bootstrap"))
        limits |= _of_rates(table, aligned, limits)
        limits["worst_group"] = worst_group_limits(table)
        limits |= comparison_limits(table, classes, numpy_generator(seed, "comparisons"))
    else:
        limits = {name: (np.full((), np.nan),) * 2 for name in points}
        limits |= {f"class/{name}": (np.full(len(labels), np.nan),) * 2 for name in classes}
    rows = int(table.sum())
    on_aligned = 0 if aligned is None else int(table[aligned].sum())
    on_others = 0 if aligned is None else rows - on_aligned
    n = {
        "bias_aligned": on_aligned,
        "bias_aligned_samples": on_aligned,
        "bias_conflicting": on_others,
        "bias_conflicting_samples": on_others,
    } | dict.fromkeys(AMPLIFICATIONS, 0 if training is None else rows)
    result: dict[str, Any] = {
        name: _metric(points[name], n.get(name, rows), limits[name])
        for name in (*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS)
    }
    worst = accuracy.worst_cell(table)
    if worst is not None:
        result["worst_group"]["n"] = int(table[worst].sum())
        result["worst_group"]["group"] = {"label": worst[0], "bias": worst[1]}
    result["by_class"] = {
        label: {
            name: _metric(value[k], rows, tuple(side[k] for side in limits[f"class/{name}"]))
            for name, value in classes.items()
        }
        for k, label in enumerate(labels)
    }
    tested = intervals and table.size <= MAX_PERMUTED
    result["disparity"] = _disparity(table, seed) if tested else None
    result["counts"] = table.tolist()
    return result


def _of_rates(
    table: Array, aligned: Array | None, found: Mapping[str, tuple[Array, Array]]
) -> dict[str, tuple[Any, Any]]:
    """Return Wilson's limits of what is one rate, and limits of means of cells without a wrong row.

    In resamples of rows that are all right, or all wrong, nothing varies.
    """
    right, rows = accuracy.correct(table), table.sum(axis=-1)
    every = np.ones(rows.shape, dtype=bool)
    sets = {"": every} if aligned is None else {
        "": every, "bias_aligned": aligned, "bias_conflicting": ~aligned,
    }  # fmt: skip
    limits: dict[str, tuple[Any, Any]] = {}
    for name, cells in sets.items():
        single, mean = (f"{name}_samples", name) if name else ("top1", "unbiased")
        limits[single] = wilson(right[cells].sum(), rows[cells].sum())
        low, high = found[mean]
        if low == high:
            limits[mean] = mean_of_rates(right[cells], rows[cells])
    return limits


def _disparity(table: Array, seed: int) -> dict[str, Any]:
    """Return for the metrics of ``NULLS`` what chance alone gives, and the permutation test's p."""

    def everything(tables: Array) -> dict[str, Array]:
        per_class = fairness.from_counts(tables)
        found = {name: fairness.macro(value) for name, value in per_class.items()}
        return found | {"worst_group": accuracy.worst_group(tables)}

    result = {}
    for within, names in NULLS.items():
        rng = numpy_generator(seed, f"permutation/{within}")
        tested = functools.partial(_only, names, everything)
        lower = {"worst_group"} & set(names)
        found = permutation_test(table, tested, rng, within=within, lower=lower)
        for name, null in found.items():
            result[name] = {
                "expected": number(null.expected),
                "p": number(null.p),
                "within": within,
                "replicates": null.replicates,
            }
    return result


def _only(
    names: Sequence[str], metrics: Callable[[Array], dict[str, Array]], tables: Array
) -> dict[str, Array]:
    found = metrics(tables)
    return {name: found[name] for name in names}


def _metric(value: Array, n: int, limits: tuple[Array, ...]) -> dict[str, Any]:
    low, high = (number(side) for side in limits)
    return {"value": number(value), "n": n, "ci": [low, high]}


def number(value: Array | float) -> float | None:
    """Return a float, None where it is not finite."""
    number = float(value)
    return number if np.isfinite(number) else None
