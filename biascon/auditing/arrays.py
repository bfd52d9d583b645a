"""Arrays, Series, DataFrames and lists as columns of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from biascon.data.values import CodedColumn, normalize_value
from biascon.errors import DataError, UsageError

DEFAULT = "sensitive_feature_{}"  # the name that fairlearn gives a feature without one


def feature_columns(given: Any) -> dict[str, Any]:
    """Return sensitive features by name.

    Args:
        given: A Series, a DataFrame, a mapping of arrays, a list of arrays, or values ``(N,)`` or ``(N, F)``.

    Raises:
        UsageError: Two have the same name, or there is none.
    """
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        names = [str(name) for name in given.columns]
        pairs: list[tuple[str, Any]] = [(name, given.iloc[:, k]) for k, name in enumerate(names)]
    elif isinstance(given, Mapping):
        pairs = [(str(name), column) for name, column in given.items()]
    elif isinstance(given, pd.Series):
        pairs = [(DEFAULT.format(0) if given.name is None else str(given.name), given)]
    elif isinstance(given, list | tuple) and given and all(_is_column(part) for part in given):
        pairs = [
            (str(getattr(part, "name", None) or DEFAULT.format(k)), part)
            for k, part in enumerate(given)
        ]
    else:
        array = (
            np.asarray(given, dtype=object)
            if isinstance(given, list | tuple)
            else np.asarray(given)
        )
        columns = [array] if array.ndim < 2 else list(array.T)
        pairs = [(DEFAULT.format(k), column) for k, column in enumerate(columns)]
    found = dict(pairs)
    if not found:
        raise UsageError("expected at least one sensitive feature, but got none")
    if len(found) < len(pairs):
        raise UsageError(
            f"expected sensitive features of different names, but got {[k for k, _ in pairs]}"
        )
    return found  # fmt: skip


def _is_column(part: Any) -> bool:
    return isinstance(part, list | tuple) or getattr(part, "ndim", 0) == 1


def code_values(name: str, values: Any) -> CodedColumn:
    """Return one column of values, coded.

    Args:
        name: What it is called, for errors.
        values: ``(N,)`` or ``(N, 1)``.

    Raises:
        UsageError: Another shape.
        DataError: A value that is a list, a mapping or bytes that are not UTF-8.
    """
    import pandas as pd

    if isinstance(values, pd.DataFrame) and values.shape[1] == 1:
        values = values.iloc[:, 0]
    if isinstance(values, list | tuple):
        held = np.empty(len(values), dtype=object)  # so that 1 and "1" stay what they are
        held[:] = values
        values = held
    elif not isinstance(values, pd.Series | pd.Categorical | pd.Index):
        values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise UsageError(f"expected {name} of shape (N,), but got {tuple(values.shape)}")
    try:
        codes, found = pd.factorize(values)
        if found.dtype.kind in "mM":
            found = pd.Index(found)  # its values print as those of a file do
        texts = [normalize_value(value) for value in found]
    except (TypeError, DataError) as error:  # what cannot be hashed is no value
        raise DataError(f"{name} cannot be counted: {error}") from error
    return CodedColumn(np.asarray(codes), texts)
