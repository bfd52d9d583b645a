"""Changed inputs of every reader: only errors of one line come out.

``BIASCON_FUZZ_INPUTS`` sets the number of inputs of a reader, 100,000 without it. The readers whose input
is a whole command get a tenth of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.fuzz.readers import Reader, make_readers
from tests.fuzz.run import fuzz
from tests.reliability.campaign import Row
from tests.small_datasets import write_faces

COMMANDS = ("manifest", "evaluation", "audit csv", "audit arrow", "audit parquet", "audit jsonl")


def run(scratch: Path) -> list[Row]:
    """Fuzz all readers; print each fault."""
    inputs = int(os.environ.get("BIASCON_FUZZ_INPUTS", "100000"))
    readers = make_readers(scratch, write_faces(scratch / "data"))
    return [_run_reader(reader, scratch, inputs) for reader in readers]


def _run_reader(reader: Reader, scratch: Path, inputs: int) -> Row:
    folder = scratch / "inputs" / reader.name.replace(" ", "-")
    folder.mkdir(parents=True)
    outcome = fuzz(reader, folder, inputs // (10 if reader.name in COMMANDS else 1), seed=1)
    for fault, count in outcome.faults.most_common():
        print(
            f"  {reader.name}: {fault}: {count} times, for example {outcome.examples[fault][:200]!r}"
        )
    return Row(
        fault=f"changed input: {reader.name}",
        how=f"`{reader.mutate.__name__}` on valid inputs, seeded",
        times=outcome.inputs,
        lost=0,
        wrong=sum(outcome.faults.values()),
        test="tests/fuzz/test_readers.py::test_a_changed_input_is_read_or_refused_in_one_line",
        note=f"{outcome.accepted:,} were still valid",
    )
