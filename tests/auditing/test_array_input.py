"""Arrays of other libraries: tensors with gradient, masked values, tables; input that is no array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import biascon
from biascon.auditing.reading.array_input import host_values
from biascon.errors import AlignmentError, BiasconError, UsageError

Y, P, G = [0, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0], [1, 1, 1, 2, 2, 2]
SCORES = np.array([0.1, 0.9, 0.6, 0.7, 0.3, 0.2])
EXPECTED = biascon.audit(Y, P, sensitive_features=G, scores=SCORES).data


def leaf(values: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(
    "convert",
    [
        leaf,
        lambda values: leaf(values) * 1,  # a tensor with a graph
        lambda values: leaf(values, torch.bfloat16),
        lambda values: torch.tensor(values).unsqueeze(1),
        lambda values: [torch.tensor(value) for value in values],
        lambda values: [leaf(float(value)) for value in values],
        lambda values: torch.tensor(values).to_sparse(),
        pa.array,
        lambda values: pa.chunked_array([values[:2], values[2:]]),
        lambda values: np.ma.array(values, mask=False),
        lambda values: (value for value in values),
    ],
)
def test_arrays_of_other_libraries_are_read(convert: Callable[[Any], Any]) -> None:
    found = biascon.audit(
        convert(Y), convert(P), sensitive_features=convert(G), scores=leaf(SCORES, torch.float64)
    )
    assert found.data == EXPECTED


def test_a_tensor_keeps_its_gradient() -> None:
    scores = leaf(SCORES)
    biascon.audit(Y, P, sensitive_features=G, scores=scores)
    assert scores.requires_grad and scores.grad is None


@pytest.mark.parametrize(
    "features",
    [
        {"a": torch.tensor(G), "b": leaf(Y)},
        torch.tensor([G, Y]).T,
        [torch.tensor(G), torch.tensor(Y)],
        pa.table({"a": G, "b": Y}),
    ],
)
def test_features_are_tensors_or_tables(features: Any) -> None:
    found = biascon.audit(Y, P, sensitive_features=features)
    expected = biascon.audit(Y, P, sensitive_features={"a": G, "b": Y})
    assert found.data["counts"] == expected.data["counts"]
    assert found.data["groups"] == expected.data["groups"]


def test_the_columns_of_an_arrow_table_keep_their_names() -> None:
    found = biascon.audit(Y, P, sensitive_features=pa.table({"sex": G, "age": Y}))
    assert found.columns == ("sex", "age")


def test_masked_values_are_missing() -> None:
    masked = np.ma.array(P, mask=[False] * 5 + [True])
    found = biascon.audit(Y, masked, sensitive_features=G, drop_missing=True)
    assert (found.record.rows, found.record.dropped) == (5, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "expected y_true to be an array, but got None"),
        ("abc", "but got str 'abc'"),
        ({"a": [1]}, "but got dict"),
        ({1, 2}, "but got set"),
        (5, "but got int 5"),
        (torch.tensor(5), "but got Tensor"),
        (np.zeros(2, dtype=[("a", "i4"), ("b", "i4")]), "named fields"),
    ],
)
def test_what_is_no_array_is_a_usage_error(values: Any, message: str) -> None:
    with pytest.raises(UsageError) as error:
        host_values("y_true", values)
    assert message in str(error.value)


class Broken:
    """A value whose every method fails."""

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("no array")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    "arguments",
    [
        {"y_true": [Broken()] * 6},
        {"y_pred": Broken()},
        {"y_pred": [Broken()] * 6},
        {"sensitive_features": Broken()},
        {"sensitive_features": [[1, 2], [3]]},
        {"scores": [[1], [1, 2]]},
        {"scores": {"a": [[1], [2, 3]]}},
        {"scores": [10**400] * 6},
        {"scores": "x"},
        {"y_true": [object()] * 3},
        {"y_true": pd.DataFrame({"a": Y, "b": Y})},
        {"y_true": [{}] * 6},
    ],
)
def test_any_bad_input_is_an_error_of_biascon(arguments: Any) -> None:
    given = {"y_true": Y, "y_pred": P, "sensitive_features": G, **arguments}
    with pytest.raises(BiasconError) as error:
        biascon.audit(given.pop("y_true"), given.pop("y_pred"), **given)
    assert len(str(error.value).splitlines()) == 1


def test_aligned_values_that_are_no_mapping_are_an_alignment_error() -> None:
    with pytest.raises(AlignmentError, match="but got a list"):
        biascon.audit(Y, P, sensitive_features=G, aligned=[1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["n", "class", "accuracy", "selection_rate", "value", "bias"])
def test_a_bias_column_may_have_the_name_of_a_result(name: str) -> None:
    for features in ({name: G}, {name: G, "other": Y}):
        audit = biascon.audit(Y, P, sensitive_features=features)
        for frame in (audit.by_group, audit.cells):
            flat = frame.reset_index()
            assert flat.columns.is_unique and len(flat.sort_values("n")) == len(frame)
        assert set(audit.to_frame()["bias"]) >= {name}
        assert audit.by_feature[name].columns == (name,)
    plain = biascon.audit(Y, P, sensitive_features={"sex": G})
    assert plain.by_group.index.name == "sex" and plain.cells.index.names == ["class", "sex"]
