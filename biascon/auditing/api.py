"""Audits of the predictions of any model: from arrays (``audit``) or from a file (``audit_file``)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.auditing.alignment_checks import add_doubt
from biascon.auditing.calibration import ScoreSums, score_matrix, sum_all_scores
from biascon.auditing.record import PRODUCT, AuditSource, compute_audit
from biascon.auditing.result import Audit
from biascon.auditing.row_checks import check_rows
from biascon.auditing.row_counts import RowCounts
from biascon.data.alignment import AlignedValues, align_cells, check_aligned_values
from biascon.data.values import CodedColumn, check_keep_words
from biascon.errors import DataError, UsageError
from biascon.utils.types import Array

__all__ = ["Audit", "audit", "audit_file"]

ScoredParts = Callable[[], Iterable[tuple[Sequence[CodedColumn], Array]]]


@dataclass(frozen=True)
class _AuditInput:
    """What the audits of one set of rows share.

    Attributes:
        counts: The counts of the rows.
        aligned: The bias values that go with a label, as the user gave them.
        source: The predictions.
        prefix: The file and a colon, in front of error messages; empty for arrays.
        drop_missing: Whether rows that lack a value are left out.
        seed: The seed of the bootstrap and of the permutations.
        notes: How the rows were read.
    """

    counts: RowCounts
    aligned: AlignedValues | None
    source: AuditSource
    prefix: str
    drop_missing: bool
    seed: int
    notes: Sequence[str] = ()


def audit(
    y_true: Any,
    y_pred: Any,
    *,
    sensitive_features: Any,
    scores: Any = None,
    aligned: AlignedValues | None = None,
    drop_missing: bool = False,
    keep_words: Collection[str] = (),
    seed: int = 0,
) -> Audit:
    """Measure predictions by groups: accuracy, worst group, fairness, each with its n and 95 % interval.

    Args:
        y_true: Labels ``(N,)`` of any type. 1, 1.0 and "1" are the same value.
        y_pred: Predicted labels ``(N,)``.
        sensitive_features: The values that group the rows: ``(N,)`` or ``(N, F)`` values, a Series, a
            DataFrame, a dict of arrays, or a list of arrays. With several features, the groups are the
            combinations that occur, and ``.by_feature`` has the audit by each feature alone.
        scores: Probabilities for the calibration: ``(N, K)`` for the classes in order, or ``(N,)`` for the
            second of two classes.
        aligned: The bias values that go with each label: ``{label: value or values}``. For several
            features: ``{feature: {label: ...}}``. Without it, cells with label = bias are aligned if both
            columns have the same values and these are names, not codes such as 0 and 1. Otherwise alignment is
            unknown.
        drop_missing: Whether to leave out rows that lack a value. Otherwise such rows are an error.
        keep_words: Words such as "None" or "NA" that are values here. By default, the words that
            ``pandas.read_csv`` reads as missing are missing values, in text of any kind.
        seed: The seed of the bootstrap and of the permutations.

    Returns:
        The audit by the combinations of all features.

    Raises:
        UsageError: The arrays differ in length, an array has another shape, or the aligned values do not
            fit (``AlignmentError``).
        DataError: There are no rows, values are missing, label and prediction write their classes in
            different ways, or there are too many classes or groups.

    >>> result = audit([0, 0, 1, 1], [0, 0, 1, 0], sensitive_features=["a", "b", "a", "b"])
    >>> float(result.overall["top1"]), result.by_group["accuracy"].to_dict()
    (0.75, {'a': 1.0, 'b': 0.5})
    """
    from biascon.auditing.arrays import code_values, feature_columns

    words = check_keep_words(keep_words)
    features = feature_columns(sensitive_features)
    counts = RowCounts("y_true", list(features), "y_pred")
    columns = [
        code_values("y_true", y_true, words),
        *(code_values(name, values, words) for name, values in features.items()),
        code_values("y_pred", y_pred, words),
    ]
    lengths = {name: len(c.codes) for name, c in zip(counts.names, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"expected equally many rows, but got {lengths}")
    counts.add(columns)
    matrix = None if scores is None else score_matrix(scores, counts.n_rows)
    inputs = _AuditInput(counts, aligned, AuditSource("y_true", "y_pred"), "", drop_missing, seed)
    return _build_audit(inputs, None if matrix is None else lambda: [(columns, matrix)])


def audit_file(
    path: Path | str,
    *,
    label: str,
    prediction: str,
    bias: Sequence[str],
    scores: Sequence[str] = (),
    aligned: AlignedValues | None = None,
    drop_missing: bool = False,
    keep_words: Collection[str] = (),
    delimiter: str | None = None,
    decimal: str | None = None,
    seed: int = 0,
) -> Audit:
    """Measure the predictions in a file by groups. The file is read in parts.

    Args:
        path: A CSV with a header or JSON lines, in UTF-8, plain or compressed; a Parquet file; an Arrow IPC
            file (Feather); ``-`` for standard input.
        label: The column of labels.
        prediction: The column of predicted labels.
        bias: One or more bias columns. With several, the groups are the combinations that occur.
        scores: Columns of probabilities: one for each class in order, or one for the second of two classes.
        aligned: As for ``audit``.
        drop_missing: As for ``audit``.
        keep_words: As for ``audit``.
        delimiter: The delimiter of a CSV, as itself or ``tab``; None to recognize it from the header.
        decimal: The decimal mark of a CSV, ``.`` or ``,``; None to recognize it from the first rows.
        seed: The seed of the bootstrap and of the permutations.

    Returns:
        The audit by the combinations of all bias columns.

    Raises:
        UsageError: A column has two roles, or the aligned values do not fit (``AlignmentError``).
        DataError: The file is missing, damaged, of another format, or without rows; a column is missing;
            values are missing; label and prediction write their classes in different ways; or there are
            too many classes or groups.
    """
    from biascon.auditing.prediction_file import PredictionFile

    path = Path(path)
    names = [label, *bias, prediction, *scores]
    if not bias:
        raise UsageError("expected at least one bias column, but got none")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise UsageError(
            "expected label, prediction, bias and scores in columns of their own, but got "
            f"'{duplicates[0]}' twice"
        )
    file = PredictionFile(
        path, wanted=names, delimiter=delimiter, decimal=decimal, keep_words=keep_words
    )
    file.require(names)
    counts = RowCounts(label, bias, prediction)
    for columns in file.parts(counts.names):
        counts.add(columns)
    source = AuditSource(label, prediction, file.name, file.source.sha256)
    inputs = _AuditInput(
        counts, aligned, source, f"{file.name}: ", drop_missing, seed, tuple(file.notes)
    )
    if not scores:
        return _build_audit(inputs, None)
    return _build_audit(inputs, lambda: file.scored_parts(counts.names, scores))


def _build_audit(inputs: _AuditInput, scored_parts: ScoredParts | None) -> Audit:
    """Return the audit by all bias columns.

    Args:
        inputs: The counted rows and the settings.
        scored_parts: Returns the rows again, with their scores; None without scores.
    """
    bias = inputs.counts.bias
    check_aligned_values(inputs.aligned, [*bias, PRODUCT.join(bias)])
    rows = check_rows(inputs.counts, prefix=inputs.prefix, drop_missing=inputs.drop_missing)
    notes = [*inputs.notes, *rows]
    scores = None
    if scored_parts is not None:
        scores, score_notes = _add_calibration(inputs, scored_parts)
        notes += score_notes
    single = {name: _audit_by(inputs, [k], notes, scores, {}) for k, name in enumerate(bias)}
    if len(bias) == 1:
        return single[bias[0]]
    return _audit_by(inputs, range(len(bias)), notes, scores, single)


def _add_calibration(inputs: _AuditInput, scored_parts: ScoredParts) -> tuple[ScoreSums, list[str]]:
    """Return the sums of scores, and notes about scores and about rows without a score.

    Raises:
        UsageError: Scores of arrays do not fit the classes or are no probabilities.
        DataError: The same for scores in a file; or rows lack a score and are not to be left out.
    """
    prefix = inputs.prefix
    try:
        sums = sum_all_scores(inputs.counts, scored_parts())
    except UsageError as error:
        if not prefix:
            raise
        raise DataError(f"{prefix}{error}") from error
    notes = sums.notes()
    if not sums.n_missing:
        return sums, notes
    message = f"{sums.n_missing:,} of {inputs.counts.n_complete:,} rows lack a score"
    if not inputs.drop_missing:
        raise DataError(
            f"{prefix}{message}; --drop-missing (drop_missing=True) leaves them out of the calibration"
        )
    return sums, [*notes, f"left out of the calibration: {message}"]


def _audit_by(
    inputs: _AuditInput,
    columns: Sequence[int],
    notes: Sequence[str],
    scores: ScoreSums | None,
    by_feature: dict[str, Audit],
) -> Audit:
    """Return the audit by the combinations of the values of some bias columns.

    Args:
        inputs: The counted rows and the settings.
        columns: The positions of the bias columns, from 0.
        notes: Notes about the rows.
        scores: The sums of scores, None without scores.
        by_feature: The audits by each of the columns alone; empty for one column.
    """
    counts = inputs.counts
    classes, groups, table = counts.classes, counts.groups(columns), counts.table(columns)
    names = tuple(counts.bias[k] for k in columns)
    group_names = [PRODUCT.join(group) for group in groups]
    alignment = align_cells(
        PRODUCT.join(names),
        classes,
        counts.labels,
        group_names,
        inputs.aligned,
        has_several_biases=counts.n_bias > 1,
    )
    record = compute_audit(
        table,
        classes,
        group_names,
        add_doubt(alignment, table),
        source=inputs.source,
        bias=PRODUCT.join(names),
        dropped=counts.n_incomplete,
        notes=notes,
        seed=inputs.seed,
        scores=None if scores is None else scores.by_columns(columns, groups),
    )
    return Audit(record, names, tuple(groups), by_feature)
