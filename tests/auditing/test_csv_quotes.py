"""Quotes in CSV files: one that is not closed is an error, however the file is cut into parts."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from biascon.auditing.reading.csv_quotes import QuoteChecker, QuoteError
from biascon.auditing.reading.prediction_file import PredictionFile
from biascon.errors import DataError
from tests.auditing.audit_cases import COLUMNS, error_line, write_table


def check(content: bytes, sizes: list[int]) -> tuple[int, int | None] | None:
    """Positions of the wrong quote, None if all are right; the parts have these sizes."""
    checker = QuoteChecker(",")
    try:
        for size in [*sizes, len(content)]:
            checker.feed(content[:size])
            content = content[size:]
        checker.finish()
    except QuoteError as error:
        return error.opened, error.closed
    return None


def check_plainly(content: bytes) -> tuple[int, int | None] | None:
    """The same by a loop over the bytes."""
    state, opened, closed = "start", 0, 0
    for position, byte in enumerate(content.decode() + "\n"):
        is_end = byte in ",\r\n"
        if state == "quoted":
            if position == len(content):
                return opened, None
            if byte == '"':
                state, closed = "quote", position
        elif state == "quote" and byte == '"':
            state = "quoted"
        elif state == "quote" and not is_end:
            return opened, closed
        elif state == "start" and byte == '"':
            state, opened = "quoted", position
        else:
            state = "start" if is_end else "text"
    return None


@settings(max_examples=300, deadline=None)
@given(st.text('"",\na', max_size=40), st.lists(st.integers(1, 6), max_size=30))
@example('5" x,"a""b"\n"', [4, 4])
@example('a"",""""\n5" b 6" c,"x"y', [3])
def test_the_check_equals_a_loop_over_the_bytes(text: str, sizes: list[int]) -> None:
    assert check(text.encode(), sizes) == check_plainly(text.encode())


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.text('",\na\r é', max_size=6), min_size=2, max_size=2), max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.lists(st.integers(1, 9), max_size=30),
)
def test_what_the_csv_module_writes_has_right_quotes(
    rows: list[list[str]], quoting: Any, sizes: list[int]
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, quoting=quoting).writerows(rows)
    assert check(file.getvalue().encode(), sizes) is None


def test_blanks_may_follow_a_closing_quote() -> None:
    assert check(b'"a" ,"b"\t\n"c" ', []) is None
    assert check(b'"a" "b"\n', []) == (0, 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b'1,0,"a', "the quote that opens in line 52 is never closed"),
        (b'"1,0,a', "the quote that opens in line 52 is never closed"),
        (b'1,0,"a" b', "expected the end of the quoted value in line 52, but got 'b' after its"),
    ],
)
def test_a_lone_quote_names_its_line(cli: Any, tmp_path: Path, row: bytes, message: str) -> None:
    rows = [b"%d,%d,%s" % (k % 2, k % 3 % 2, b"ab"[k % 2 :][:1]) for k in range(100)]
    content = b"y,p,g\n" + b"\n".join([*rows[:50], row, *rows[51:]]) + b"\n"
    assert message in error_line(cli("audit", write_table(tmp_path, "x.csv", content), *COLUMNS))


def test_two_lone_quotes_in_different_rows_are_an_error(cli: Any, tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfy,p,g\n1,1,"a\n0,1,a\n1,0,"b\n0,0,b\n'
    line = error_line(cli("audit", write_table(tmp_path, "x.csv", content), *COLUMNS))
    assert "in lines 2 to 4, but got 'b' after its closing quote" in line


def test_a_lone_quote_in_a_large_file_names_its_line(tmp_path: Path) -> None:
    content = b"y,p,g\n" + b"1,1,a\n" * 300 + b'1,1,"a\n' + b"1,1,a\n" * 5000
    file = PredictionFile(write_table(tmp_path, "x.csv", content))
    with pytest.raises(DataError, match="opens in line 302 is never closed"):
        list(file.parts(["y", "p", "g"], part_bytes=1000))


def test_line_ends_and_inch_signs_in_values_are_read(tmp_path: Path) -> None:
    groups = ['5" pipe', "two\nlines", 'a "word"', "plain"]
    rows = pd.DataFrame({"y": [0, 1] * 200, "p": [1, 1] * 200, "g": groups * 100})
    text = rows.to_csv(index=False).replace('"5"" pipe"', '5" pipe')
    file = PredictionFile(write_table(tmp_path, "x.csv", text.encode()))
    seen = {text for part in file.parts(["g"], part_bytes=500) for text in part[0].texts}
    assert seen == set(groups)
