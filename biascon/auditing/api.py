"""Audits of the predictions of any model: from arrays (``audit``) or from a file (``audit_file``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biascon.auditing.build import AuditInput, build_audit
from biascon.auditing.options import make_options
from biascon.auditing.record import AuditSource
from biascon.auditing.result import Audit
from biascon.auditing.rows.calibration import score_matrix
from biascon.auditing.rows.second_pass import RowPart
from biascon.data.alignment import AlignedValues
from biascon.data.values import CodedColumn, check_keep_words
from biascon.errors import UsageError
from biascon.utils.text import quote_some
from biascon.utils.types import Array

if TYPE_CHECKING:
    from biascon.auditing.reading.prediction_file import PredictionFile

__all__ = ["Audit", "audit", "audit_file"]


def audit(
    y_true: Any,
    y_pred: Any,
    *,
    sensitive_features: Any,
    scores: Any = None,
    aligned: AlignedValues | None = None,
    drop_missing: bool = False,
    keep_words: Collection[str] = (),
    positive: Any = None,
    min_group: int = 0,
    reference: Any = None,
    bins: Mapping[str, Sequence[float]] | None = None,
    pairs: bool = False,
    sample_weight: Any = None,
    baseline: Any = None,
    training: Any = None,
    seed: int = 0,
) -> Audit:
    """Measure predictions by groups: accuracy, worst group, fairness, each with its n and 95 % interval.

    Args:
        y_true: Labels ``(N,)`` of any type. 1, 1.0 and "1" are the same value.
        y_pred: Predicted labels ``(N,)``.
        sensitive_features: The values that group the rows: ``(N,)`` or ``(N, F)`` values, a Series, a
            DataFrame, a dict of arrays, or a list of arrays. With several features, the groups are the
            combinations that occur, and ``.by_feature`` has the audit by each feature alone.
        scores: Probabilities: ``(N, K)`` for the classes in order, or ``(N,)`` for the positive class.
        aligned: The bias values that go with each label: ``{label: value or values}``. For several
            features: ``{feature: {label: ...}}``. Without it, cells with label = bias are aligned if both
            columns have the same values and these are names, not codes such as 0 and 1. Otherwise alignment
            is unknown.
        drop_missing: Whether to leave out rows that lack a value. Otherwise such rows are an error.
        keep_words: Words such as "None" or "NA" that are values here. By default, the words that
            ``pandas.read_csv`` reads as missing are missing values, in text of any kind.
        positive: The positive class. None stands for the second of two labels, and for the mean over classes
            with more labels.
        min_group: Groups with fewer rows are left out of the comparisons and of the worst group.
        reference: The reference group: a value; for several features a list with a value for each, or
            ``{feature: value}``.
        bins: The edges of the bins of numeric features: ``{feature: edges}``. A bin has its lower edge; the
            last one has both. Values outside are in bins of their own.
        pairs: Whether ``.by_pair`` has the audit by every pair of three or more features.
        sample_weight: The weight of each row, ``(N,)``, at least 0.
        baseline: The predictions ``(N,)`` of a baseline, compared row by row. Not with weights.
        training: The training rows ``(labels, features)``, in the forms of ``y_true`` and
            ``sensitive_features``: every cell then counts in the adjusted average accuracy by its share of
            them.
        seed: The seed of the bootstrap and of the permutations.

    Returns:
        The audit by the combinations of all features.

    Raises:
        UsageError: The arrays differ in length, an array has another shape, or the aligned values
            (``AlignmentError``), the positive class, the reference or the bins do not fit.
        DataError: There are no rows, values are missing, label and prediction write their classes in
            different ways, or there are too many classes or groups.

    >>> result = audit([0, 0, 1, 1], [0, 0, 1, 0], sensitive_features=["a", "b", "a", "b"])
    >>> float(result.overall["top1"]), result.by_group["accuracy"].to_dict()
    (0.75, {'a': 1.0, 'b': 0.5})
    """
    from biascon.auditing.reading.array_input import code_array, named_features, reading

    features = named_features(sensitive_features)
    with reading("settings"):
        words = check_keep_words(keep_words)
        options = make_options(
            list(features), positive=positive, min_group=min_group, reference=reference, bins=bins,
            pairs=pairs, seed=seed, keep_words=words,
        )  # fmt: skip
    columns = [
        code_array("y_true", y_true, words),
        *(code_array(name, values, words) for name, values in features.items()),
        code_array("y_pred", y_pred, words),
    ]
    other = None if baseline is None else code_array("baseline", baseline, words)
    names = ["y_true", *features, "y_pred"]
    lengths = {name: len(c.codes) for name, c in zip(names, columns, strict=True)}
    if other is not None:
        lengths["baseline"] = len(other.codes)
    if len(set(lengths.values())) > 1:
        raise UsageError(f"expected equally many rows, but got {lengths}")
    n = len(columns[0].codes)
    weights = None if sample_weight is None else _weight_array(sample_weight, n)
    train = None if training is None else _training_columns(training, list(features), words)
    part = RowPart(columns, None if scores is None else _score_array(scores, n), weights, other)
    return build_audit(
        AuditInput(
            names=names,
            parts=lambda: [part],
            aligned=aligned,
            source=AuditSource("y_true", "y_pred"),
            prefix="",
            drop_missing=drop_missing,
            options=options,
            n_scores=0 if part.scores is None else part.scores.shape[1],
            weight=None if weights is None else "sample_weight",
            baseline=None if other is None else "baseline",
            training=None if train is None else lambda: [train],
        )
    )


def _training_columns(
    training: Any, features: Sequence[str], words: Collection[str]
) -> list[CodedColumn]:
    """Return the columns of training rows: label, features.

    Raises:
        UsageError: They are no pair, have other features, or differ in length.
    """
    from biascon.auditing.reading.array_input import code_array, named_features

    if not isinstance(training, list | tuple) or len(training) != 2:
        raise UsageError("expected training rows as a pair (labels, features)")
    others = named_features(training[1])
    if set(others) != set(features):
        raise UsageError(
            f"expected training rows with the features {quote_some(features)}, but got {quote_some(others)}"
        )
    columns = [
        code_array("labels of training", training[0], words),
        *(code_array(name, others[name], words) for name in features),
    ]
    lengths = sorted({len(column.codes) for column in columns})
    if len(lengths) > 1:
        raise UsageError(f"expected equally many training rows, but got {lengths}")
    return columns


def _score_array(scores: Any, n: int) -> Array:
    """Return scores as ``score_matrix`` does, of any library."""
    from biascon.auditing.reading.array_input import host_scores, reading

    with reading("arrays"):
        return score_matrix(host_scores(scores), n)


def _weight_array(sample_weight: Any, n: int) -> Array:
    """Return weights as float64 ``(N,)``.

    Raises:
        UsageError: They have another shape or are no numbers.
    """
    from biascon.auditing.reading.array_input import host_values, reading

    with reading("arrays"):
        try:
            weights = np.asarray(host_values("sample_weight", sample_weight), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"expected weights to be numbers, but got other values ({error})"
            ) from error
    if weights.shape != (n,):
        raise UsageError(f"expected weights of shape ({n},), but got {weights.shape}")
    return weights


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
    positive: Any = None,
    min_group: int = 0,
    reference: Any = None,
    bins: Mapping[str, Sequence[float]] | None = None,
    pairs: bool = False,
    weight: str | None = None,
    baseline: str | None = None,
    training: Path | str | None = None,
    seed: int = 0,
) -> Audit:
    """Measure the predictions in a file by groups. The file is read in parts.

    Args:
        path: A CSV with a header or JSON lines, in UTF-8, plain or compressed; a Parquet file; an Arrow IPC
            file (Feather); ``-`` for standard input.
        label: The column of labels.
        prediction: The column of predicted labels.
        bias: One or more bias columns. With several, the groups are the combinations that occur.
        scores: Columns of probabilities: one for each class in order, or one for the positive class.
        aligned: As for ``audit``.
        drop_missing: As for ``audit``.
        keep_words: As for ``audit``.
        delimiter: The delimiter of a CSV, as itself or ``tab``; None to recognize it from the header.
        decimal: The decimal mark of a CSV, ``.`` or ``,``; None to recognize it from the first rows.
        positive: As for ``audit``.
        min_group: As for ``audit``.
        reference: As for ``audit``.
        bins: As for ``audit``.
        pairs: As for ``audit``.
        weight: The column of weights.
        baseline: The column of the predictions of a baseline.
        training: A file of the training rows with the label and the bias columns: every cell then counts in
            the adjusted average accuracy by its share of them.
        seed: The seed of the bootstrap and of the permutations.

    Returns:
        The audit by the combinations of all bias columns.

    Raises:
        UsageError: A column has two roles, or the aligned values (``AlignmentError``), the positive class,
            the reference or the bins do not fit.
        DataError: The file is missing, damaged, of another format, or without rows; a column is missing;
            values are missing; label and prediction write their classes in different ways; or there are
            too many classes or groups.
    """
    from biascon.auditing.reading.prediction_file import PredictionFile

    path = Path(path)
    options = make_options(
        bias, positive=positive, min_group=min_group, reference=reference, bins=bins, pairs=pairs,
        seed=seed, keep_words=keep_words,
    )  # fmt: skip
    names = [label, *bias, prediction]
    _check_roles(bias, [*names, *scores, *(x for x in (weight, baseline) if x is not None)])
    texts, numbers = _columns_to_read(names, scores, weight, baseline)
    file = PredictionFile(
        path,
        wanted=[*texts, *numbers],
        delimiter=delimiter,
        decimal=decimal,
        keep_words=keep_words,
    )
    file.require([*texts, *numbers])

    train = None if training is None else PredictionFile(Path(training), wanted=names[:-1])
    return build_audit(
        AuditInput(
            names=names,
            parts=lambda: _read_parts(file, names, scores, weight, baseline),
            aligned=aligned,
            source=AuditSource(label, prediction, file.name, file.source.sha256),
            prefix=f"{file.name}: ",
            drop_missing=drop_missing,
            options=options,
            n_scores=len(scores),
            weight=weight,
            baseline=baseline,
            plain_parts=lambda: file.parts(names),
            notes=file.notes,
            training=None if train is None else lambda: train.parts(names[:-1]),
            training_prefix="" if train is None else f"{train.name}: ",
        )
    )


def _columns_to_read(
    names: Sequence[str], scores: Sequence[str], weight: str | None, baseline: str | None
) -> tuple[list[str], list[str]]:
    """Return the columns of values and the columns of numbers of a file."""
    texts = [*names, *([] if baseline is None else [baseline])]
    return texts, [*scores, *([] if weight is None else [weight])]


def _read_parts(
    file: PredictionFile,
    names: Sequence[str],
    scores: Sequence[str],
    weight: str | None,
    baseline: str | None,
) -> Iterator[RowPart]:
    """Yield the rows of a file in parts."""
    for columns, matrix in file.scored_parts(*_columns_to_read(names, scores, weight, baseline)):
        yield RowPart(
            columns[: len(names)],
            matrix[:, : len(scores)] if scores else None,
            None if weight is None else matrix[:, -1],
            None if baseline is None else columns[-1],
        )


def _check_roles(bias: Sequence[str], names: Sequence[str]) -> None:
    """Check that there is a bias column and that every column has one role.

    Raises:
        UsageError: This does not hold.
    """
    if not bias:
        raise UsageError("expected at least one bias column, but got none")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise UsageError(
            "expected label, prediction, bias, scores, weight and baseline in columns of their own, but got "
            f"'{duplicates[0]}' twice"
        )
