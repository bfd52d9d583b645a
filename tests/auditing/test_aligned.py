"""Aligned values: from the label, from a mapping, or from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import biascon
from biascon.errors import AlignmentError
from tests.auditing.audit_cases import (
    COLUMNS,
    OK,
    audit_rows,
    error_line,
    make_rows,
    write_table,
)


@pytest.mark.parametrize("names", [["cat", "dog"], ["a", "1"], [f"{k}" for k in range(10)]])
def test_cells_with_label_equal_bias_are_aligned_for_names_in_common(names: list[str]) -> None:
    y, g = [k for k in names for _ in names], names * len(names)
    result = biascon.audit(y, g, sensitive_features=g)
    assert result.overall[["bias_aligned", "bias_conflicting"]].tolist() == [1.0, 0.0]
    assert "label = bias" in result.data["aligned"]
    assert not result.notes


@pytest.mark.parametrize(
    "codes", [[0, 1], [-1, 1], [1.5, 2.5], list(range(9)), [False, True], ["No", "yes"], ["F", "T"]]
)
def test_codes_in_common_are_not_aligned_unless_told(codes: list[Any]) -> None:
    y, g = [k for k in codes for _ in codes], codes * len(codes)
    result = biascon.audit(y, g, sensitive_features={"g": g})
    assert result.data["bias_aligned"] == {"value": None, "n": 0, "ci": [None, None]}
    assert result.data["aligned"].startswith("not known: equal codes")
    assert "no reason to take label = bias as aligned; --aligned (aligned=)" in result.notes[0]
    told = biascon.audit(y, g, sensitive_features={"g": g}, aligned={k: k for k in codes})
    assert told.overall[["bias_aligned", "bias_conflicting"]].tolist() == [1.0, 0.0]


def test_aligned_accuracy_below_conflicting_is_noted() -> None:
    rng = np.random.default_rng(0)
    y, g = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    for share, is_noted in ((0.9, True), (0.5, False), (0.1, False)):
        follows = rng.random(400) < share
        p = np.where(follows, 1 - g, g)  # opposite to the bias, or with it
        result = biascon.audit(y, p, sensitive_features=g, aligned={0: 0, 1: 1})
        notes = [note for note in result.notes if "is below bias-conflicting" in note]
        assert bool(notes) is is_noted
        assert all("are the aligned values right?" in note for note in notes)


def test_aligned_values_select_the_aligned_rows() -> None:
    df = make_rows(classes=2, groups=3)
    overall = audit_rows(df, aligned={0: "a", 1: ["b", "c"]}).overall
    is_aligned = ((df.y == 0) & (df.g == "a")) | ((df.y == 1) & df.g.isin(["b", "c"]))
    is_correct = df.y == df.p
    assert overall["bias_aligned_samples"] == is_correct[is_aligned].mean()
    assert overall["bias_conflicting_samples"] == is_correct[~is_aligned].mean()


def test_unknown_alignment_gives_undefined_metrics_without_rows() -> None:
    result = audit_rows(make_rows())
    for name in ("bias_aligned", "bias_conflicting_samples"):
        assert result.data[name] == {"value": None, "n": 0, "ci": [None, None]}
    assert result.data["aligned"].startswith("not known")


def test_aligned_values_for_one_of_two_columns() -> None:
    result = audit_rows(make_rows(classes=2), "g", "h", aligned={"g": {0: ["a", "b"], 1: "c"}})
    assert result.by_feature["g"].data["aligned"] == "as given"
    assert result.by_feature["h"].data["aligned"].startswith("not known: equal codes")
    assert result.data["aligned"].startswith("not known")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", '"0" = ["a", "b"]\n1 = "c"\n'),
        ("a.toml", '[g]\n0 = ["a", "b"]\n1 = ["c"]\n'),
        ("a.json", '{"0": ["a", "b"], "1": "c"}'),
        ("a.json", '{"g": {"0": ["a", "b"], "1": "c"}}'),
        ("a.csv", "label,bias\n0,a\n0,b\n1,c\n"),
        ("a.csv", "column,label,bias\ng,0,a\ng,0,b\ng,1,c\n"),
    ],
)
def test_every_file_format_gives_the_same_alignment(
    cli: Any, tmp_path: Path, name: str, text: str
) -> None:
    df = make_rows(classes=2)
    path = write_table(tmp_path, "x.csv", df)
    outcome = cli(
        "audit", path, *COLUMNS, "--json", "--aligned", write_table(tmp_path, name, text.encode())
    )
    data = json.loads(outcome.out)
    expected = audit_rows(df, aligned={0: ["a", "b"], 1: "c"}).data
    assert data["aligned"] == "as given"
    assert data["bias_aligned"] == expected["bias_aligned"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "0 = ", "is not valid TOML"),
        ("a.json", "[]", "expected an object"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", '{"0": null, "1": "a"}', "a missing value for label '0'"),
        ("a.csv", "label,bias\n", "expected a header and rows"),
        ("a.csv", "label,bias\n0,a\n1\n", "expected a header and rows"),
        ("a.txt", "", "expected a .toml, .json or .csv file"),
        ("a.toml", '0 = "a"', "no entry for label '1'"),
        ("a.toml", '[G]\n0 = "a"\n', "'G', which is no bias column"),
        ("a.toml", '0 = "a"\n[g]\n0 = "a"', "but got a mixture"),
    ],
)
def test_a_bad_file_of_aligned_values_is_one_line(
    cli: Any, tmp_path: Path, name: str, text: str, message: str
) -> None:
    write_table(tmp_path, "ok.csv", OK)
    line = error_line(
        cli("audit", "ok.csv", *COLUMNS, "--aligned", write_table(tmp_path, name, text.encode()))
    )
    assert message in line
    assert name in line


def test_a_missing_file_of_aligned_values_is_an_error(cli: Any, tmp_path: Path) -> None:
    write_table(tmp_path, "ok.csv", OK)
    assert "cannot read no.toml" in error_line(
        cli("audit", "ok.csv", *COLUMNS, "--aligned", "no.toml")
    )


def test_one_mapping_for_several_columns_is_ambiguous() -> None:
    with pytest.raises(AlignmentError, match="for each bias column"):
        audit_rows(make_rows(), "g", "h", aligned={0: "a"})


def test_other_usage_errors_do_not_name_the_file_of_aligned_values(
    cli: Any, tmp_path: Path
) -> None:
    """The class of an error decides, not its text: this column is named like the message."""
    write_table(tmp_path, "ok.csv", OK)
    aligned = write_table(tmp_path, "a.toml", b'0 = "a"\n1 = "b"\n')
    words = ("--label", "aligned values", "--prediction", "aligned values", "--bias", "g")
    line = error_line(cli("audit", "ok.csv", *words, "--aligned", aligned), 2)
    assert "but got 'aligned values' twice" in line
    assert "a.toml" not in line


def test_aligned_values_that_do_not_occur_are_noted() -> None:
    result = audit_rows(make_rows(classes=2), aligned={0: ["a", "A"], 1: [], 5: "c"})
    assert result.notes == (
        "aligned values are given for label '5', which does not occur",
        "aligned values of 'g' name 'A', which does not occur",
    )
