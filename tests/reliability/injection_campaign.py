"""Campaign ``injection``: the n-th call of the system fails, for every command of the command line.

See ``injection`` for the checks and ``injection_cases`` for the commands. Commands that make many calls are
struck at every k-th only; the notes of the rows state k. About 10 minutes of one core.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.reliability.campaign import Row
from tests.reliability.injection import FAULTS, compile_library, start_server
from tests.reliability.injection_cases import list_cases

TEST = "tests/reliability/test_injection.py::test_"
TEST_OF = {"SIGKILL": "a_kill_at_a_call_leaves_the_same_bytes_after_the_next_command"}
HOW = {
    "EIO": "the n-th open, read, write, fsync, close, rename, mkdir or unlink fails",
    "ENOSPC": "from the n-th on, every call that needs space fails",
    "EACCES": "the n-th call that opens, names or removes something fails",
    "SIGKILL": "at the n-th call that changes a file, half of a write done; then the same command again",
}
# A share of the limit of a case, so that the campaign takes about 10 minutes.
SHARE = 3


def run(scratch: Path) -> list[Row]:
    """Inject all errors into all commands."""
    return inject(scratch, [fault.name for fault in FAULTS if fault.code], share=SHARE)


def inject(scratch: Path, faults: Sequence[str], *, share: int) -> list[Row]:
    """Inject faults into all commands, and return a row for each fault.

    Args:
        scratch: A folder to work in.
        faults: Names of faults.
        share: Each case gets its limit of injections, divided by this.

    Raises:
        RuntimeError: There is no compiler, or a command fails without a fault.
    """
    library = compile_library(scratch)
    if library is None:
        raise RuntimeError("the injector needs Linux and a C compiler named cc")
    plan = [
        (case.name, fault, max(2, case.limit // share)) for case in list_cases() for fault in faults
    ]
    done = start_server(library, [str(scratch), json.dumps(plan)])
    if done.returncode:
        raise RuntimeError(f"the injector ended with {done.returncode}: {done.stderr[-2000:]}")
    parts = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    failed = [part["failed"] for part in parts if "failed" in part]
    if failed or len(parts) != len(plan):
        raise RuntimeError(f"{len(parts)} of {len(plan)} parts, failed: {failed}")
    for part in parts:
        for finding in part["findings"]:
            print(f"injection: {finding}", file=sys.stderr)
    return [
        _make_row(fault, [part for part in parts if part["fault"] == fault]) for fault in faults
    ]


def _make_row(fault: str, parts: Sequence[dict[str, Any]]) -> Row:
    """Return the row of one fault from its counts in each command."""
    strides = {part["case"]: -(-part["calls"] // max(part["times"], 1)) for part in parts}
    sparse = [f"{name} every {k}" for name, k in strides.items() if k > 1]
    every = sum(k <= 1 for k in strides.values())
    notes = [f"{len(parts)} commands, {every} of them at every call"]
    if sparse:
        notes.append(f"about every k-th call: {', '.join(sparse)}")
    harmless = sum(part["harmless"] for part in parts)
    if harmless:
        notes.append(f"{harmless} did not matter, and the command succeeded")
    return Row(
        f"{fault} at the n-th call",
        HOW[fault],
        sum(part["times"] for part in parts),
        sum(part["lost"] for part in parts),
        sum(part["wrong"] for part in parts),
        TEST + TEST_OF.get(fault, "a_failing_call_ends_in_one_line_and_loses_nothing"),
        "; ".join(notes),
    )
