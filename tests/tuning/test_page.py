"""docs/tuning.md is true of the code: its study file, its tables of spaces, rules and columns."""

from __future__ import annotations

import io
import re
import tomllib
from pathlib import Path

import pyarrow.parquet as pq

from biascon.losses import LOSSES
from biascon.studies.records import VAL_METRICS, Stage, StudyRun
from biascon.studies.selection import RULES
from biascon.studies.table import StudyTable, to_parquet
from biascon.tuning import study
from biascon.tuning.plan import resolve_methods
from biascon.tuning.space import SHARED

PAGE = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")


def read_rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a header row, without the backticks of its first column."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names_in(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def test_the_study_file_is_read_and_has_every_key() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    tree = tomllib.loads(text)
    assert set(tree) | {"data", "bias"} == set(study._KEYS)
    assert set(tree["confirm"]) | {"data"} == set(study._CONFIRM_KEYS)
    assert set(tree["methods"]["contex-log1p"]) == set(study._METHOD_KEYS)
    spec = study.parse_study(tree)
    spaces = {method.name: method.space for method in resolve_methods(spec)}
    assert "augment.strength" not in spaces["contex"]
    assert spaces["supcon"]["loss.temperature"].to_json() == {"choice": [0.05, 0.1, 0.2]}
    assert spaces["contex-log1p"]["loss.wa"].to_json() == {"uniform": [0.3, 0.9]}


def test_the_own_parameters_are_those_of_the_registry() -> None:
    stated = {}
    for cell, parameters in read_rows("method | own parameters"):
        for name in names_in(cell):
            stated[name] = parameters
    expected = {
        name: "; ".join(f"`{key}` {value.describe()}" for key, value in entry.search.items())
        for name, entry in LOSSES.items()
        if entry.search
    }
    assert stated == expected


def test_the_shared_parameters_are_all_of_them() -> None:
    rows = read_rows("parameter | distribution")
    assert [names_in(row[0])[0] for row in rows] == list(SHARED)


def test_the_rules_are_all_of_them() -> None:
    rows = read_rows("rule | score | needs bias labels of validation images")
    assert {names_in(row[0])[0]: row[2].startswith("yes") for row in rows} == {
        name: rule.needs_bias for name, rule in RULES.items()
    }


def test_the_columns_are_all_of_them() -> None:
    stated = {name for row in read_rows("column | content") for name in names_in(row[0])}
    stated -= {"setting.KEY", "val.METRIC", "test.METRIC"}
    run = StudyRun(Stage.TRIAL, "a", 0, 0, 0, 0, "d", None, None, "d", "r", {"loss.x": 1})
    table = StudyTable({"name": "t", "methods": {"a": {}}}, [run])
    names = set(pq.read_schema(io.BytesIO(to_parquet(table))).names)
    open_ended = {name for name in names if re.match(r"(setting|val|test)\.", name)} - stated
    assert names - open_ended == stated
    assert {f"val.{metric}" for metric in VAL_METRICS} < open_ended
    (stages,) = (row[1] for row in read_rows("column | content") if row[0] == "`stage`")
    assert names_in(stages) == [stage.value for stage in Stage]
