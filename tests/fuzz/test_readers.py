"""A few changed inputs of each reader; ``make reliability`` reads 100,000 of each."""

from __future__ import annotations

from pathlib import Path

import pytest

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
