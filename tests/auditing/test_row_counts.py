"""Counts of rows: the same from files and arrays, in any parts and any order."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biascon.auditing import audit_file
from biascon.auditing.reading.arrays import code_values
from biascon.auditing.reading.prediction_file import PredictionFile
from biascon.auditing.rows import row_counts
from biascon.auditing.rows.row_counts import RowCounts
from tests.auditing.audit_cases import audit_rows, data_without_source, make_rows, write_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def files(folder: Path) -> list[Path]:
    df = make_rows(3000, classes=4)
    df["unused"] = 'a "text", with a comma\nand a second line'
    path = write_table(folder, "parts.csv", df)
    (folder / "parts.bin").write_bytes(gzip.compress(path.read_bytes()))
    pq.write_table(pa.Table.from_pandas(df), folder / "few.parquet", row_group_size=171)
    typed = df.assign(y=df.y.astype(float), p=df.p.astype(str), g=df.g.astype("category"))
    shuffled = typed.sample(frac=1, random_state=0)
    return [
        path,
        folder / "parts.bin",
        folder / "few.parquet",
        write_table(folder, "s.parquet", shuffled),
    ]


def test_counts_do_not_depend_on_parts_types_or_order(files: list[Path]) -> None:
    tables = []
    for path in files:
        for rows, size in ((1 << 20, 1 << 23), (7, 1 << 10), (1000, 1 << 14)):
            counts = RowCounts("y", ["g", "h"], "p")
            for columns in PredictionFile(path).parts(
                counts.names, part_rows=rows, part_bytes=size
            ):
                counts.add(columns)
            tables.append((counts.classes, counts.groups([0, 1]), counts.table([0, 1]).tolist()))
    assert len(tables) == 12
    assert all(table == tables[0] for table in tables)


def test_files_and_arrays_give_the_same_json(files: list[Path]) -> None:
    arrays = audit_rows(make_rows(3000, classes=4), "g", "h")
    for path in files:
        result = audit_file(path, label="y", prediction="p", bias=["g", "h"])
        assert json.dumps(data_without_source(result)) == json.dumps(data_without_source(arrays))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=5), st.sampled_from([0, 1 << 20]))
def test_counts_of_parts_equal_the_counts_of_all_rows(cuts: list[int], dense: int) -> None:
    df = make_rows()
    expected = audit_rows(df).counts
    counts = RowCounts("y", ["g"], "p")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_counts, "_MAX_DENSE", dense)  # both ways of counting
        edges = [0, *sorted(cuts), 400]
        for low, high in itertools.pairwise(edges):
            counts.add([code_values(name, df[name][low:high]) for name in ("y", "g", "p")])
    assert (counts.table([0]) == expected).all()


def test_more_combinations_than_an_int64_holds_are_counted() -> None:
    n = 5000
    columns = {f"b{k}": np.arange(n) * (k + 3) % (n + 1) for k in range(4)}
    counts = RowCounts("y", list(columns), "p")
    y = np.arange(n) % 900
    counts.add(
        [
            code_values("y", y),
            *(code_values(k, v) for k, v in columns.items()),
            code_values("p", y),
        ]
    )
    assert counts.n_complete == n
    assert len(counts.groups(range(4))) == n
