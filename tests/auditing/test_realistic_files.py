"""Audits of eight realistic files: the command reads each, and its numbers are those of plain pandas."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.auditing.realistic_files import FILES, RealisticFile

# The reader of these formats is not part of every version of the code.
NEEDS = {"comments.jsonl": "json_lines", "kredit.csv": "csv_dialect"}


def largest_gap(rates: pd.Series[float]) -> float:
    return float(rates.max() - rates.min())


def join_groups(rows: pd.DataFrame, file: RealisticFile) -> pd.Series[str]:
    joined: pd.Series[str] = rows[list(file.bias)].astype(str).agg(" x ".join, axis=1)
    return joined


def expected_numbers(rows: pd.DataFrame, file: RealisticFile) -> dict[str, float]:
    """The accuracy of all rows, and with two classes three differences of the positive class."""
    group = join_groups(rows, file)
    label, predicted = rows[file.label].astype(str), rows[file.prediction].astype(str)
    numbers = {"top1": float((label == predicted).mean())}
    classes = sorted(set(label))
    if len(classes) == 2:
        is_positive, selected = label == classes[1], (predicted == classes[1]).astype(float)
        hits = selected[is_positive].groupby(group[is_positive]).mean()
        alarms = selected[~is_positive].groupby(group[~is_positive]).mean()
        numbers |= {
            "demographic_parity_difference": largest_gap(selected.groupby(group).mean()),
            "equal_opportunity_difference": largest_gap(hits),
            "equalized_odds_difference": max(largest_gap(hits), largest_gap(alarms)),
        }
    return numbers


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_command_audits_the_file(cli: Any, tmp_path: Path, file: RealisticFile) -> None:
    module = NEEDS.get(file.name)
    if module is not None and importlib.util.find_spec(f"biascon.auditing.{module}") is None:
        pytest.skip(f"this version does not read {file.name}")
    rows, path = file.make(), tmp_path / file.name
    file.write(rows, path)
    outcome = cli("audit", *file.words(path), "--json", "--tolerance", "top1=0.5")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out.splitlines()[-1])
    assert record["rows"] == len(rows) == record["top1"]["n"]
    for name, value in expected_numbers(rows, file).items():
        assert record[name]["value"] == pytest.approx(value), name
        low, high = record[name]["ci"]
        assert low <= record[name]["value"] <= high
    cell = record["worst_group"]["group"]
    assert file.worst in (None, (cell["label"], cell["bias"]))
    label, predicted = rows[file.label].astype(str), rows[file.prediction].astype(str)
    lowest = (label == predicted).groupby([label, join_groups(rows, file)]).mean()
    assert lowest.min() == pytest.approx(lowest[cell["label"], cell["bias"]])
    assert record["worst_group"]["value"] == pytest.approx(lowest.min())
    assert (record["brier"]["value"] is not None) == bool(file.scores)


def test_the_same_seed_makes_the_same_rows() -> None:
    for file in FILES:
        pd.testing.assert_frame_equal(file.make(), file.make())
