"""``run.py bench``: the sections of tests/benchmarks/performance, each in a process with a time limit."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.gpu.report import Row, describe_machine, table, write, write_json

PERFORMANCE = Path(__file__).resolve().parents[1] / "benchmarks" / "performance"
# The sections that use the device, the most wanted first.
SECTIONS = ("limits", "training", "network", "augmentation", "scaling", "methods")
SECONDS_A_SECTION = 240.0


def run(options: argparse.Namespace) -> None:
    """Measure the sections; ``bench.json`` has their states, ``performance.md`` and ``.json`` the figures."""
    deadline = time.monotonic() + (options.seconds or 570.0)
    names = options.only.split(",") if options.only else SECTIONS[:1] if options.small else SECTIONS
    rows: list[Row] = []
    for name in names:
        left = min(SECONDS_A_SECTION, deadline - time.monotonic())
        words = [sys.executable, str(PERFORMANCE), "--device", options.device, "--only", name]
        words += ["--out", str(options.out / "performance")]
        started, state, reason = time.monotonic(), "done", ""
        if left < 10:
            state, reason = "not run", "the time of the call is over"
        else:
            try:
                process = subprocess.run(
                    words, capture_output=True, text=True, check=False, timeout=left
                )
                if process.returncode:
                    state = "failed"
                    reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
            except subprocess.TimeoutExpired:
                state, reason = "failed", f"not finished after {left:.0f} s"
        rows.append(
            {
                "section": name,
                "state": state,
                "seconds": time.monotonic() - started,
                "reason": reason,
            }
        )
        write_json(
            options.out / "bench.json",
            {"machine": describe_machine(options.device), "sections": rows},
        )
        write(options.out / "bench.md", f"# Sections of the performance page\n\n{table(rows)}\n")
        print(f"{name}: {state} {reason}", file=sys.stderr, flush=True)
