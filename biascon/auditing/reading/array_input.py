"""Arrays of any library as values that numpy and pandas read: tensors, masked arrays, tables of columns."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Mapping, Set
from typing import Any

import numpy as np

from biascon.auditing.reading.arrays import code_values, feature_columns
from biascon.data.values import CodedColumn
from biascon.errors import BiasconError, UsageError

_NO_COLUMNS = (str, bytes, bytearray, Mapping, Set)


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn other errors on what a user gave into a ``UsageError``.

    Values may be objects of any class, whose comparison or conversion may raise anything.

    Args:
        what: The name of what is read, in the plural.
    """
    try:
        yield
    except BiasconError:
        raise
    except Exception as error:
        message = f"the {what} cannot be read ({type(error).__name__}: {error})"
        raise UsageError(message) from error


def host_values(name: str, values: Any) -> Any:
    """Return values as a list, a pandas object or a numpy array in the memory of the host.

    A tensor of PyTorch may be on any device and may require a gradient. A masked value of numpy is missing.

    Args:
        name: The name of the values in error messages.
        values: Values of any library.

    Raises:
        UsageError: They are no values in an order: None, one text, a mapping, a set, or a single value.
    """
    import pandas as pd

    if isinstance(values, pd.DataFrame | pd.Series | pd.Index | pd.Categorical):
        return values
    if values is None or isinstance(values, _NO_COLUMNS):
        raise UsageError(f"expected {name} to be an array, but got {_describe(values)}")
    if isinstance(values, Iterator | range):
        values = list(values)
    if isinstance(values, list | tuple):
        return type(values)([_host_item(value) for value in values]) if values else values
    array = _to_numpy(values)
    if array.ndim == 0:
        raise UsageError(f"expected {name} to be an array, but got {_describe(values)}")
    return array


def host_features(features: Any) -> Any:
    """Return sensitive features with the values of ``host_values``; a table keeps the names of its columns.

    Args:
        features: Values, values by name, a list of values, or a table of pandas, Arrow or polars.

    Raises:
        UsageError: As for ``host_values``.
    """
    name = "sensitive_features"
    if isinstance(features, Mapping):
        return {key: host_values(f"'{key}'", column) for key, column in features.items()}
    if hasattr(features, "to_pandas") and hasattr(
        features, "columns"
    ):  # a table of Arrow or polars
        return features.to_pandas()
    return host_values(name, features)


def host_scores(scores: Any) -> Any:
    """Return scores with the values of ``host_values``; None stays None.

    Args:
        scores: Values ``(N,)`` or ``(N, K)``, or a mapping of values ``(N,)``.

    Raises:
        UsageError: As for ``host_values``.
    """
    if scores is None:
        return None
    if isinstance(scores, Mapping):
        return {key: host_values(f"scores '{key}'", column) for key, column in scores.items()}
    return host_values("scores", scores)


def named_features(features: Any) -> dict[str, Any]:
    """Return sensitive features by name, in the forms of ``host_features``.

    Raises:
        UsageError: As for ``host_values`` and ``feature_columns``, or the values cannot be read.
    """
    with reading("arrays"):
        return feature_columns(host_features(features))


def code_array(name: str, values: Any, keep_words: Collection[str] = ()) -> CodedColumn:
    """Return values of any library as codes; see ``code_values``.

    Raises:
        UsageError: As for ``host_values`` and ``code_values``, or the values cannot be read.
        DataError: As for ``code_values``.
    """
    with reading("arrays"):
        return code_values(name, host_values(name, values), keep_words)


def _host_item(value: Any) -> Any:
    """Return an item of a list: a tensor with one value as a number, one with more values as an array."""
    if not _is_tensor(value):
        return value
    return value.item() if value.ndim == 0 else _to_numpy(value)


def _is_tensor(values: Any) -> bool:
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    return torch is not None and isinstance(values, torch.Tensor)


def _to_numpy(values: Any) -> np.ndarray[Any, Any]:
    if _is_tensor(values):
        values = values.detach()
        if values.layout != sys.modules["torch"].strided:
            values = values.to_dense()
        values = values.cpu().resolve_conj().resolve_neg()
        if values.is_floating_point():
            values = values.double()  # numpy has no bfloat16
        return np.asarray(values.numpy())
    if isinstance(values, np.ma.MaskedArray):
        objects = np.ma.getdata(values).astype(object)
        objects[np.ma.getmaskarray(values)] = None
        return objects
    array = np.asarray(values)
    if array.dtype.names is not None:
        raise UsageError("expected one value a row, but got an array with named fields")
    return array


def _describe(values: Any) -> str:
    """Return the type of a value, or the value itself where it is short."""
    if values is None:
        return "None"
    text = repr(values)
    return f"{type(values).__name__} {text}" if len(text) <= 40 else f"a {type(values).__name__}"
