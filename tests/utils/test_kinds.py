"""A record that was read from a file holds values of the kinds of its annotations."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from biascon.utils.kinds import check_kinds


class Color(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    n: int


@dataclass(frozen=True)
class Record:
    n: int = 1
    value: float | None = 0.5
    name: str = "x"
    flag: bool = True
    table: Sequence[Sequence[int]] = ((1, 2), (3, 4))
    inner: Mapping[str, Inner] | None = None
    color: Color = Color.RED
    free: Any = None


def test_values_of_the_right_kinds_are_accepted() -> None:
    check_kinds(Record())
    check_kinds(Record(value=None, table=[], inner={"a": Inner(1)}, free=object()))
    check_kinds(Record(value=3))


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 1.0}, {"n": True}, {"n": "1"}, {"n": 2**63}, {"n": None}, {"value": "0.5"},
        {"value": True}, {"value": float("nan")}, {"value": float("inf")}, {"value": 10**400},
        {"name": 1}, {"name": ["x"]}, {"flag": 1}, {"table": 5}, {"table": "ab"}, {"table": [[1], [None]]},
        {"table": {"a": 1}}, {"inner": []}, {"inner": {"a": 1}}, {"inner": {1: Inner(1)}},
        {"inner": {"a": Inner("1")}}, {"color": "red"},
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        check_kinds(Record(**changes))
