"""Audits of the features of any encoder: how well label and bias are read out of them, and their geometry."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biascon.auditing.features.arrays import convert_features, read_features
from biascon.auditing.features.columns import Column, find_complete_rows
from biascon.auditing.features.measures import measure_features
from biascon.auditing.features.record import FeatureRecord, FeatureSource
from biascon.auditing.features.text import list_numbers, render_features
from biascon.auditing.options import check_flag, check_whole
from biascon.data.values import check_keep_words
from biascon.errors import DataError, UsageError
from biascon.probing.nested import FOLDS, MIN_FOLDS
from biascon.utils.progress import Say, say_nothing

if TYPE_CHECKING:
    import pandas as pd

    from biascon.auditing.reading.prediction_file import PredictionFile


@dataclass(frozen=True)
class FeatureAudit:
    """The audit of features by one or more bias columns.

    Attributes:
        records: One record for each bias column.
    """

    records: tuple[FeatureRecord, ...]

    def __repr__(self) -> str:
        first = self.records[0]
        names = ", ".join(record.source.bias for record in self.records)
        return f"<FeatureAudit of {first.rows:,} x {first.dim:,} features by {names}>"

    def __str__(self) -> str:
        return render_features(self.records)

    @property
    def by_feature(self) -> dict[str, FeatureRecord]:
        """The records by the name of the bias column."""
        return {record.source.bias: record for record in self.records}

    @property
    def data(self) -> list[dict[str, Any]]:
        """The records as plain data, in the form that ``biascon audit --features --json`` prints."""
        return [record.to_json() for record in self.records]

    def to_frame(self) -> pd.DataFrame:
        """Return every number in long form: bias, metric, value, n, ci_low, ci_high, and the baselines."""
        import pandas as pd

        return pd.DataFrame([row for record in self.records for row in list_numbers(record)])


def audit_features(
    features: Any,
    labels: Any,
    bias: Any,
    *,
    folds: int = FOLDS,
    drop_missing: bool = False,
    keep_words: Collection[str] = (),
    seed: int = 0,
) -> FeatureAudit:
    """Measure how well label and bias are read out of features by linear probes, and their geometry.

    A readout is the accuracy of logistic regression on rows that it has not seen. The rows are divided into
    outer folds; the penalty is chosen on inner folds of the rows that a probe is fitted on. A readout of the
    bias above its baselines shows that the features hold the bias. It does not show that a classifier uses
    it.

    Args:
        features: Numbers ``(N, D)``: an array, a tensor or a DataFrame; or the path of a ``.npy``,
            ``.parquet`` or ``.safetensors`` file.
        labels: Labels ``(N,)`` of any type, in the order of the features.
        bias: Bias values: ``(N,)`` or ``(N, F)`` values, a Series, a DataFrame, a dict of arrays, or a list
            of arrays. The audit is by each column alone.
        folds: The number of outer folds, 3 or more.
        drop_missing: Whether to leave out rows that lack a label or a bias value. Otherwise such rows are an
            error.
        keep_words: Words such as ``None`` or ``NA`` that are values here, not missing values.
        seed: The seed of the folds, and of the rows whose pairs are measured.

    Returns:
        The audit, with one record for each bias column.

    Raises:
        UsageError: The numbers of rows of arrays differ, an array has another shape, or a setting is not
            allowed, such as fewer than 3 folds.
        DataError: Features are not numbers ``(N, D)`` or not finite; values are missing; a column has one
            value only, or a value in fewer rows than there are folds; or the file cannot be read or has
            another number of rows.
    """
    from biascon.auditing.reading.arrays import code_values, feature_columns

    words = check_keep_words(keep_words)
    named = feature_columns(bias)
    columns = [
        Column.of(name, [code_values(name, values, words)])
        for name, values in (("labels", labels), *named.items())
    ]
    path = Path(features) if isinstance(features, str | Path) else None
    return _audit(features, path, columns, None, folds, drop_missing, seed)


def audit_feature_file(
    features: Path,
    columns: Path,
    *,
    label: str,
    bias: Sequence[str],
    folds: int = FOLDS,
    drop_missing: bool = False,
    keep_words: Collection[str] = (),
    delimiter: str | None = None,
    decimal: str | None = None,
    seed: int = 0,
    say: Say = say_nothing,
) -> FeatureAudit:
    """Measure features in a file, with labels and bias values in the same order of rows in another one.

    Args:
        features: A ``.npy``, ``.parquet`` or ``.safetensors`` file.
        columns: A table, as for ``audit_file``.
        label: Its column of labels.
        bias: Its bias columns. The audit is by each column alone.
        folds: As for ``audit_features``.
        drop_missing: As for ``audit_features``.
        keep_words: As for ``audit_features``.
        delimiter: As for ``audit_file``.
        decimal: As for ``audit_file``.
        seed: As for ``audit_features``.
        say: Called with a line of progress every few seconds.

    Raises:
        UsageError: A column has two roles, or there are fewer than 3 folds.
        DataError: As for ``audit_features``, or the table cannot be read.
    """
    from biascon.auditing.reading.prediction_file import PredictionFile

    names = [label, *bias]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(
            f"expected label and bias in columns of their own, but got '{repeated[0]}' twice"
        )
    file = PredictionFile(
        columns, wanted=names, delimiter=delimiter, decimal=decimal, keep_words=keep_words
    )
    file.require(names)
    parts = list(file.parts(names))
    coded = [Column.of(name, [part[k] for part in parts]) for k, name in enumerate(names)]
    return _audit(features, features, coded, file, folds, drop_missing, seed, say)


def _audit(
    features: Any,
    path: Path | None,
    columns: Sequence[Column],
    table: PredictionFile | None,
    folds: int,
    drop_missing: bool,
    seed: int,
    say: Say = say_nothing,
) -> FeatureAudit:
    """Return the audit of features by bias columns; the first column is the label."""
    from biascon.utils.files import sha256_file

    check_whole("folds", folds, MIN_FOLDS)
    check_whole("seed", seed)
    check_flag("drop_missing", drop_missing)
    x = convert_features(features) if path is None else read_features(path)
    where = "the features" if path is None else str(path)
    for column in columns:
        if len(column.codes) != len(x):
            kind = UsageError if path is None and table is None else DataError
            raise kind(
                f"expected one value of '{column.name}' for each row of the features, in the same order, but "
                f"{where} ha{'ve' if path is None else 's'} {len(x):,} rows and '{column.name}' has "
                f"{len(column.codes):,}"
            )
    kept = find_complete_rows(columns, drop_missing=drop_missing)
    source = FeatureSource(
        columns[0].name,
        "",
        None if path is None else str(path),
        None if path is None else sha256_file(path),
        None if table is None else table.name,
    )
    return FeatureAudit(
        measure_features(
            x if len(kept) == len(x) else x[kept],
            [column.take(kept) for column in columns],
            source,
            notes=() if table is None else table.notes,
            dropped=len(x) - len(kept),
            folds=folds,
            seed=seed,
            say=say,
        )
    )
