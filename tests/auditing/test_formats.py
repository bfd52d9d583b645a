"""Every format of a prediction file gives the same audit; a pipe is read too."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

from biascon.auditing import audit_file
from biascon.auditing.reading import input_source
from biascon.auditing.reading.arrow_rows import ArrowRows
from biascon.auditing.reading.prediction_file import PredictionFile
from biascon.errors import DataError, UsageError
from tests.auditing.audit_cases import (
    COLUMNS,
    OK,
    audit_rows,
    data_without_source,
    error_line,
    make_rows,
    write_table,
)

ROWS = make_rows(600, classes=2).assign(note='a "word", and\na line', s=lambda df: (df.p + 1) / 4)
Writer = Callable[[pd.DataFrame, Path], object]


def _write_ipc_stream(rows: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)


def _write_jsonl(rows: pd.DataFrame, path: Path) -> None:
    path.write_text(rows.to_json(orient="records", lines=True))


def _write_csv_text(rows: pd.DataFrame, path: Path, **options: Any) -> str:
    text: str = rows.to_csv(index=False, **options)
    path.write_text(text)
    return text


def _compress(rows: pd.DataFrame, path: Path, codec: str) -> None:
    with pa.CompressedOutputStream(str(path), codec) as sink:
        sink.write(rows.to_json(orient="records", lines=True).encode())


WRITERS: dict[str, Writer] = {
    "comma": _write_csv_text,
    "mark": lambda rows, path: path.write_bytes(b"\xef\xbb\xbf" + rows.to_csv(index=False).encode()),
    "tab": lambda rows, path: _write_csv_text(rows, path, sep="\t"),
    "semicolon": lambda rows, path: _write_csv_text(rows, path, sep=";", decimal=","),
    "pipe": lambda rows, path: _write_csv_text(rows, path, sep="|"),
    "crlf": lambda rows, path: _write_csv_text(rows, path, lineterminator="\r\n"),
    "jsonl": _write_jsonl,
    "jsonl.gz": lambda rows, path: _compress(rows, path, "gzip"),
    "jsonl.zst": lambda rows, path: _compress(rows, path, "zstd"),
    "csv.bz2": lambda rows, path: path.write_bytes(bz2.compress(rows.to_csv(index=False).encode())),
    "parquet": lambda rows, path: rows.to_parquet(path),
    "feather": lambda rows, path: pa.feather.write_feather(rows, path, chunksize=100),
    "ipc": lambda rows, path: pa.feather.write_feather(rows, path, compression="uncompressed"),
    "stream": _write_ipc_stream,
}  # fmt: skip


RECOGNIZED = {
    "tab": "read with tab as delimiter",
    "semicolon": "read with ';' as delimiter and ',' as decimal mark",
    "pipe": "read with '|' as delimiter",
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_values_in_any_parts(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "predictions"  # the content shows the format, not the name
    WRITERS[kind](ROWS, path)
    names = ["y", "g", "p"]
    file = PredictionFile(path, wanted=[*names, "s"])
    assert file.notes == [RECOGNIZED[k] for k in RECOGNIZED if k == kind]
    for rows, size in ((1 << 20, 1 << 23), (7, 1 << 10)):
        values: list[list[str | None]] = [[], [], []]
        scores = []
        for columns, part in file.scored_parts(names, ["s"], part_rows=rows, part_bytes=size):
            scores.append(part)
            for column, texts in zip(columns, values, strict=True):
                texts += [column.texts[code] for code in column.codes]
        assert values == [ROWS[name].astype(str).tolist() for name in names]
        assert np.array_equal(np.concatenate(scores)[:, 0], ROWS.s)


def test_a_file_with_semicolons_gives_the_audit_of_the_arrays(tmp_path: Path) -> None:
    path = tmp_path / "predictions"
    WRITERS["semicolon"](ROWS, path)
    expected = data_without_source(audit_rows(ROWS, scores=ROWS.s))
    result = data_without_source(
        audit_file(path, label="y", prediction="p", bias=["g"], scores=["s"])
    )
    assert result["notes"] == [RECOGNIZED["semicolon"], *expected["notes"]]
    assert {**result, "notes": []} == {**expected, "notes": []}


def test_a_delimiter_and_a_decimal_mark_can_be_given(cli: Any, tmp_path: Path) -> None:
    rows = ROWS.assign(g=np.where(ROWS.h > 0, "1,5", "2,0")).drop(columns="note")
    path = tmp_path / "x.csv"
    _write_csv_text(rows, path, sep=":")
    words = ("audit", path, *COLUMNS, "--json", "--delimiter", ":")
    assert json.loads(cli(*words).out)["groups"] == ["1.5", "2"]
    given = json.loads(cli(*words, "--decimal", ".").out)
    assert given["groups"] == ["1,5", "2,0"]
    assert not any(note.startswith("read with") for note in given["notes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "ab"}, "expected one character"),
        ({"delimiter": "é"}, "expected one character"),
        ({"delimiter": '"'}, "expected one character"),
        ({"decimal": ";"}, "as decimal mark"),
        ({"delimiter": ",", "decimal": ","}, "to differ"),
        ({"keep_words": ["Nothing"]}, "words that stand for a missing value, but got 'Nothing'"),
    ],
)
def test_options_that_cannot_be_are_a_usage_error(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = write_table(tmp_path, "ok.csv", OK)
    with pytest.raises(UsageError, match=message):
        audit_file(path, label="y", prediction="p", bias=["g"], **options)


def test_a_delimiter_for_another_format_is_a_usage_error(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.parquet", ROWS)
    line = error_line(cli("audit", path, *COLUMNS, "--delimiter", "tab"), 2)
    assert "for CSV only" in line


def test_standard_input_is_read_twice(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = ROWS.to_csv(index=False).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    data = json.loads(cli("audit", "-", *COLUMNS, "--scores", "s", "--json").out)
    assert (data["predictions"], data["brier"]["n"]) == ("standard input", len(ROWS))
    expected = audit_rows(ROWS, scores=ROWS.s).data
    assert data["brier"] == expected["brier"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = gzip.compress(ROWS.to_csv(index=False).encode())
    thread = threading.Thread(target=pipe.write_bytes, args=(content,))
    thread.start()
    result = audit_file(pipe, label="y", prediction="p", bias=["g"])
    thread.join()
    assert result.counts.tolist() == audit_rows(ROWS).counts.tolist()


@pytest.mark.parametrize(("content", "message"), [(b"", "it is empty"), (None, "it is closed")])
def test_standard_input_without_rows_is_an_error(
    cli: Any, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    stream = None if content is None else io.TextIOWrapper(io.BytesIO(content))
    monkeypatch.setattr(sys, "stdin", stream)
    assert f"cannot read standard input: {message}" in error_line(cli("audit", "-", *COLUMNS))


def test_a_pipe_beyond_the_limit_or_the_disk_is_one_line(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def use(stream: Callable[[], IO[bytes]]) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(OK)))
        monkeypatch.setattr(input_source.tempfile, "TemporaryFile", stream)
        return error_line(cli("audit", "-", *COLUMNS))

    original = input_source.tempfile.TemporaryFile
    assert "No space left on device after 0 MB; set TMPDIR" in use(FullDisk)
    monkeypatch.setattr(input_source, "MAX_STREAM_BYTES", 10)
    assert "expected at most 10 bytes from a pipe" in use(original)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'[{"y": 1, "p": 1, "g": "a"}]', "it is one JSON array; expected JSON lines"),
        ("a.jsonl", b'{"y": 1, "p": 1, "g": "a"}\n{"y": \n', "line 2 is no JSON"),
        ("a.jsonl", b'{"y": 1, "p": 1, "g": "a"}\n[1]\n', "but line 2 is a list"),
        ("a.jsonl", b'{"y": 1, "p": 1, "g": "caf\xe9"}\n', "it is not UTF-8 text"),
        ("a.jsonl", b'{"y": 1, "p": 1, "g": [1]}\n', "column 'g' cannot be counted: its type is list"),
        ("a.jsonl", b'{"y": 1, "p": 1}\n', "lacks column 'g'"),
        ("a.arrow", b"ARROW1\0\0rest of a file", "cannot read a.arrow"),
        ("a.arrow", b"\xff\xff\xff\xff\x10\0\0\0", "cannot read a.arrow"),
        ("a.feather", b"FEA1rest", "a Feather file of version 1"),
        ("a.gz", gzip.compress(b"PAR1abc", mtime=0), "it is a gzip-compressed Parquet; decompress it first"),
        ("a.gz", gzip.compress(b"PK\x03\x04abc", mtime=0), "a zip archive"),
        ("a.pkl", b"\x80\x04\x95abc", "a pickle, which is never loaded"),
        ("a.html", b"<!DOCTYPE html>", "an HTML page"),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_one_line(
    cli: Any, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    write_table(tmp_path, name, content)
    assert message in error_line(cli("audit", name, *COLUMNS))


def test_json_columns_of_several_types_are_values(tmp_path: Path) -> None:
    lines = [
        {"y": 1, "p": 1.0, "g": "2026-01-31", "s": 0.5},
        {"y": "1", "p": True, "g": "2026-01-31", "s": "0.25"},
        {"y": 0, "p": 0, "g": "b", "s": 1, "extra": {"a": [1]}},
        {"y": 1.5, "p": 1, "g": None, "s": None},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n\n" for line in lines))
    file = PredictionFile(path)
    assert file.columns == ["y", "p", "g", "s", "extra"]
    ((columns, scores),) = file.scored_parts(["y", "p", "g"], ["s"])
    texts = [[column.texts[k] if k >= 0 else None for k in column.codes] for column in columns]
    assert texts == [
        ["1", "1", "0", "1.5"],
        ["1", "True", "0", "1"],
        ["2026-01-31", "2026-01-31", "b", None],
    ]
    assert np.allclose(scores[:, 0], [0.5, 0.25, 1, np.nan], equal_nan=True)


def test_a_line_of_json_longer_than_a_part_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"y": 1}\n' + '{"y": "' + "a" * 5000 + '"}\n')
    with pytest.raises(DataError, match="a line is longer than"):
        list(PredictionFile(path).parts(["y"], part_bytes=1000))


def test_a_value_outside_of_its_dictionary_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow does not compare the indices of a damaged Parquet file with the size of its dictionary."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, 5]), pa.array(["a"]), safe=False)
    batch = pa.RecordBatch.from_arrays([column], ["y"])
    file = PredictionFile(write_table(tmp_path, "x.parquet", ROWS))
    monkeypatch.setattr(ArrowRows, "batches", lambda *_: [batch])
    with pytest.raises(DataError, match=r"x.parquet: column 'y' cannot be counted: .*damaged"):
        list(file.parts(["y"]))
