"""Split codes and names, rows left out on purpose, and new names of values in ``make-table``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., tuple[int, str, str]]
COLUMNS = ("--image-col", "file", "--label-col", "y", "--bias-col", "place", "--split-col", "part")
PARTS = ("id_train", "id_val", "id_test", "ood_test")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a CSV file of 48 rows; a preview needs files, but opens none."""
    rows = ["file,y,place,part,code,site"]
    rows += [
        f"{k:02d}.jpg,{k % 3},{k // 3 % 2},{PARTS[k % 4]},{k // 3 % 3},{'AB'[k % 2]}"
        for k in range(48)
    ]
    for k in range(48):
        (tmp_path / f"{k:02d}.jpg").write_bytes(b"no image")
    path = tmp_path / "set.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def preview(cli: Cli, table: Path, *words: str) -> dict[str, Any]:
    code, out, err = cli("make-table", table, *COLUMNS, *words, "--dry-run", "--json")
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


MAP = [word for value in ("id_train=train", "id_val=val", "id_test=test", "ood_test=")
       for word in ("--split-map", value)]  # fmt: skip


def test_a_split_column_of_codes_is_read(table: Path, cli: Cli) -> None:
    plan = preview(cli, table, "--split-col", "code")
    assert [plan["counts"][name]["n"] for name in ("train", "val", "test")] == [18, 15, 15]
    assert plan["protocol"]["test"] == "column code = 2"
    assert "split_map" not in plan["parameters"]


def test_split_values_are_mapped_and_left_out_with_their_counts(table: Path, cli: Cli) -> None:
    plan = preview(cli, table, *MAP)
    assert [plan["counts"][name]["n"] for name in ("train", "val", "test")] == [12, 12, 12]
    assert plan["protocol"]["val"] == "column part = id_val"
    assert (plan["read"], plan["left_out"], plan["dropped"]) == (48, 0, {"part = ood_test": 12})
    assert plan["parameters"]["split_map"]["ood_test"] == ""


def test_codes_and_names_are_not_mixed(table: Path, cli: Cli) -> None:
    table.write_text(table.read_text().replace("id_train", "train").replace("id_val", "1"))
    code, _, err = cli("make-table", table, *COLUMNS, "--dry-run")
    assert code == 1
    assert "but got '1', 'id_test', 'ood_test'; --split-map '1=val' assigns" in err


def test_values_are_left_out_on_purpose_and_renamed(table: Path, cli: Cli) -> None:
    words = (
        "--leave-out",
        "y=2.0",
        "--leave-out",
        "site=B",
        "--rename",
        "y:0=land",
        "--rename",
        "y:1=water",
    )
    plan = preview(cli, table, *MAP[:-2], "--split-map", "ood_test=test", *words)
    assert plan["labels"] == ["land", "water"]
    assert plan["dropped"] == {"site = B": 16, "y = 2": 16}
    assert sum(part["n"] for part in plan["counts"].values()) == 16
    assert plan["parameters"]["leave_out"] == {"site": ["B"], "y": ["2"]}


def test_two_values_with_one_name_are_joined(table: Path, cli: Cli) -> None:
    plan = preview(
        cli, table, *MAP, "--rename", "y:0=low", "--rename", "y:1=low", "--rename", "y:2=high"
    )
    assert plan["labels"] == ["high", "low"]
    assert sum(plan["counts"]["train"]["cells"][1]) == 8


def test_rows_without_a_value_are_left_out_on_purpose(table: Path, cli: Cli) -> None:
    table.write_text(table.read_text().replace(".jpg,2,", ".jpg,NA,"))
    plan = preview(cli, table, *MAP, "--leave-out", "y=")
    assert plan["dropped"] == {"part = ood_test": 8, "y is missing": 16}
    assert plan["left_out"] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--split-map", "id_tran=train"], 2, "has no value 'id_tran'; did you mean 'id_train'?"),
        (["--split-map", "id_train=training"], 2, "expected --split-map value=train"),
        (["--split-map", "=train"], 2, "expected --split-map value=train"),
        ([*MAP, "--split-map", "id_val=test"], 2, "contradicts an earlier option for 'id_val'"),
        ([*MAP, "--leave-out", "y=7"], 2, "column 'y' has no value '7' (it has: '0', '1', '2')"),
        ([*MAP, "--leave-out", "z=7"], 2, "has no column 'z'"),
        ([*MAP, "--leave-out", "y"], 2, "expected --leave-out column=value"),
        ([*MAP, "--leave-out", "y="], 2, "column 'y' has no missing value"),
        ([*MAP, "--rename", "y:5=a"], 2, "column 'y' has no value '5'"),
        ([*MAP, "--rename", "site:A=a"], 2, "expected to rename values of the label or of a bias column"),
        ([*MAP, "--rename", "y:0"], 2, "expected --rename column:old=new"),
        ([*MAP, "--ignore", "*"], 2, "--ignore is for a folder"),
        ([*MAP, "--leave-out", "part=id_test"], 1, "the test split has no images"),
    ],
)  # fmt: skip
def test_wrong_values_give_one_line(
    words: list[str], code: int, message: str, table: Path, cli: Cli
) -> None:
    got, out, err = cli("make-table", table, *COLUMNS, *words, "--dry-run")
    assert (got, out, err.count("\n")) == (code, "", 1), err
    assert message in err


def test_a_map_needs_a_split_column(table: Path, cli: Cli) -> None:
    code, _, err = cli("make-table", table, *COLUMNS[:6], "--split-map", "0=train", "--dry-run")
    assert code == 2
    assert "--split-col" in err
