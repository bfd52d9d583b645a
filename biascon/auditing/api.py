"""Audits of predictions of any model: from arrays (``audit``) or from a file (``audit_file``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from biascon.auditing.calibration import missing_score_notes, score_matrix, sum_all_scores
from biascon.auditing.record import PRODUCT, compute_audit
from biascon.auditing.result import Audit
from biascon.auditing.row_counts import RowCounts
from biascon.data.alignment import AlignedValues, align_cells, check_aligned_values
from biascon.data.values import CodedColumn
from biascon.errors import DataError, UsageError

__all__ = ["Audit", "audit", "audit_file"]


def audit(
    y_true: Any,
    y_pred: Any,
    *,
    sensitive_features: Any,
    scores: Any = None,
    aligned: AlignedValues | None = None,
    drop_missing: bool = False,
    seed: int = 0,
) -> Audit:
    """Measure predictions by groups: accuracy, worst group, fairness, each with its n and 95 % interval.

    Args:
        y_true: ``(N,)`` labels: any values; 1, 1.0 and "1" are one.
        y_pred: ``(N,)`` predicted labels.
        sensitive_features: What groups the rows: ``(N,)`` or ``(N, F)`` values, a Series, a DataFrame, a
            dict of arrays, or a list of arrays. Of several, the groups are the combinations that occur,
            and ``.by_feature`` has each alone.
        scores: Probabilities for the calibration: ``(N, K)`` for the classes in order, or ``(N,)`` for the
            second of two.
        aligned: Which bias values go with a label: ``{label: value or values}``; for several features
            ``{feature: {label: ...}}``. Without it, aligned means label = bias where both have the same
            values, and is else not known.
        drop_missing: Whether rows that lack a value are left out; else they are refused.
        seed: Of the bootstrap.

    Raises:
        UsageError: Arrays of different length or shape, or aligned values that do not fit.
        DataError: No rows, missing values, or too many classes or groups.

    >>> found = audit([0, 0, 1, 1], [0, 0, 1, 0], sensitive_features=["a", "b", "a", "b"])
    >>> float(found.overall["top1"]), found.by_group["accuracy"].to_dict()
    (0.75, {'a': 1.0, 'b': 0.5})
    """
    from biascon.auditing.arrays import code_values, feature_columns

    columns = feature_columns(sensitive_features)
    tally = RowCounts("y_true", list(columns), "y_pred")
    parts = [code_values("y_true", y_true), *(code_values(k, v) for k, v in columns.items())]
    parts.append(code_values("y_pred", y_pred))
    lengths = {name: len(part.codes) for name, part in zip(tally.names, parts, strict=True)}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"expected equally many rows, but got {lengths}")
    tally.add(parts)
    about = {"label": "y_true", "prediction": "y_pred"}
    told = None if scores is None else score_matrix(scores, tally.rows)
    again = None if told is None else lambda: [(parts, told)]
    return _build_audit(tally, aligned, about, "", again, drop_missing=drop_missing, seed=seed)


def audit_file(
    path: Path | str,
    *,
    label: str,
    prediction: str,
    bias: Sequence[str],
    scores: Sequence[str] = (),
    aligned: AlignedValues | None = None,
    drop_missing: bool = False,
    seed: int = 0,
) -> Audit:
    """Measure the predictions in a CSV or Parquet file by groups, reading it in parts.

    Args:
        path: A CSV with a header, in UTF-8, plain or compressed; or a Parquet file.
        label: The column of labels.
        prediction: The column of predicted labels.
        bias: One or more bias columns; of several, the groups are the combinations that occur.
        scores: Columns of probabilities: one for each class, in order, or one for the second of two.
        aligned: As for ``audit``.
        drop_missing: As for ``audit``.
        seed: Of the bootstrap.

    Raises:
        UsageError: A column in two roles, or aligned values that do not fit.
        DataError: A file that is missing, damaged or of another kind, without rows or columns that are
            needed, with missing values, or with too many classes or groups.
    """
    from biascon.auditing.prediction_file import PredictionFile
    from biascon.utils.files import sha256_file

    path = Path(path)
    names = [label, *bias, prediction, *scores]
    if not bias:
        raise UsageError("expected at least one bias column, but got none")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"expected label, prediction, bias and scores in columns of their own, but got '{twice[0]}' twice"
        )
    file = PredictionFile(path)
    file.require(names)
    tally = RowCounts(label, bias, prediction)
    for part in file.parts(tally.names):
        tally.add(part)
    about = {
        "predictions": str(path),
        "sha256": sha256_file(path),
        "label": label,
        "prediction": prediction,
    }
    parts = (lambda: file.scored_parts(tally.names, scores)) if scores else None
    return _build_audit(
        tally, aligned, about, f"{path}: ", parts, drop_missing=drop_missing, seed=seed
    )


def _build_audit(
    tally: RowCounts,
    given: AlignedValues | None,
    about: Mapping[str, Any],
    where: str,
    scored: Callable[[], Iterable[tuple[Sequence[CodedColumn], Any]]] | None,
    *,
    drop_missing: bool,
    seed: int,
) -> Audit:
    bias = tally.names[1:-1]
    several = len(bias) > 1
    product = PRODUCT.join(bias)
    check_aligned_values(given, [*bias, product])
    notes = []
    if tally.rows == 0:
        raise DataError(f"{where}expected predictions, but there are no rows")
    if tally.incomplete:
        lacking = ", ".join(
            f"'{name}' in {n:,}" for name, n in zip(tally.names, tally.lacking, strict=True) if n
        )
        told = f"{tally.incomplete:,} of {tally.rows:,} rows lack a value ({lacking})"
        if not drop_missing:
            raise DataError(
                f"{where}{told}, row {tally.first_incomplete:,} first; --drop-missing (drop_missing=True) "
                "leaves them out"
            )
        if tally.counted == 0:
            raise DataError(f"{where}{told}: nothing is left")
        notes.append(f"left out: {told}")
    notes += tally.unify()
    calibrated = None
    if scored is not None:
        try:
            calibrated = sum_all_scores(tally, scored())
        except UsageError as error:
            raise (DataError(f"{where}{error}") if where else error) from error
        notes += missing_score_notes(calibrated, where, drop_missing=drop_missing)

    def one(columns: Sequence[int], by_feature: dict[str, Audit]) -> Audit:
        groups = tally.groups(columns)
        table = tally.table(columns)
        name = PRODUCT.join(bias[k] for k in columns)
        names = [PRODUCT.join(group) for group in groups]
        alignment = align_cells(name, tally.classes, tally.labels, names, given, several=several)
        data = compute_audit(
            table,
            tally.classes,
            names,
            alignment,
            about={**about, "bias": name, "dropped": tally.incomplete},
            notes=notes,
            seed=seed,
            calibrated=None if calibrated is None else calibrated.by(columns, groups),
        )
        return Audit(data, tuple(bias[k] for k in columns), tuple(groups), by_feature)

    alone = {name: one([k], {}) for k, name in enumerate(bias)}
    return one(range(len(bias)), alone) if several else alone[bias[0]]
