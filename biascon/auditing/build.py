"""From parts of rows to the audits by every bias column, by pairs and by all columns together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations

from biascon.auditing.compute import AuditTable, compute_audit
from biascon.auditing.options import AuditOptions, check_flag
from biascon.auditing.record import PRODUCT, AuditRecord, AuditSource
from biascon.auditing.result import Audit
from biascon.auditing.rows.alignment_checks import add_doubt
from biascon.auditing.rows.bins import BinnedColumn, suggest_bins
from biascon.auditing.rows.row_checks import check_rows
from biascon.auditing.rows.row_counts import RowCounts, unify_truth_values
from biascon.auditing.rows.second_pass import RowPart, RowSums
from biascon.auditing.rows.training_cells import Cells, check_training, count_cells
from biascon.data.alignment import AlignedValues, align_cells, check_aligned_values
from biascon.data.values import CodedColumn
from biascon.errors import DataError, UsageError
from biascon.metrics.summary import find_positive_class


@dataclass(frozen=True)
class AuditInput:
    """What the audits of one set of rows share.

    Attributes:
        names: The names of the columns: label, bias ..., prediction.
        parts: Returns the rows in parts, each time that it is called.
        aligned: The bias values that go with a label, as the user gave them.
        source: The predictions.
        prefix: The file and a colon, in front of error messages; empty for arrays.
        drop_missing: Whether rows that lack a value are left out.
        options: The settings.
        n_scores: The number of scores of a row, 0 without scores.
        weight: The name of the column of weights, None without one.
        baseline: The name of the column of the baseline, None without one.
        plain_parts: Returns the columns alone, which takes less time; None if there is no such way.
        notes: How the rows were read.
        training: Returns the label and the bias columns of the training rows in parts; None without them.
        training_prefix: The file of the training rows and a colon, empty for arrays.
    """

    names: Sequence[str]
    parts: Callable[[], Iterable[RowPart]]
    aligned: AlignedValues | None
    source: AuditSource
    prefix: str
    drop_missing: bool
    options: AuditOptions
    n_scores: int = 0
    weight: str | None = None
    baseline: str | None = None
    plain_parts: Callable[[], Iterable[Sequence[CodedColumn]]] | None = None
    notes: Sequence[str] = ()
    training: Callable[[], Iterable[Sequence[CodedColumn]]] | None = None
    training_prefix: str = ""


class _Rows:
    """The counted rows, with numeric columns in bins.

    Args:
        inputs: The rows and the settings.
    """

    def __init__(self, inputs: AuditInput) -> None:
        self.inputs = inputs
        label, *bias, prediction = inputs.names
        self.counts = RowCounts(label, bias, prediction, inputs.weight)
        self._bins = {
            1 + bias.index(name): BinnedColumn(name, edges)
            for name, edges in inputs.options.bins.items()
        }
        self.counts.bias_order = {k - 1: column.names for k, column in self._bins.items()}
        if inputs.weight is None and inputs.plain_parts is not None:
            parts: Iterable[RowPart] = (RowPart(columns) for columns in inputs.plain_parts())
        else:
            parts = inputs.parts()
        for part in parts:
            with self._named_errors():
                self.counts.add(self._convert(part.columns), part.weights)
        self.notes = [
            note for column in self._bins.values() for note in column.check(inputs.prefix)
        ]
        for k, name in enumerate(bias):
            if 1 + k not in self._bins:
                self.notes += suggest_bins(name, {value for (value,) in self.counts.groups([k])})

    def _convert(self, columns: Sequence[CodedColumn]) -> list[CodedColumn]:
        return [
            self._bins[k].convert(column) if k in self._bins else column
            for k, column in enumerate(columns)
        ]

    def count_training(self) -> Cells:
        """Return the training rows of each combination of a label and bias values; empty without them."""
        inputs = self.inputs
        if inputs.training is None:
            return {}
        cells = count_cells(
            (self._convert(columns) for columns in inputs.training()),
            prefix=inputs.training_prefix,
            drop_missing=inputs.drop_missing,
        )
        for column in self._bins.values():
            column.check(inputs.training_prefix)
        counts = self.counts
        named: dict[tuple[str, ...], float] = {}
        labels = {counts.class_name(label) for label, *_ in cells}
        unified = unify_truth_values(set(counts.labels), labels)
        for (label, *values), n in cells.items():
            name = counts.class_name(label)
            key = (unified.get(name, name), *values)
            named[key] = named.get(key, 0) + n
        known = [
            set(counts.labels),
            *({v for (v,) in counts.groups([k])} for k in range(counts.n_bias)),
        ]
        check_training(named, counts.names[:-1], known, prefix=inputs.training_prefix)
        return named

    def sum(self, positive: int | None) -> RowSums | None:
        """Return the sums of scores, weights and a baseline from a second pass; None without these.

        Raises:
            UsageError: Scores of arrays do not fit the classes or are no probabilities, or a weight is not
                valid.
            DataError: The same for a file, or label and baseline write their classes in different ways.
        """
        inputs = self.inputs
        if not inputs.n_scores and inputs.weight is None and inputs.baseline is None:
            return None
        with self._named_errors():
            sums = RowSums(
                self.counts,
                positive,
                n_scores=inputs.n_scores,
                has_weights=inputs.weight is not None,
                baseline_name=inputs.baseline,
                is_chosen=inputs.options.positive is not None,
            )
        for part in inputs.parts():
            with self._named_errors():
                sums.add(replace(part, columns=self._convert(part.columns)))
        with self._named_errors():
            sums.finish()
        return sums

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Put the file in front of an error about its rows, which is then a ``DataError``."""
        try:
            yield
        except (UsageError, DataError) as error:
            if not self.inputs.prefix:
                raise
            raise DataError(f"{self.inputs.prefix}{error}") from error


