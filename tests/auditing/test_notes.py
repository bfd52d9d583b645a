"""Notes of an audit: why metrics are undefined, and which rows were left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import biascon
from biascon.auditing.record import METRICS
from biascon.metrics.summary import COMPARISONS
from tests.auditing.audit_cases import (
    COLUMNS,
    OK,
    audit_rows,
    error_line,
    make_rows,
    write_table,
)


def test_drop_missing_notes_the_number_of_rows(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", OK + b",1,a\n1,nan,b\n")
    data = json.loads(cli("audit", path, *COLUMNS, "--drop-missing", "--json").out)
    assert (data["rows"], data["dropped"]) == (5, 2)
    assert data["notes"] == ["left out: 2 of 7 rows lack a value ('y' in 1, 'p' in 1: 1 as 'nan')"]
    complete = json.loads(cli("audit", write_table(tmp_path, "x.csv", OK), *COLUMNS, "--json").out)
    assert [data[name] for name in METRICS] == [complete[name] for name in METRICS]


def test_only_incomplete_rows_are_an_error(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", b"y,p,g\n,1,a\n")
    assert "nothing is left" in error_line(cli("audit", path, *COLUMNS, "--drop-missing"))


def test_one_group_has_no_differences_and_ratios() -> None:
    result = biascon.audit([0, 1], [0, 1], sensitive_features=["a", "a"])
    assert result.overall[list(METRICS[-5:])].isna().all()
    assert result.notes == ("one group only, 'a': differences and ratios are undefined",)


def test_a_group_without_a_label_has_no_equal_opportunity() -> None:
    result = biascon.audit(
        [0, 1, 0, 0, 2, 2], [0, 1, 0, 1, 2, 2], sensitive_features=list("aabbab")
    )
    assert result.data["by_class"]["1"]["equal_opportunity_difference"]["value"] is None
    assert result.data["by_class"]["1"]["demographic_parity_difference"]["value"] is not None
    assert result.notes == (
        "labels without a row (n = 0) in a group: '1' in 'b': equal opportunity and equalized odds of "
        "class '1' are undefined, and so is their mean over classes",
    )


def test_a_group_of_one_label_has_no_equalized_odds() -> None:
    result = biascon.audit([0, 1, 0, 0], [0, 1, 0, 1], sensitive_features=list("aabb"))
    assert result.data["by_class"]["0"]["equalized_odds_difference"]["value"] is None
    assert result.data["by_class"]["0"]["equal_opportunity_difference"]["value"] is not None
    assert (
        "groups of one label: 'b' has only '0': equalized odds of class '0' are undefined"
        in result.notes
    )


def test_a_value_that_is_only_predicted_is_a_class_without_rows() -> None:
    result = biascon.audit([0, 1, 0, 1], [0, 2, 0, 1], sensitive_features=list("aabb"))
    assert result.data["labels"] == ["0", "1", "2"]
    assert result.overall["top1"] == 0.75
    assert result.cells.loc["2", "n_positive"].tolist() == [0, 0]
    assert result.cells.loc["2", "true_positive_rate"].isna().all()
    assert result.notes == ("classes that are predicted but are the label of no row (n = 0): '2'",)


def test_label_and_prediction_without_a_common_value_are_noted() -> None:
    result = biascon.audit(["cat", "dog"], ["bird", "fish"], sensitive_features=["a", "b"])
    assert result.notes[0] == (
        "no row is right: label ('cat', 'dog') and prediction ('bird', 'fish') have no value in common"
    )


def test_a_large_table_has_no_intervals_of_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biascon.auditing.compute.MAX_RESAMPLED", 10)
    result = audit_rows(make_rows())
    assert None not in result.data["top1"]["ci"] + result.data["worst_group"]["ci"]
    assert result.data["by_class"]["0"]["equalized_odds_difference"]["ci"] == [None, None]
    assert result.overall["top1"] == audit_rows(make_rows()).overall["top1"]
    assert result.data["disparity"] is None
    assert result.notes[-1].startswith(
        "no intervals of comparisons and no permutation tests: the table has 36 cells"
    )


def test_a_large_table_has_no_permutation_tests_and_a_note() -> None:
    rows = pd.DataFrame({"y": range(100), "p": range(100), "g": [k % 11 for k in range(100)]})
    result = audit_rows(rows)
    assert result.data["disparity"] is None
    assert result.notes[-1] == (
        "no permutation tests: the table has 110,000 cells label x group x prediction, and more than 100,000 "
        "are not permuted"
    )


def test_a_group_without_weight_is_not_compared_and_noted() -> None:
    rows = make_rows(classes=2)
    without = rows[rows.g != "a"]
    result = audit_rows(rows, sample_weight=(rows.g != "a").astype(float))
    expected = audit_rows(without, sample_weight=np.ones(len(without)))
    n = len(rows) - len(without)
    assert (
        "left out of the comparisons and of the worst group: 1 of 4 groups, in which every weight is 0: "
        f"'a' ({n}); n counts their rows"
    ) in result.notes
    assert result.by_group["compared"].tolist() == [False, True, True, True]
    for name in (*COMPARISONS, "worst_group", "average_odds_difference"):
        assert result.data[name] == expected.data[name]


def test_a_label_without_weight_in_a_group_is_noted() -> None:
    rows = make_rows(classes=2)
    weights = np.where((rows.g == "a") & (rows.y == 1), 0.0, 1.0)
    result = audit_rows(rows, sample_weight=weights)
    assert np.isnan(result.overall["equal_opportunity_difference"])
    assert (
        "labels without a row or without weight in a group: '1' in 'a': equal opportunity and equalized odds "
        "of class '1' are undefined"
    ) in result.notes
