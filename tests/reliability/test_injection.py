"""A few faults of the campaigns ``injection`` and ``kill``: calls of ``audit`` fail, or are its last."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.reliability.injection import compile_library, start_server

PLAN = (
    ("audit", "EIO", 4),
    ("audit", "ENOSPC", 2),
    ("audit", "EACCES", 2),
    ("audit", "SIGKILL", 3),
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the counts of each fault."""
    folder = tmp_path_factory.mktemp("injection")
    library = compile_library(folder)
    if library is None:
        pytest.skip("needs Linux and a C compiler named cc")
    done = start_server(library, [str(folder), json.dumps(PLAN)])
    assert done.returncode == 0, done.stderr
    return {part["fault"]: part for part in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC", "EACCES"])
def test_a_failing_call_ends_in_one_line_and_loses_nothing(parts: Any, fault: str) -> None:
    assert parts[fault]["times"] >= 2
    assert parts[fault]["findings"] == []
    assert parts[fault]["harmless"] < parts[fault]["times"]


def test_a_kill_at_a_call_leaves_the_same_bytes_after_the_next_command(parts: Any) -> None:
    assert parts["SIGKILL"]["times"] >= 2
    assert parts["SIGKILL"]["findings"] == []
