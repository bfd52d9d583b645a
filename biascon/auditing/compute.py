"""From a table of counts to the record of an audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from biascon.auditing.baseline import BaselineCounts
from biascon.auditing.group_rates import (
    GroupRates,
    WeightTables,
    find_compared,
    measure_rates,
)
from biascon.auditing.notes import describe_undefined, describe_weights
from biascon.auditing.options import AuditOptions
from biascon.auditing.record import (
    METRICS,
    PRODUCT,
    AuditRecord,
    AuditSource,
    GroupMetrics,
    LabelAccuracy,
)
from biascon.auditing.reference import average_odds_difference
from biascon.auditing.rows.second_pass import RowSums
from biascon.auditing.rows.training_cells import Cells, adjusted_average
from biascon.auditing.score_metrics import score_metrics
from biascon.auditing.weighted import lowest_rate, measure_weighted
from biascon.data.alignment import Alignment
from biascon.errors import UsageError
from biascon.metrics.multiclass import (
    MULTICLASS_METRICS,
    multiclass_equalized_odds,
    multiclass_limits,
)
from biascon.metrics.records import UNDEFINED, Cell, Metric, MetricSummary
from biascon.metrics.summary import (
    COMPARISONS,
    find_positive_class,
    finite_or_none,
    make_metric,
    measure_counts,
)
from biascon.metrics.summary_tests import MAX_PERMUTED
from biascon.utils.text import quote_some
from biascon.utils.types import Array

MAX_RESAMPLED = 1_000_000  # cells of a table; the comparisons of a larger one would take a minute


@dataclass(frozen=True, eq=False)
class AuditTable:
    """The counted rows by the groups of some bias columns.

    Attributes:
        counts: int64 ``(K, M, K)``: label x group x prediction.
        classes: The names of the K classes.
        columns: The bias columns.
        groups: The M groups, each a value of every column.
        alignment: Which cells are aligned.
        sums: The sums of the second pass, None without one.
        weight: The name of the column of weights, None without one.
        baseline: The name of the column of the baseline, None without one.
        training: The training rows of each combination of a label and a value of every bias column; empty
            if they are not known.
        positions: The positions of ``columns`` among all bias columns.
    """

    counts: Array
    classes: Sequence[str]
    columns: tuple[str, ...]
    groups: Sequence[tuple[str, ...]]
    alignment: Alignment
    sums: RowSums | None = None
    weight: str | None = None
    baseline: str | None = None
    training: Cells = field(default_factory=dict)
    positions: Sequence[int] = ()


def compute_audit(
    table: AuditTable,
    options: AuditOptions,
    *,
    reference: tuple[str, ...] | None,
    source: AuditSource,
    dropped: int,
    notes: Sequence[str],
) -> AuditRecord:
    """Return the record of a table of counts.

    Args:
        table: The counted rows.
        options: The settings.
        reference: The reference group, None without one.
        source: The predictions.
        dropped: The rows that were left out because they lack a value.
        notes: The notes about the rows; notes about the table are added.

    Raises:
        UsageError: The positive class or the reference group does not occur, or the reference is left out.
    """
    names = tuple(PRODUCT.join(group) for group in table.groups)
    weights, baseline = _weights(table), _baseline(table)
    compared = find_compared(table.counts, weights, options.min_group)
    is_label = (table.counts.sum(axis=(1, 2)) > 0).tolist()
    positive = find_positive_class(table.classes, is_label, options.positive)
    summary, size_notes = _measure(table, options, weights, positive, compared)
    rates = measure_rates(table.counts, weights)
    overall, by_group = score_metrics(table.sums, len(names))
    worst_class, lowest = _worst_class(table, weights)
    adjusted, training_notes = _adjusted_average(table, rates)
    average_odds = (
        Metric(None, int(table.counts[:, compared].sum()))
        if positive is None
        else average_odds_difference(rates, positive, compared)
    )
    return AuditRecord(
        source=source,
        bias=PRODUCT.join(table.columns),
        columns=table.columns,
        dropped=dropped,
        rows=int(table.counts.sum()),
        seed=options.seed,
        labels=tuple(table.classes),
        groups=names,
        group_values=tuple(table.groups),
        aligned=table.alignment.source,
        notes=(
            *notes,
            *table.alignment.notes,
            *describe_undefined(
                table.counts, table.classes, names, compared, options.min_group, weights
            ),
            *([] if weights is None else describe_weights(weights)),
            *training_notes,
            *size_notes,
        ),
        summary=_name_worst_group(summary, table.classes, names),
        extra={
            "average_odds_difference": average_odds,
            "worst_class": lowest,
            "adjusted_average": adjusted,
            MULTICLASS_METRICS[0]: _multiclass_odds(table, compared, weights),
        },
        worst_class=worst_class,
        calibration=overall,
        by_group=_group_metrics(table, names, weights, by_group),
        min_group=options.min_group,
        reference=_find_reference(table, reference, compared),
        weights=weights,
        baseline=baseline,
    )


def _weights(table: AuditTable) -> WeightTables | None:
    sums = table.sums
    if sums is None or sums.weights is None or sums.squares is None or table.weight is None:
        return None
    return WeightTables.from_arrays(table.weight, sums.weights, sums.squares)


def _baseline(table: AuditTable) -> BaselineCounts | None:
    sums = table.sums
    if sums is None or sums.baseline is None or table.baseline is None:
        return None
    return BaselineCounts(table.baseline, sums.baseline.tolist(), sums.n_missing_baseline)


def _measure(
    table: AuditTable,
    options: AuditOptions,
    weights: WeightTables | None,
    positive: int | None,
    compared: Array,
) -> tuple[MetricSummary, list[str]]:
    """Return the metrics, and a note if the table is too large for intervals or permutation tests."""
    aligned = table.alignment.cells
    if not compared.any():  # the metrics need a group; one group has no comparisons
        first = np.arange(len(compared)) == 0
        summary, notes = _measure(table, options, weights, positive, first)
        return _without_comparisons(summary), notes
    if weights is not None:
        summary = measure_weighted(
            table.counts, weights, table.classes, aligned, positive=positive, compared=compared
        )
        return summary, []
    size = table.counts.size
    has_intervals = size <= MAX_RESAMPLED
    summary = measure_counts(
        table.counts,
        table.classes,
        aligned,
        seed=options.seed,
        positive=options.positive,
        compared=compared,
        intervals=has_intervals,
    )
    note = None
    if not has_intervals:
        note = (
            f"no intervals of comparisons and no permutation tests: the table has {size:,} cells label x "
            f"group x prediction, and more than {MAX_RESAMPLED:,} are not resampled"
        )
    elif summary.disparity is None:
        note = (
            f"no permutation tests: the table has {size:,} cells label x group x prediction, and more than "
            f"{MAX_PERMUTED:,} are not permuted"
        )
    return summary, [] if note is None else [note]


def _without_comparisons(summary: MetricSummary) -> MetricSummary:
    """Return the metrics with an undefined worst group and undefined comparisons."""
    undefined = dict.fromkeys(COMPARISONS, UNDEFINED)
    return dataclasses.replace(
        summary,
        metrics={**summary.metrics, **undefined, "worst_group": UNDEFINED},
        by_class=dict.fromkeys(summary.by_class, undefined),
        disparity=None,
        macro=undefined,
    )


def _name_worst_group(
    summary: MetricSummary, classes: Sequence[str], groups: Sequence[str]
) -> MetricSummary:
    """Return the metrics of ``METRICS`` alone, with the cell of the worst group by name."""
    metrics = {name: summary[name] for name in METRICS}
    cell = metrics["worst_group"].cell
    if cell is not None:
        named = Cell(classes[int(cell.label)], groups[int(cell.bias)])
        metrics["worst_group"] = dataclasses.replace(metrics["worst_group"], cell=named)
    return dataclasses.replace(summary, metrics=metrics)


def _find_reference(
    table: AuditTable, reference: tuple[str, ...] | None, compared: Array
) -> int | None:
    """Return the position of the reference group.

    Raises:
        UsageError: No row has its values, or it is left out of the comparisons.
    """
    if reference is None:
        return None
    if reference not in table.groups:
        raise UsageError(
            f"the reference '{PRODUCT.join(reference)}' is no group of '{PRODUCT.join(table.columns)}': "
            f"expected one of {quote_some(PRODUCT.join(group) for group in table.groups)}"
        )
    position = list(table.groups).index(reference)
    if not compared[position]:
        n = int(table.counts[:, position].sum())
        raise UsageError(
            f"the reference '{PRODUCT.join(reference)}' of '{PRODUCT.join(table.columns)}' has {n:,} rows "
            "and is left out of the comparisons (fewer rows than the smallest group, or no weight above 0)"
        )
    return position


def _worst_class(table: AuditTable, weights: WeightTables | None) -> tuple[str | None, Metric]:
    """Return the label with the lowest accuracy over all rows, and that accuracy."""
    by_label = table.counts.sum(axis=1, keepdims=True)
    pooled = None
    if weights is not None:
        pooled = WeightTables(
            weights.column,
            np.asarray(weights.sums).sum(axis=1, keepdims=True).tolist(),
            np.asarray(weights.squares).sum(axis=1, keepdims=True).tolist(),
        )
    rate = measure_rates(by_label, pooled).by_class["true_positive_rate"]
    index, metric = lowest_rate(rate)
    return (None if index is None else table.classes[index[0]]), metric


def _multiclass_odds(table: AuditTable, compared: Array, weights: WeightTables | None) -> Metric:
    """Return the multi-class equalized odds difference of more than two labels; undefined with weights."""
    counts = table.counts[:, compared]
    n_labels = int((table.counts.sum(axis=(1, 2)) > 0).sum())
    if n_labels <= 2 or weights is not None or compared.sum() < 2:
        return UNDEFINED
    value = multiclass_equalized_odds(counts)
    return make_metric(value, int(counts.sum()), multiclass_limits(counts))


def _adjusted_average(table: AuditTable, rates: GroupRates) -> tuple[Metric, list[str]]:
    if not table.training:
        return UNDEFINED, []
    cells = rates.by_class["true_positive_rate"]
    return adjusted_average(cells, table.training, table.classes, table.groups, table.positions)


def _group_metrics(
    table: AuditTable,
    names: Sequence[str],
    weights: WeightTables | None,
    scores: Sequence[Mapping[str, Metric]],
) -> tuple[GroupMetrics, ...]:
    rates = measure_rates(table.counts, weights)
    low, high = rates.accuracy.limits()
    cells = rates.by_class["true_positive_rate"]  # (K, M), NaN where empty
    n, worst = rates.accuracy.n, _argmin(cells.value)
    return tuple(
        GroupMetrics(
            bias=name,
            n=int(n[m]),
            accuracy=make_metric(rates.accuracy.value[m], int(n[m]), (low[m], high[m])),
            worst_label=LabelAccuracy(
                table.classes[worst[m]],
                finite_or_none(cells.value[worst[m], m]),
                int(cells.n[worst[m], m]),
            ),
            calibration=scores[m],
        )
        for m, name in enumerate(names)
    )


def _argmin(values: Array) -> list[int]:
    """Return the position of the smallest defined value of each column."""
    positions: list[int] = np.where(np.isnan(values), np.inf, values).argmin(axis=0).tolist()
    return positions
