"""Missing values: one rule for CSV files, JSON lines, Parquet, arrays and make-table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas._libs.parsers import STR_NA_VALUES
from PIL import Image

import biascon
from biascon.auditing import audit_file
from biascon.auditing.reading.prediction_file import PredictionFile
from biascon.data.values import MISSING_WORDS, normalize_value
from biascon.errors import DataError
from tests.auditing.audit_cases import COLUMNS, error_line, write_table

WORDS = sorted(MISSING_WORDS)
ROWS = pd.DataFrame({"y": [0, 1] * 20, "p": [1, 1] * 20, "g": ["a", "b"] * 10 + WORDS + ["b"]})


def test_the_words_are_those_of_pandas() -> None:
    assert MISSING_WORDS == STR_NA_VALUES


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), b" NA ", " "],
)
def test_values_of_other_types_are_missing(value: object) -> None:
    assert normalize_value(value) is None


def test_a_word_can_be_kept() -> None:
    assert normalize_value("None", {"None"}) == "None"
    assert normalize_value("nan", {"None"}) is None
    assert normalize_value("Nope") == "Nope"


def _audit_array(values: Any, **options: Any) -> biascon.Audit:
    return biascon.audit(ROWS.y, ROWS.p, sensitive_features=values, **options)


def _write(rows: pd.DataFrame, folder: Path, suffix: str) -> Path:
    path = folder / f"x.{suffix}"
    if suffix == "parquet":
        rows.to_parquet(path)
    elif suffix == "jsonl":
        rows.to_json(path, orient="records", lines=True)
    else:
        rows.to_csv(path, index=False, quoting=1 if suffix == "quoted" else 0)
    return path


@pytest.mark.parametrize("kind", ["csv", "quoted", "jsonl", "parquet"])
def test_files_have_the_rule_of_arrays(tmp_path: Path, kind: str) -> None:
    path = _write(ROWS, tmp_path, kind)

    def audit(**options: Any) -> biascon.Audit:
        return audit_file(path, label="y", prediction="p", bias=["g"], **options)

    for run in (audit, lambda **options: _audit_array(ROWS.g.to_numpy(), **options)):
        with pytest.raises(DataError, match=rf"{len(WORDS)} of 40 rows lack a value"):
            run()
        assert run(drop_missing=True).data["groups"] == ["a", "b"]
        kept = run(drop_missing=True, keep_words=["None", "NULL"])
        assert kept.data["groups"] == ["NULL", "None", "a", "b"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "category"])
def test_scores_have_the_same_words(tmp_path: Path, kind: str) -> None:
    rows = pd.DataFrame({"y": [0, 1, 0, 1], "s": ["0.25", "NA", "", " 1 "]})
    if kind == "category":
        rows["s"] = rows.s.astype("category")
    path = _write(rows, tmp_path, "parquet" if kind == "category" else kind)
    ((_, scores),) = PredictionFile(path).scored_parts(["y"], ["s"])
    assert np.array_equal(scores[:, 0], [0.25, np.nan, np.nan, 1], equal_nan=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.array(["a", "b", np.nan, "a"] * 10),  # NumPy makes the text 'nan' of it
        lambda: np.array(["a", "b", None, "a"] * 10).astype(str),
        lambda: pd.Series(["a", "b", pd.NA, "a"] * 10, dtype="string"),
        lambda: pd.Categorical(["a", "b", "NA", "a"] * 10),
        lambda: [b"a", b"b", b"nan", b"a"] * 10,
        lambda: pd.Series([1.0, 2.0, np.nan, 1.0] * 10),
    ],
)
def test_missing_values_of_arrays_are_no_group(make: Callable[[], Any]) -> None:
    with pytest.raises(DataError, match="10 of 40 rows lack a value"):
        _audit_array(make())
    assert len(_audit_array(make(), drop_missing=True).by_group) == 2


def test_the_words_are_counted_in_the_message_and_in_the_note(cli: Any, tmp_path: Path) -> None:
    rows = b"y,p,g\n" + b"1,1,a\n0,1,b\n" * 10 + b"None,1,NA\n1,1,NA\n0,0,\n0,1,nan\n"
    path = write_table(tmp_path, "x.csv", rows)
    counts = "4 of 24 rows lack a value ('y' in 1: 1 as 'None', 'g' in 4: 2 as 'NA', 1 as 'nan')"
    line = error_line(cli("audit", path, *COLUMNS))
    assert counts in line
    assert "--keep-word NA (keep_words=['NA']) counts the word as a value" in line
    words = ("audit", path, *COLUMNS, "--json", "--drop-missing")
    assert json.loads(cli(*words).out)["notes"][0] == f"left out: {counts}"
    kept = json.loads(cli(*words, "--keep-word", "NA", "--keep-word", "None").out)
    assert kept["groups"] == ["NA", "a", "b"]
    assert "None" in kept["labels"]


def test_a_kept_word_can_be_aligned() -> None:
    result = _audit_array(["None", "x"] * 20, keep_words=["None"], aligned={0: "None", 1: "x"})
    assert result.data["aligned"] == "as given"


def test_make_table_has_the_same_rule(cli: Any, tmp_path: Path) -> None:
    lines = ["f,y,g"]
    for k in range(40):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{k}.png")
        lines.append(f"{k}.png,{k % 2},{['a', 'b', 'NA', 'None'][k // 2 % 4]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    words = ("make-table", "t.csv", "--image-col", "f", "--label-col", "y", "--bias-col", "g")
    options = ("--dry-run", "--json", "--max-rejected", "1", "--val-protocol", "none")
    data = json.loads(cli(*words, *options).out)
    assert data["bias"]["values"] == ["a", "b"]
    assert data["reasons"] == {"no g ('NA')": 10, "no g ('None')": 10}
    assert "keep_words" not in data["parameters"]
    kept = json.loads(cli(*words, *options, "--keep-word", "None").out)
    assert kept["bias"]["values"] == ["None", "a", "b"]
    assert kept["parameters"]["keep_words"] == ["None"]
