"""The predictions of a baseline: their form is checked as that of the predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.errors import DataError
from tests.auditing.audit_cases import COLUMNS, audit_rows, error_line, make_rows, write_table


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda y: y.map({0: "no", 1: "yes"}), "'y_true' has '0', '1', 'baseline' has 'no', 'yes'"),
        (lambda y: y.map("tensor({})".format), "brackets, quotes or the name of a tensor"),
        (
            lambda y: 0.25 + 0.5 * y,
            "are they scores. pass the predicted class, such as score > 0.5$",
        ),
        (lambda y: y + 1, "if -1 is added to the prediction"),
        (lambda y: y + np.linspace(0.001, 0.9, len(y)), "fractions"),
    ],
)
def test_a_baseline_in_another_spelling_is_an_error(write: Any, message: str) -> None:
    df = make_rows(classes=2)
    with pytest.raises(DataError, match=f"label and baseline do not match: .*{message}"):
        audit_rows(df, baseline=write(df.y))


@pytest.mark.parametrize("names", [{0: "False", 1: "True"}, {0: False, 1: True}])
def test_a_baseline_of_booleans_counts_as_one_and_zero(
    names: dict[int, Any], cli: Any, tmp_path: Path
) -> None:
    df = make_rows(classes=2)
    base = (df.y + (df.index % 7 == 0)) % 2
    expected = audit_rows(df, baseline=base).baseline
    rate: Any = expected.loc[0, "baseline"]
    assert 0 < rate < 1
    result = audit_rows(df, baseline=base.map(names))
    assert result.baseline.equals(expected)
    assert "baseline 'baseline': True and False are taken as 1 and 0" in result.notes
    booleans = df.assign(y=df.y.map(names), p=df.p.map(names))
    assert audit_rows(booleans, baseline=base).baseline.equals(expected)
    path = write_table(tmp_path, "x.csv", df.assign(base=base.map(names)))
    outcome = cli("audit", path, *COLUMNS, "--baseline-prediction", "base")
    assert f"{100 * rate:.1f}" in outcome.out


def test_a_file_and_its_baseline_are_named_in_the_error(cli: Any, tmp_path: Path) -> None:
    df = make_rows(classes=2)
    path = write_table(tmp_path, "x.csv", df.assign(base=df.y.map({0: "no", 1: "yes"})))
    line = error_line(cli("audit", path, *COLUMNS, "--baseline-prediction", "base"))
    assert "x.csv: label and baseline do not match: 'y' has '0', '1', 'base' has" in line


def test_a_baseline_of_many_values_is_an_error_and_a_useless_one_a_note() -> None:
    df = make_rows(1_100, classes=2)
    with pytest.raises(DataError, match="at most 1,000 classes, but the baseline 'baseline' has"):
        audit_rows(df, baseline=[f"id{k}" for k in range(len(df))])
    notes = " ".join(audit_rows(df, baseline=[7] * len(df)).notes)
    assert "no prediction of the baseline is right" in notes
