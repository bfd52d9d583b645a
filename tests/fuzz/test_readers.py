"""A few changed inputs of each reader; ``make reliability`` reads 100,000 of each."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from biascon.data.builders.mnist_source import parse_idx
from biascon.errors import DataError, RunError
from biascon.utils.kinds import check_kinds
from tests.fuzz.readers import Reader, make_readers
from tests.fuzz.run import fuzz
from tests.small_datasets import write_faces

NAMES = (
    "idx", "idx.gz", "manifest", "dataset arrays", "evaluation", "predictions", "end marker", "journal",
    "checkpoint", "weights", "preset", "grid", "study", "study table", "names", "audit csv",
    "audit arrow", "audit parquet", "audit jsonl",
)  # fmt: skip
SLOW = dict.fromkeys(("manifest", "evaluation"), 12)
SLOW |= dict.fromkeys((name for name in NAMES if name.startswith("audit")), 8)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    folder = tmp_path_factory.mktemp("readers")
    return {reader.name: reader for reader in make_readers(folder, write_faces(folder / "data"))}


def test_every_reader_is_fuzzed(readers: dict[str, Reader]) -> None:
    assert tuple(readers) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_valid_inputs_are_accepted(
    name: str, readers: dict[str, Reader], tmp_path: Path
) -> None:
    for seed in readers[name].seeds:
        readers[name].read(seed, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_input_is_read_or_refused_in_one_line(
    name: str, readers: dict[str, Reader], tmp_path: Path
) -> None:
    outcome = fuzz(readers[name], tmp_path, SLOW.get(name, 40), seed=0)
    assert not outcome.faults, outcome.examples


@dataclass(frozen=True)
class Inner:
    value: float | None
    n: int


@dataclass(frozen=True)
class Outer:
    name: str
    parts: Mapping[str, Inner]
    cells: Sequence[Sequence[int]]
    inner: Inner | None = None


def test_valid_kinds_are_accepted() -> None:
    check_kinds(Outer("a", {"x": Inner(1, 2)}, [[1, 2], (3,)], Inner(None, 0)))


@pytest.mark.parametrize(
    "record",
    [
        Outer(3, {}, []),  # type: ignore[arg-type]
        Outer("a", {"x": Inner("1", 2)}, []),  # type: ignore[arg-type]
        Outer("a", {"x": Inner(1.0, True)}, []),
        Outer("a", {"x": Inner(1.0, None)}, []),  # type: ignore[arg-type]
        Outer("a", {"x": Inner(float("nan"), 1)}, []),
        Outer("a", {"x": Inner(1.0, 10**400)}, []),
        Outer("a", {}, [["1"]]),  # type: ignore[list-item]
        Outer("a", {}, "12"),  # type: ignore[arg-type]
        Outer("a", {}, [], Inner([], 1)),  # type: ignore[arg-type]
        Outer("a", [], []),  # type: ignore[arg-type]
    ],
)
def test_other_kinds_are_refused(record: Outer) -> None:
    with pytest.raises((TypeError, ValueError)):
        check_kinds(record)


@pytest.mark.parametrize("shape", [(0, 2**32 - 1, 2**32 - 1, 2**32 - 1), (0,) * 70])
def test_an_impossible_shape_of_idx_is_refused(shape: tuple[int, ...]) -> None:
    data = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    with pytest.raises(DataError, match="impossible shape"):
        parse_idx(data, "x")


IMPOSSIBLE = {
    "rate": lambda tree: tree["top1"].update(value=1.5),
    "rows": lambda tree: tree["worst_group"].update(n=-1),
    "limits": lambda tree: tree["top1"].update(ci=[0.9, 0.1]),
    "text": lambda tree: tree.update(top1="x"),
    "list": lambda tree: tree["unbiased"].update(value=[0.5]),
    "label": lambda tree: tree["labels"].append(tree["labels"][0]),
    "training": lambda tree: tree["training"].update(n=1),
    "shape": lambda tree: tree["counts"].pop(),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_evaluation_is_refused(
    name: str, readers: dict[str, Reader], tmp_path: Path
) -> None:
    tree = json.loads(readers["evaluation"].seeds[0])
    IMPOSSIBLE[name](tree)
    with pytest.raises(RunError, match="is damaged or of another version of biascon"):
        readers["evaluation"].read(json.dumps(tree).encode(), tmp_path)
