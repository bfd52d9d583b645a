"""``run.py bench``: the sections of tests/benchmarks/performance, each in a process with a time limit."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from biascon.errors import UsageError
from tests.gpu.process import run_limited
from tests.gpu.report import Row, describe_machine, table, write, write_json

PERFORMANCE = Path(__file__).resolve().parents[1] / "benchmarks" / "performance"
# The sections that use the device, the most wanted first.
SECTIONS = ("limits", "training", "network", "augmentation", "scaling", "methods")
SECONDS_A_SECTION = 240.0
LEAST = 10.0  # a section is not started with less time left


def run(options: argparse.Namespace) -> None:
    """Measure the sections; ``bench.json`` has their states, ``performance.md`` and ``.json`` the figures.

    The exit code is 1 if a section failed or took too long.

    Raises:
        UsageError: A name of ``--only`` is unknown.
    """
    deadline = time.monotonic() + (options.seconds or 570.0)
    names = options.only.split(",") if options.only else SECTIONS[:1] if options.small else SECTIONS
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise UsageError(f"unknown sections {', '.join(unknown)} (known: {', '.join(SECTIONS)})")
    rows: list[Row] = []
    for name in names:
        left = min(SECONDS_A_SECTION, deadline - time.monotonic())
        words = [sys.executable, str(PERFORMANCE), "--device", options.device, "--only", name]
        words += ["--out", str(options.out / "performance")]
        row: Row = {"section": name, "state": "not run", "seconds": 0.0}
        row["reason"] = "the time of the call is over"
        if left >= LEAST:
            ended = run_limited(words, left)
            row |= {"state": "failed" if ended.reason else "done", "seconds": ended.seconds}
            row["reason"] = ended.reason
        rows.append(row)
        machine = describe_machine(options.device)
        write_json(options.out / "bench.json", {"machine": machine, "sections": rows})
        write(options.out / "bench.md", f"# Sections of the performance page\n\n{table(rows)}\n")
        print(f"{name}: {row['state']} {row['reason']}", file=sys.stderr, flush=True)
    if any(row["state"] == "failed" for row in rows):
        raise SystemExit(1)