def build_audit(inputs: AuditInput) -> Audit:
    """Return the audit by all bias columns.

    Raises:
        UsageError: A setting does not fit the rows.
        DataError: There are no rows, rows lack a value, or a column has values that cannot be used.
    """
    check_flag("drop_missing", inputs.drop_missing)
    if inputs.weight is not None and inputs.baseline is not None:
        raise UsageError(
            "expected weights or a baseline, but got both: the paired comparison is not weighted"
        )
    rows = _Rows(inputs)
    counts, bias = rows.counts, rows.counts.bias
    check_aligned_values(inputs.aligned, [*bias, PRODUCT.join(bias)])
    checks = check_rows(counts, prefix=inputs.prefix, drop_missing=inputs.drop_missing)
    notes = [*inputs.notes, *rows.notes, *checks]
    labels = set(counts.labels)
    is_label = [name in labels for name in counts.classes]
    sums = rows.sum(find_positive_class(counts.classes, is_label, inputs.options.positive))
    training = rows.count_training()
    if sums is not None:
        notes += _check_second_pass(inputs, counts, sums)

    def audit_by(
        columns: Sequence[int],
        by_feature: dict[str, Audit] | None = None,
        by_pair: dict[tuple[str, str], Audit] | None = None,
    ) -> Audit:
        record = _audit_by(inputs, counts, columns, notes, sums, training)
        return Audit(record, record.columns, record.group_values, by_feature or {}, by_pair or {})

    single = {name: audit_by([k]) for k, name in enumerate(bias)}
    if len(bias) == 1:
        return single[bias[0]]
    pairs = combinations(range(len(bias)), 2) if inputs.options.pairs else ()
    by_pair = {(bias[j], bias[k]): audit_by([j, k], _pick(single, bias, j, k)) for j, k in pairs}
    return audit_by(range(len(bias)), single, by_pair)


def _pick(single: dict[str, Audit], bias: Sequence[str], *columns: int) -> dict[str, Audit]:
    return {bias[k]: single[bias[k]] for k in columns}


def _check_second_pass(inputs: AuditInput, counts: RowCounts, sums: RowSums) -> list[str]:
    """Return notes about rows that lack a score or a prediction of the baseline, and about the AUC.

    Raises:
        DataError: There are such rows, and they are not to be left out.
    """
    notes = [*sums.notes, *([] if sums.scores is None else sums.scores.notes())]
    for n, what, where in (
        (sums.n_missing_scores, "a score", "calibration"),
        (sums.n_missing_baseline, "a prediction of the baseline", "comparison with the baseline"),
    ):
        if not n:
            continue
        message = f"{n:,} of {counts.n_complete:,} rows lack {what}"
        if not inputs.drop_missing:
            raise DataError(
                f"{inputs.prefix}{message}; --drop-missing (drop_missing=True) leaves them out of the {where}"
            )
        notes.append(f"left out of the {where}: {message}")
    if sums.scores is not None and sums.positive is None:
        notes.append(
            "AUC and calibration need a positive class: name it with --positive (positive=)"
        )
    if sums.positive is not None and not sums.positive.counts.is_exact:
        notes.append(
            "AUC: from scores in steps of 1/65,536, because there are very many different scores"
        )
    return notes


def _audit_by(
    inputs: AuditInput,
    counts: RowCounts,
    columns: Sequence[int],
    notes: Sequence[str],
    sums: RowSums | None,
    training: Cells,
) -> AuditRecord:
    """Return the record by the combinations of the values of some bias columns.

    Args:
        inputs: The settings.
        counts: The counted rows.
        columns: The positions of the bias columns, from 0.
        notes: Notes about the rows.
        sums: The sums of the second pass, None without one.
        training: The training rows of each cell of all bias columns; empty if they are not known.
    """
    try:
        classes, groups, table = counts.classes, counts.groups(columns), counts.table(columns)
    except DataError as error:
        raise DataError(f"{inputs.prefix}{error}") from error
    names = tuple(counts.bias[k] for k in columns)
    alignment = align_cells(
        PRODUCT.join(names),
        classes,
        counts.labels,
        [PRODUCT.join(group) for group in groups],
        inputs.aligned,
        has_several_biases=counts.n_bias > 1,
    )
    reference = inputs.options.reference
    return compute_audit(
        AuditTable(
            table,
            classes,
            names,
            groups,
            add_doubt(alignment, table),
            None if sums is None else sums.by_columns(columns, groups),
            inputs.weight,
            inputs.baseline,
            training,
            columns,
        ),
        inputs.options,
        reference=None if reference is None else tuple(reference[k] for k in columns),
        source=inputs.source,
        dropped=counts.n_incomplete,
        notes=notes,
    )
