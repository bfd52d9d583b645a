"""Values of arrays: numbers and text, the forms of sensitive features, and arrays that do not fit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

import biascon
from biascon.data.values import normalize_value
from biascon.errors import DataError, UsageError


def test_numbers_and_their_text_are_one_value() -> None:
    assert {
        normalize_value(v) for v in (1, 1.0, "1", "1.0", np.int8(1), np.float32(1), Decimal("1.00"))
    } == {"1"}
    others = {"01": "01", "1e3": "1e3", "0.10": "0.10", -0.0: "0", "-0.0": "0", 1e300: "1e+300",
              True: "True", b"x": "x", " a b\n": "a b", "  ": None}  # fmt: skip
    for value, text in others.items():
        assert normalize_value(value) == text
    assert normalize_value(np.bool_(False)) == "False"
    assert [normalize_value(v) for v in (None, float("nan"), pd.NA, pd.NaT, np.nan)] == [None] * 5


def test_a_column_of_mixed_types_has_two_classes() -> None:
    result = biascon.audit(
        [1, "1", 1.0, 0], ["1.0", 1, 1, "0"], sensitive_features=["a", "a", "b", "b"]
    )
    assert result.data["labels"] == ["0", "1"]
    assert result.overall["top1"] == 1.0


def test_classes_are_sorted_as_numbers_then_text() -> None:
    y = [10, 9, 1, "x"]
    assert biascon.audit(y, y, sensitive_features=y).data["labels"] == ["1", "9", "10", "x"]


@pytest.mark.parametrize(
    ("features", "names"),
    [
        (["a", "b", "a"], ["sensitive_feature_0"]),
        (np.array([1, 2, 1]), ["sensitive_feature_0"]),
        (np.array([[1, 2], [2, 2], [1, 1]]), ["sensitive_feature_0", "sensitive_feature_1"]),
        (pd.Series(["a", "b", "a"], name="sex"), ["sex"]),
        (pd.Series(["a", "b", "a"], dtype="category"), ["sensitive_feature_0"]),
        (pd.DataFrame({"sex": [1, 2, 1], 7: [1, 1, 2]}), ["sex", "7"]),
        ({"sex": [1, 2, 1], "age": (1, 1, 2)}, ["sex", "age"]),
        ([[1, 2, 1], np.array([1, 1, 2])], ["sensitive_feature_0", "sensitive_feature_1"]),
    ],
)
def test_sensitive_features_have_the_forms_of_fairlearn(features: Any, names: list[str]) -> None:
    result = biascon.audit([0, 1, 1], [0, 1, 0], sensitive_features=features)
    assert list(result.columns) == names
    assert result.data["rows"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0], [0, 1]), "expected equally many rows"),
        (([0, 1], np.zeros((2, 2)), [0, 1]), "expected y_pred of shape (N,), but got (2, 2)"),
        (([0, 1], [0, 1], {}), "at least one sensitive feature"),
    ],
)
def test_arrays_of_other_shapes_are_a_usage_error(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError) as error:
        biascon.audit(*arguments[:2], sensitive_features=arguments[2])
    assert message in str(error.value)


def test_a_list_as_a_value_is_a_data_error() -> None:
    with pytest.raises(DataError, match="y_true cannot be counted"):
        biascon.audit([[0], [1, 2]], [0, 1], sensitive_features=[0, 1])


def test_scores_in_place_of_classes_are_a_data_error() -> None:
    scores = np.linspace(0, 1, 1500)
    with pytest.raises(DataError, match=r"at most 1,000 classes.*'y_pred' an id, a score"):
        biascon.audit(np.zeros(1500), scores, sensitive_features=np.zeros(1500))


@pytest.mark.parametrize("swap", [False, True])
def test_true_and_false_equal_1_and_0_if_the_other_column_has_numbers(swap: bool) -> None:
    y, scores = np.array([0, 1, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.3, 0.8])
    columns = [y, scores > 0.5]
    result = biascon.audit(*columns[:: -1 if swap else 1], sensitive_features=list("aabba"))
    assert result.data["labels"] == ["0", "1"]
    assert result.overall["top1"] == 0.8
    assert result.notes[0] == "True and False are taken as 1 and 0"
    booleans = biascon.audit(y > 0, scores > 0.5, sensitive_features=list("aabba"))
    assert booleans.data["labels"] == ["False", "True"]
    assert (
        booleans.data["counts"]
        == biascon.audit(y, columns[1], sensitive_features=list("aabba")).data["counts"]
    )
