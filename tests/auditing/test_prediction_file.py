"""Bad prediction files and wrong usage: one line of error, with the exit code."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.auditing.audit_cases import COLUMNS, OK, error_line, make_rows, write_table


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "it is empty"),
        ("blank.csv", b"\n\n", "it is empty"),
        ("header.csv", b"y,p,g\n", "there are no rows"),
        ("one.csv", b"y\n1\n", "lacks columns 'g', 'p' (it has 'y')"),
        ("colon.csv", b"y:p:g\n1:1:a\n", "(it has 'y:p:g'); --delimiter (delimiter=) sets"),
        ("near.csv", b"yy,pp,gg\n1,1,a\n", "'y'; did you mean 'yy'?, 'g'; did you mean 'gg'?, 'p'"),
        ("twice.csv", b"y,y,p,g\n1,1,1,a\n", "more than one column named 'y'"),
        ("ragged.csv", b"y,p,g\n1,1,a\n1,1\n", "Expected 3 columns, got 2"),
        ("missing.csv", b"y,p,g\n1,1,a\n,1,b\n1,NaN,\n",
         "2 of 3 rows lack a value ('y' in 1, 'g' in 1, 'p' in 1: 1 as 'NaN'), row 2 first; --drop-missing"),
        ("latin.csv", b"y,p,g\n1,1,caf\xe9\n", "convert it, such as iconv -f LATIN1 -t UTF-8 FILE"),
        ("latin-header.csv", b"y,p,g,caf\xe9\n1,1,a,b\n", "it is not UTF-8 text; convert it, such as"),
        ("blanks.csv", b"y, p, g\n1,1,a\n",
         "lacks columns 'g', 'p' (it has 'y', ' p', ' g'); names in the header have blanks around them"),
        ("utf16.csv", "y,p,g\n".encode("utf-16"), "it is UTF-16 text"),
        ("binary.csv", b"y,p,g\0\0\n", "got binary data"),
        ("sheet.csv", b"PK\x03\x04rest", "a zip archive (an Excel sheet, perhaps)"),
        ("half.csv", gzip.compress(OK * 50)[:40], "Truncated compressed stream"),
        ("half.parquet", b"PAR1abcdefgh", "Parquet magic bytes not found in footer"),
        ("ids.csv", b"y,p,g\n" + b"".join(b"%d,1,a\n" % k for k in range(1500)),
         "at most 1,000 classes, but label and prediction have more different values, such as '1000'"),
        ("groups.csv", b"y,p,g\n" + b"".join(b"1,1,%d\n" % k for k in range(10001)),
         "at most 10,000 groups, but bias 'g' has more"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith((".csv", ".parquet")) else "",
)  # fmt: skip
def test_a_bad_file_is_one_line_and_exit_code_one(
    cli: Any, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    line = error_line(cli("audit", write_table(tmp_path, name, content), *COLUMNS))
    assert name in line
    assert message in line


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"g;y;p;s\na;0;0;0,629\n", ["--decimal", "."],
         "expected numbers in column 's', but got '0,629'; is the decimal mark a comma? --decimal ,"),
        (b"g;y;p;s\na;0;0;0.629\n", ["--decimal", ","], "column 's', but got '0.629'; is the decimal mark a"),
        (b"g,y,p,s\na,0,0,0.6\nb,1,1,high\n", [], "expected numbers in column 's', but got 'high'"),
        (b'g,y,p,s\na,0,0,"0,6"\n', [], "expected numbers in column 's', but got '0,6'"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_number_is_named_with_its_column(
    cli: Any, tmp_path: Path, content: bytes, options: list[str], message: str
) -> None:
    path = write_table(tmp_path, "x.csv", content)
    assert message in error_line(cli("audit", path, *COLUMNS, "--scores", "s", *options))


def test_a_missing_file_and_a_folder_are_errors(cli: Any, tmp_path: Path) -> None:
    assert "No such file" in error_line(cli("audit", "nothing.csv", *COLUMNS))
    assert "it is a folder" in error_line(cli("audit", tmp_path, *COLUMNS))


def test_a_damaged_parquet_file_is_an_error(cli: Any, tmp_path: Path) -> None:
    content = write_table(tmp_path, "whole.parquet", make_rows(5000)).read_bytes()
    for cut in (len(content) // 2, len(content) - 3):
        error_line(cli("audit", write_table(tmp_path, "cut.parquet", content[:cut]), *COLUMNS))
    flipped = bytearray(content)
    flipped[100:400] = b"\xff" * 300
    error_line(cli("audit", write_table(tmp_path, "flipped.parquet", bytes(flipped)), *COLUMNS))


def test_a_column_of_lists_is_an_error(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "lists.parquet", make_rows(4).assign(p=[[1], [2], [3], [4]]))
    assert "column 'p' cannot be counted: its type is list" in error_line(
        cli("audit", path, *COLUMNS)
    )


def test_too_many_combinations_are_an_error(cli: Any, tmp_path: Path) -> None:
    text = b"y,p,g,h\n" + b"".join(b"1,1,%d,%d\n" % (k % 150, k // 150) for k in range(150**2))
    path = write_table(tmp_path, "many.csv", text)
    line = error_line(cli("audit", path, *COLUMNS, "--bias", "h"))
    assert "many.csv: expected at most 10,000 groups, but g x h has 22,500" in line


def test_too_many_cells_are_an_error(cli: Any, tmp_path: Path) -> None:
    text = b"y,p,g\n" + b"".join(b"%d,%d,%d\n" % (k % 900, k % 900, k % 20) for k in range(900))
    line = error_line(cli("audit", write_table(tmp_path, "cells.csv", text), *COLUMNS))
    assert "cells.csv: expected" in line
    assert "900 classes and 20 groups of g make 16,200,000" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "y", "--bias", "g"], "Missing option '--prediction'"),
        (["--label", "y", "--prediction", "y", "--bias", "g"], "but got 'y' twice"),
        ([*COLUMNS, "--bias", "g"], "but got 'g' twice"),
        ([*COLUMNS, "--out", "x.docx"], "expected --out to end in"),
        ([*COLUMNS, "--out", "ok.csv"], "would overwrite an input file"),
        ([*COLUMNS, "--seed", "-1"], "-1 is not in the range"),
    ],
)
def test_wrong_usage_is_exit_code_two(
    cli: Any, tmp_path: Path, words: list[str], message: str
) -> None:
    write_table(tmp_path, "ok.csv", OK)
    assert message in error_line(cli("audit", "ok.csv", *words), 2)
    assert (tmp_path / "ok.csv").read_bytes() == OK
