"""The table of a study: it round trips, and damage is one clear line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biascon.errors import BiasconError, DataError
from biascon.studies.records import Stage
from biascon.studies.table import StudyTable, read_table, to_parquet, write_table
from tests.studies.made_up import DESCRIPTION, diverged_run, make_run, make_table


@pytest.fixture(scope="module")
def table() -> StudyTable:
    mixed = {
        "loss.form": "out",
        "train.deterministic": True,
        "train.epochs": 3,
        "model.head": [8, 8],
    }
    return make_table(
        make_run("ce", 0, settings={"optimizer.lr": 0.1, "train.epochs": 3, "train.batch_size": 64}),
        make_run("contex", 0, settings={"loss.first_epochs": 2, "loss.wa": 1.0, "odd.value": 1}),
        make_run("ce", 1, settings={**mixed, "odd.value": "1"}),
        make_run("contex", 1, settings={"odd.value": 0.5}, rho=0.9, dataset_seed=3, pair=4, study=1),
        dataclasses.replace(diverged_run("ce", 2), settings={"odd.value": False}),
        make_run("ce", 3, val={}, test={}, seconds=None, first_stage_seconds=None, val_cells=None),
        make_run("contex", 3, stage=Stage.CONFIRMATION, message="naïve \n text", uses_bias_labels=True),
    )  # fmt: skip


def test_a_table_round_trips(table: StudyTable, tmp_path: Path) -> None:
    path = tmp_path / "new" / "study.parquet"
    write_table(path, table)
    copy = read_table(path)
    assert copy.description == table.description
    for run, expected in zip(copy.runs, table.runs, strict=True):
        for field in dataclasses.fields(run):
            value, other = (getattr(r, field.name) for r in (run, expected))
            if field.name in ("val", "test") and value != other:
                # A metric that the record lacks is one that is undefined.
                assert not other and set(value.values()) == {None}
                continue
            assert value == other, field.name
            if field.name == "settings":
                assert {k: type(v) for k, v in value.items()} == {
                    k: type(v) for k, v in other.items()
                }
    assert to_parquet(copy) == to_parquet(table) == path.read_bytes()
    assert copy.search_digest == table.search_digest


def test_an_empty_table_round_trips(tmp_path: Path) -> None:
    write_table(tmp_path / "study.parquet", make_table())
    assert list(read_table(tmp_path / "study.parquet").runs) == []


def test_numbers_of_earlier_tables_are_integers_where_the_setting_is_one(tmp_path: Path) -> None:
    settings = {"train.epochs": 3.0, "train.batch_size": 64.0, "optimizer.lr": 1.0}
    write_table(tmp_path / "study.parquet", make_table(make_run(settings=settings)))
    (run,) = read_table(tmp_path / "study.parquet").runs
    assert json.dumps(run.settings["train.epochs"]) == "3"
    assert json.dumps(run.settings["optimizer.lr"]) == "1.0"


def test_the_trials_of_a_method_are_in_order_and_within_the_budget() -> None:
    runs = [make_run("ce", trial) for trial in (5, 2, 0, 3)]
    confirmed = make_run("ce", 2, stage=Stage.CONFIRMATION, pair=0)
    table = make_table(*runs, confirmed, make_run("contex", 1), make_run("ce", 1, study=1))
    assert [run.trial for run in table.trials("ce")] == [0, 2, 3]
    assert [run.trial for run in table.trials("ce", 1)] == [1]
    assert table.select(Stage.CONFIRMATION) == [confirmed]
    assert table.methods == ["ce", "contex"]


def test_the_digest_of_the_search_is_that_of_the_trials_only() -> None:
    table = make_table()
    for changes in ({"name": "x"}, {"trials": 99}, {"confirm": {}}):
        assert StudyTable({**DESCRIPTION, **changes}, []).search_digest == table.search_digest
    for changes in ({"seed": 1}, {"preset": "cpu"}, {"methods": {"ce": {}}}, {"recipe": 7}):
        assert StudyTable({**DESCRIPTION, **changes}, []).search_digest != table.search_digest


def expect_damage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message


def test_a_truncated_table_is_one_clear_line(table: StudyTable, tmp_path: Path) -> None:
    content = to_parquet(table)
    for size in (0, 1, 4, 11, *np.linspace(12, len(content) - 1, 40).astype(int)):
        expect_damage(tmp_path / "study.parquet", content[:size])


def test_a_changed_byte_is_noticed_or_changes_nothing(table: StudyTable, tmp_path: Path) -> None:
    content, path = to_parquet(table), tmp_path / "study.parquet"
    rng, refused = np.random.default_rng(0), 0
    for position in rng.integers(0, len(content), 200):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            copy = read_table(path)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
        else:  # a byte of the footer that this reader does not use, or of the description
            if copy.description == table.description:
                assert [run.key for run in copy.runs] == [run.key for run in table.runs]
    assert refused > 100


def test_another_file_is_refused(table: StudyTable, tmp_path: Path) -> None:
    path = tmp_path / "study.parquet"
    expect_damage(path, b"losses = ['ce']\n" * 20)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match="not the table of a study of biascon tune"):
        read_table(path)
    with pytest.raises(BiasconError, match=r"cannot read .*nothing") as caught:
        read_table(tmp_path / "nothing.parquet")
    assert not isinstance(caught.value, DataError)


def rewrite(path: Path, table: StudyTable, metadata: Any = None, **columns: Any) -> None:
    """Write a table with other metadata, or with columns replaced (None removes one)."""
    write_table(path, table)
    data = pq.read_table(path)
    kept = data.schema.metadata
    for name, values in columns.items():
        k = data.column_names.index(name)
        data = data.remove_column(k)
        if values is not None:
            data = data.append_column(name, [values])
    text = kept[b"biascon-study"] if metadata is None else metadata
    pq.write_table(data.replace_schema_metadata({b"biascon-study": text}), path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (b"{", "is damaged"),
        (b"[]", "is damaged"),
        (b"{}", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (json.dumps({**DESCRIPTION, "format": 99}).encode(), "another version of biascon"),
        (json.dumps({"format": 1, "name": "x"}).encode(), "is damaged"),
        (json.dumps({**DESCRIPTION, "format": 1, "trials": "x"}).encode(), "is damaged"),
        (json.dumps({**DESCRIPTION, "format": 1, "methods": {"ce": {}, "x": {}}}).encode(),
         r"runs of methods that its study does not have: \['contex'\]"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused(
    metadata: bytes, message: str, table: StudyTable, tmp_path: Path
) -> None:
    rewrite(tmp_path / "study.parquet", table, metadata)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "study.parquet")


@pytest.mark.parametrize(
    ("column", "values"),
    [("run", None), ("val.top1", None), ("test.total", None), ("stage", ["?"] * 7),
     ("setting.odd.value", ["{"] * 7)],
)  # fmt: skip
def test_a_missing_or_wrong_column_is_refused(
    column: str, values: Any, table: StudyTable, tmp_path: Path
) -> None:
    rewrite(tmp_path / "study.parquet", table, **{column: values})
    with pytest.raises(DataError, match="is damaged"):
        read_table(tmp_path / "study.parquet")
