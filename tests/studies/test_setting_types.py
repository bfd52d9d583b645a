"""The table of a study keeps the types of the searched parameters: a restored trial is the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biascon.studies.records import Stage, StudyRun
from biascon.studies.table import StudyTable, read_table, write_table


def make_run(trial: int, settings: dict[str, Any]) -> StudyRun:
    return StudyRun(
        Stage.TRIAL, "a", 0, trial, trial, trial, "data", None, None, "d", f"{trial}", settings,
        seconds=1.0, first_stage_seconds=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [(1, 2), (1.0, 2.0), (1, 2.5), ("out", "in"), (True, False), (True, 1), ([8, 8], [16])],
    ids=str,
)
def test_a_value_is_read_with_its_type(values: tuple[Any, ...], tmp_path: Path) -> None:
    runs = [make_run(trial, {"loss.x": value}) for trial, value in enumerate(values)]
    runs.append(make_run(len(values), {}))
    description = dict.fromkeys(("seed", "dataset", "preset", "settings", "recipe"), 0)
    description |= {"name": "t", "methods": {"a": {}}, "trials": len(runs)}
    write_table(tmp_path / "t.parquet", StudyTable(description, runs))
    read = [run.settings.get("loss.x") for run in read_table(tmp_path / "t.parquet").runs]
    assert read == [*values, None]
    assert [type(value) for value in read[:-1]] == [type(value) for value in values]
