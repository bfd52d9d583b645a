"""Conversion of arrays, Series, DataFrames and lists to named columns of values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from biascon.data import values as column_values
from biascon.data.values import CodedColumn
from biascon.errors import DataError, UsageError

DEFAULT_NAME = "sensitive_feature_{}"  # fairlearn's name of a feature without a name


def feature_columns(features: Any) -> dict[str, Any]:
    """Return sensitive features by name.

    Args:
        features: A Series, a DataFrame, a mapping of arrays, a list of arrays, or values ``(N,)`` or
            ``(N, F)``.

    Raises:
        UsageError: Two features have the same name, or there is no feature.
    """
    import pandas as pd

    if isinstance(features, pd.DataFrame):
        names = [str(name) for name in features.columns]
        pairs: list[tuple[str, Any]] = [(name, features.iloc[:, k]) for k, name in enumerate(names)]
    elif isinstance(features, Mapping):
        pairs = [(str(name), column) for name, column in features.items()]
    elif isinstance(features, pd.Series):
        pairs = [
            (DEFAULT_NAME.format(0) if features.name is None else str(features.name), features)
        ]
    elif (
        isinstance(features, list | tuple)
        and features
        and all(_is_column(part) for part in features)
    ):
        pairs = [
            (str(getattr(part, "name", None) or DEFAULT_NAME.format(k)), part)
            for k, part in enumerate(features)
        ]
    else:
        array = (
            np.asarray(features, dtype=object)
            if isinstance(features, list | tuple)
            else np.asarray(features)
        )
        columns = [array] if array.ndim < 2 else list(array.T)
        pairs = [(DEFAULT_NAME.format(k), column) for k, column in enumerate(columns)]
    if not pairs:
        raise UsageError("expected at least one sensitive feature, but got none")
    columns_by_name = dict(pairs)
    if len(columns_by_name) < len(pairs):
        raise UsageError(
            f"expected sensitive features of different names, but got {[name for name, _ in pairs]}"
        )
    return columns_by_name


def _is_column(part: Any) -> bool:
    return isinstance(part, list | tuple) or getattr(part, "ndim", 0) == 1


def code_values(name: str, values: Any, keep_words: Collection[str] = ()) -> CodedColumn:
    """Return a column of values as codes.

    Args:
        name: The name of the column in error messages.
        values: Values ``(N,)`` or ``(N, 1)``.
        keep_words: Words for missing values that are values here; see ``normalize_value``.

    Raises:
        UsageError: ``values`` has another shape.
        DataError: A value is a list, a mapping or bytes that are not UTF-8.
    """
    import pandas as pd

    if isinstance(values, pd.DataFrame) and values.shape[1] == 1:
        values = values.iloc[:, 0]
    if isinstance(values, list | tuple):
        objects = np.empty(len(values), dtype=object)  # keeps the type of each value
        objects[:] = values
        values = objects
    elif not isinstance(values, pd.Series | pd.Categorical | pd.Index):
        values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise UsageError(f"expected {name} of shape (N,), but got {tuple(values.shape)}")
    try:
        codes, uniques = pd.factorize(values)
        if uniques.dtype.kind in "mM":
            uniques = pd.Index(uniques)  # dates and durations print as those from a file
        return column_values.code_values(np.asarray(codes), list(uniques), keep_words)
    except (TypeError, DataError) as error:  # TypeError: a value cannot be hashed
        raise DataError(f"{name} cannot be counted: {error}") from error
