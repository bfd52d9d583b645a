"""Campaign ``signals``: Ctrl-C, SIGTERM, SIGHUP and SIGKILL to commands at random moments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.reliability.campaign import Row

SWEEP_TEST = "tests/sweep/test_signals.py::test_a_signal_to_a_sweep_leaves_no_run_behind"
CLEANUP_TEST = "tests/sweep/test_signals.py::test_a_signal_runs_the_cleanup_of_a_command"


def run(scratch: Path) -> list[Row]:
    """Return a row for each command."""
    words = [sys.executable, "-m", "tests.reliability.signal_commands", str(scratch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    rows = []
    for line in done.stdout.splitlines():
        command, counts = json.loads(line)
        for fault in counts["faults"]:
            print(fault, file=sys.stderr)
        starts_processes = command in ("sweep", "tune")
        rows.append(
            Row(
                f"SIGINT, SIGTERM, SIGHUP or SIGKILL to `{command}`",
                "in turn, at random moments, to the process or to its group; after every fourth the command "
                "ran to its end",
                counts["signals"],
                counts["lost"],
                counts["wrong"],
                SWEEP_TEST if starts_processes else CLEANUP_TEST,
                "not while Python itself starts or ends",
            )
        )
    return rows
