"""What is measured of features: readouts by nested probes, and the geometry of the pairs of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from biascon.auditing.features.arrays import Features
from biascon.auditing.features.columns import Column, check_column
from biascon.auditing.features.record import FeatureRecord, FeatureSource, PairSimilarity, Readout
from biascon.metrics import accuracy
from biascon.metrics.counts import count
from biascon.metrics.estimates import finite_or_none
from biascon.metrics.geometry import Geometry, measure_geometry
from biascon.metrics.intervals import wilson
from biascon.metrics.rate_intervals import mean_of_rates
from biascon.metrics.records import Metric
from biascon.metrics.representation import PairMean
from biascon.metrics.summary import make_metric
from biascon.probing.nested import SELECTION_ROWS, HeldOutPredictions, predict_held_out
from biascon.utils.progress import Say, say_nothing
from biascon.utils.seeds import permutation
from biascon.utils.text import join_first
from biascon.utils.types import Array

MAX_COUNTS = 20_000  # larger tables of counts are not part of a record
PAIR_ROWS = 10_000  # rows whose pairs are measured, at most: 50 million pairs
# Squares of features above _SAFE or below 1 / _SAFE leave the range of float32.
_TINY, _SAFE = 1e-6, 1e15


def measure_features(
    features: Features,
    columns: Sequence[Column],
    source: FeatureSource,
    *,
    notes: Sequence[str],
    dropped: int,
    folds: int,
    seed: int,
    say: Say = say_nothing,
) -> tuple[FeatureRecord, ...]:
    """Return the record of each bias column.

    Args:
        features: float32 ``(N, D)``, finite.
        columns: The label, then the bias columns; no value is missing.
        source: Where the rows come from; the name of the bias is that of each column.
        notes: How the table was read.
        dropped: The rows that were left out.
        folds: The number of outer folds.
        seed: The seed of the folds, and of the rows whose pairs are measured.
        say: Called with a line of progress every few seconds.

    Raises:
        DataError: A column has one value only, or a value in fewer rows than there are folds.
    """
    for column in columns:
        check_column(column, folds)
    label, *biases = columns
    x = _scale_columns(features)
    _, strata = np.unique(np.stack([b.codes for b in biases]), axis=1, return_inverse=True)
    predict = partial(predict_held_out, x, folds=folds, seed=seed, say=say)
    of_label = predict(label.codes, strata.reshape(-1), len(label.values), purpose="features/label")
    pairs = np.sort(permutation(len(features), seed, "features/pairs")[:PAIR_ROWS])
    unit = _in_range(features[pairs])
    records = []
    for b in biases:
        of_bias = predict(b.codes, label.codes, len(b.values), purpose=f"features/bias/{b.name}")
        readouts = _readout(of_label, label, b), _readout(of_bias, b, label)
        geometry = measure_geometry(unit, label.codes[pairs], b.codes[pairs])
        record = FeatureRecord(
            source=replace(source, bias=b.name),
            rows=len(features),
            dropped=dropped,
            dim=features.shape[1],
            folds=folds,
            seed=seed,
            labels=label.values,
            bias_values=b.values,
            label_readout=readouts[0],
            bias_readout=readouts[1],
            pair_rows=len(pairs),
            notes=(),
            **_geometry_fields(geometry),
        )
        records.append(replace(record, notes=(*notes, *_notes(record, label, b))))
    return tuple(records)


def _geometry_fields(geometry: Geometry) -> dict[str, Any]:
    return {
        "without_direction": geometry.without_direction,
        "class_alignment": _pair_metric(geometry.class_alignment),
        "bias_alignment": _pair_metric(geometry.bias_alignment),
        "uniformity": _pair_metric(geometry.uniformity),
        "similarities": _similarities(geometry),
    }


def _readout(predictions: HeldOutPredictions, target: Column, other: Column) -> Readout:
    k, m = len(target.values), len(other.values)
    table = count(target.codes, other.codes, predictions.predicted, n_labels=k, n_bias=m)
    hits, rows = accuracy.correct(table), table.sum(axis=-1)
    n = int(rows.sum())
    unbiased = accuracy.unbiased_of_cells(hits, rows)
    low, high = mean_of_rates(hits.reshape(-1), rows.reshape(-1))
    has_rows = rows > 0
    return Readout(
        accuracy=make_metric(accuracy.top1_of_cells(hits, rows), n, wilson(int(hits.sum()), n)),
        unbiased=make_metric(unbiased, n, (np.asarray(low), np.asarray(high))),
        majority=float(rows.sum(axis=1).max() / n),
        unbiased_majority=float(has_rows.sum(axis=1).max() / has_rows.sum()),
        from_other=float(rows.max(axis=0).sum() / n),
        unbiased_from_other=float(has_rows.any(axis=0).sum() / has_rows.sum()),
        penalties=predictions.penalties,
        converged=predictions.converged,
        counts=table.tolist() if table.size <= MAX_COUNTS else None,
    )


def _scale_columns(features: Features) -> Features:
    """Return features whose tiny and huge columns are multiplied by a power of two.

    The probes standardize the features, so that their result is the same. Without this, they would take a
    column of tiny values for a constant one.
    """
    largest = np.abs(features).max(axis=0)
    is_far = (largest > 0) & ((largest < _TINY) | (largest > _SAFE))
    if not is_far.any():
        return features
    exponent = np.where(is_far, np.frexp(largest)[1], 0)
    scaled: Features = np.ldexp(features, -exponent).astype(np.float32)
    return scaled


def _in_range(features: Features) -> Array:
    """Return features of the same directions whose squares are in the range of float32."""
    largest = np.abs(features).max(axis=1, keepdims=True)
    present = largest[largest > 0]
    if not present.size or (present.max() <= _SAFE and present.min() >= 1 / _SAFE):
        return features
    return features / np.where(largest > 0, largest, 1)


def _pair_metric(mean: PairMean | None) -> Metric:
    return Metric(None, 0) if mean is None else Metric(finite_or_none(mean.value), mean.n)


def _similarities(geometry: Geometry) -> dict[str, PairSimilarity]:
    return {
        kind: PairSimilarity(
            pairs.n,
            finite_or_none(pairs.mean),
            finite_or_none(pairs.sd),
            tuple(pairs.counts.tolist()),
        )
        for kind, pairs in geometry.similarities.items()
        if pairs.n
    }


def _notes(record: FeatureRecord, label: Column, bias: Column) -> list[str]:
    """Return what a reader should know about a record, a sentence each."""
    notes = []
    if record.dropped:
        notes.append(f"left out: {record.dropped:,} rows that lack a label or a bias value")
    if record.rows > SELECTION_ROWS:
        notes.append(f"each penalty is chosen on about {SELECTION_ROWS:,} rows of its outer folds")
    if record.pair_rows < record.rows:
        notes.append(
            f"distances and similarities are of the pairs of {record.pair_rows:,} rows, drawn at random"
        )
    if record.without_direction:
        notes.append(
            f"{record.without_direction:,} rows have features that are all 0: they have no direction and are "
            "in no pair"
        )
    rows = np.zeros((len(label.values), len(bias.values)), np.int64)
    np.add.at(rows, (label.codes, bias.codes), 1)
    empty = [f"'{label.values[k]}' with '{bias.values[m]}'" for k, m in np.argwhere(rows == 0)]
    if empty:
        notes.append(f"labels and bias values that never occur together: {join_first(empty)}")
    if (rows > 0).sum() in rows.shape:
        notes.append(
            "one of the two columns follows from the other: their readouts do not tell them apart"
        )
    for name, readout in (("label", record.label_readout), ("bias", record.bias_readout)):
        if not readout.converged:
            notes.append(f"the solver of the probe of the {name} did not reach its tolerance")
    return notes
