"""The table of a study: one Parquet file with a row for each run, and the description of the study."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.errors import BiasconError, DataError
from biascon.studies.records import TEST_METRICS, VAL_METRICS, CellCounts, Stage, StudyRun
from biascon.utils.files import digest_of, write_output
from biascon.utils.folders import output_folders
from biascon.utils.reading import STUDY_TABLE, read_bytes

FORMAT = 1
_METADATA = b"biascon-study"
_PLAIN = (
    "method", "study", "trial", "pair", "seed", "dataset", "dataset_seed", "rho", "dataset_digest", "run",
    "diverged", "message", "seconds", "first_stage_seconds", "threads", "device", "evaluated_by",
    "uses_bias_labels",
)  # fmt: skip


@dataclass(frozen=True)
class StudyTable:
    """A study with its runs.

    Attributes:
        description: What the study is, as plain data: methods with their search spaces, budget, dataset,
            rules, confirmation, versions.
        runs: The runs.
    """

    description: Mapping[str, Any]
    runs: Sequence[StudyRun]

    @property
    def name(self) -> str:
        """The name of the study."""
        return str(self.description["name"])

    @property
    def methods(self) -> list[str]:
        """The names of the methods, in the order of the study."""
        return list(self.description["methods"])

    @property
    def is_adaptive(self) -> bool:
        """Whether the trials depend on earlier ones, so that they are neither independent nor paired."""
        return bool(self.description.get("search") == "adaptive")

    @property
    def search_digest(self) -> str:
        """The digest of the search: two studies with the same one have the same trials in the same order."""
        return search_digest(self.description)

    def select(self, stage: Stage, method: str | None = None) -> list[StudyRun]:
        """Return the runs of a stage, and of one method if it is given, in the order of study and pair."""
        chosen = [
            run
            for run in self.runs
            if run.stage is stage and (method is None or run.method == method)
        ]
        return sorted(chosen, key=lambda run: (run.study, run.pair))

    def trials(self, method: str, study: int = 0) -> list[StudyRun]:
        """Return the trials of a method in one search, up to the number of trials that the study states."""
        limit = self.description["trials"]
        return [
            run
            for run in self.select(Stage.TRIAL, method)
            if run.study == study and run.trial < limit
        ]


def search_digest(description: Mapping[str, Any]) -> str:
    """Return the digest of the parts of a description that decide the trials."""
    keys = ["methods", "seed", "dataset", "preset", "settings", "recipe"]
    keys += ["sampler"] if "sampler" in description else []  # of an adaptive search
    return digest_of({key: description[key] for key in keys})


def to_parquet(table: StudyTable) -> bytes:
    """Return a study as a Parquet file.

    The columns are those of ``StudyRun``. ``setting.KEY`` has the searched parameters, ``val.METRIC`` and
    ``test.METRIC`` the metrics, ``val.correct`` and ``val.total`` the counts of the cells, row by row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    runs = table.runs
    columns: dict[str, Any] = {"stage": [run.stage.value for run in runs]}
    types: dict[str, Any] = {"stage": pa.string()}
    integer, text, number, truth = pa.int64(), pa.string(), pa.float64(), pa.bool_()
    plain_types = [
        text, integer, integer, integer, integer, text, integer, number, text, text,
        truth, text, number, number, integer, text, text, truth,
    ]  # fmt: skip
    for name, kind in zip(_PLAIN, plain_types, strict=True):
        columns[name] = [getattr(run, name) for run in runs]
        types[name] = kind
    for key in dict.fromkeys(key for run in runs for key in run.settings):
        values = [run.settings.get(key) for run in runs]
        kinds = {type(value) for value in values if value is not None}
        kind = {frozenset({int}): integer, frozenset({float}): number}.get(frozenset(kinds), text)
        # A text column has JSON, so that a truth value or a text can be told from a number.
        columns[f"setting.{key}"] = (
            [None if value is None else json.dumps(value) for value in values]
            if kind is text
            else values
        )
        types[f"setting.{key}"] = kind
    for split, names in (("val", VAL_METRICS), ("test", TEST_METRICS)):
        for name in names:
            columns[f"{split}.{name}"] = [run.metrics(split).get(name) for run in runs]
            types[f"{split}.{name}"] = number
        cells = [run.val_cells if split == "val" else run.test_cells for run in runs]
        for part in ("correct", "total"):
            columns[f"{split}.{part}"] = [
                None if counts is None else [list(row) for row in getattr(counts, part)]
                for counts in cells
            ]
            types[f"{split}.{part}"] = pa.list_(pa.list_(pa.int32()))
    schema = pa.schema(list(types.items()))
    text_of_study = json.dumps({"format": FORMAT, **table.description})
    data = pa.table(columns, schema=schema).replace_schema_metadata({_METADATA: text_of_study})
    buffer = io.BytesIO()
    pq.write_table(data, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def write_table(path: Path, table: StudyTable) -> None:
    """Write a study to a Parquet file.

    Raises:
        BiasconError: The file cannot be written.
    """
    with output_folders(path.parent):
        write_output({path: to_parquet(table)})


def read_table(path: Path) -> StudyTable:
    """Read a study from its Parquet file.

    Raises:
        BiasconError: The file cannot be read.
        DataError: The file is not the table of a study, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = read_bytes(path, STUDY_TABLE)
    except DataError as error:  # no table of a study, damaged or not
        raise BiasconError(str(error)) from error
    try:
        data = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged or is not a Parquet file") from error
    metadata = (data.schema.metadata or {}).get(_METADATA)
    if metadata is None:
        raise DataError(f"{path} is a Parquet file, but not the table of a study of biascon tune")
    try:
        description = json.loads(metadata)
        if description.pop("format") != FORMAT:
            raise DataError(f"{path} is the table of a study of another version of biascon")
        numbers = {
            name.removeprefix("setting.")
            for name in data.column_names
            if name.startswith("setting.") and not pa.types.is_string(data.schema.field(name).type)
        }
        runs = [_read_run(row, numbers) for row in data.to_pylist()]
        table = StudyTable(description, runs)
        foreign = {run.method for run in runs} - set(table.methods)
        if foreign:
            raise DataError(
                f"{path} has runs of methods that its study does not have: {sorted(foreign)}"
            )
        if not (table.search_digest and int(table.description["trials"]) > 0):
            raise DataError(f"{path} has no trials")
        return table
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {type(error).__name__} {error}") from error


def _read_run(row: Mapping[str, Any], numbers: set[str]) -> StudyRun:
    settings = {}
    for name, value in row.items():
        key = name.removeprefix("setting.")
        if key == name or value is None:
            continue
        if key not in numbers:
            value = json.loads(value)
        elif float(value).is_integer() and key in ("train.epochs", "train.batch_size"):
            value = int(value)  # tables of earlier versions have these as floating-point numbers
        settings[key] = value
    metrics = {
        split: {name: row[f"{split}.{name}"] for name in names if not row["diverged"]}
        for split, names in (("val", VAL_METRICS), ("test", TEST_METRICS))
    }
    cells = {
        split: None
        if row[f"{split}.correct"] is None
        else CellCounts(row[f"{split}.correct"], row[f"{split}.total"])
        for split in ("val", "test")
    }
    return StudyRun(
        stage=Stage(row["stage"]),
        settings=settings,
        val=metrics["val"],
        test=metrics["test"],
        val_cells=cells["val"],
        test_cells=cells["test"],
        **{name: row[name] for name in _PLAIN},
    )
