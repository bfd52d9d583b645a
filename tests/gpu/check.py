"""``run.py check``: every part in a process of its own, with a time limit; one JSON and one page."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.gpu.parts import PARTS
from tests.gpu.report import Row, describe_machine, table, write, write_json

SECONDS = 470.0  # of the whole check
LEAST = 8.0  # a part is not started with less time left
SLOWER = 5.0  # the factor of the time limits on a CPU


def run(options: argparse.Namespace) -> None:
    """Run the parts; exit with code 1 if one failed or found a value beyond its limit."""
    slower = SLOWER if options.device == "cpu" else 1.0
    deadline = time.monotonic() + (options.seconds or SECONDS * slower)
    names = options.only.split(",") if options.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise SystemExit(f"error: unknown parts {', '.join(unknown)} (known: {', '.join(PARTS)})")
    results: dict[str, Row] = {}
    machine = describe_machine(options.device)
    for name in names:
        left = min(PARTS[name].seconds * slower, deadline - time.monotonic())
        results[name] = _run_in_process(name, options, left)
        found = results[name]
        write_json(
            options.out / "check.json",
            {"machine": machine, "small": options.small, "parts": results},
        )
        write(options.out / "check.md", render(machine, results))
        print(
            f"{name}: {found['state']}, {found['seconds']:.0f} s {found['reason']}",
            file=sys.stderr,
            flush=True,
        )
    if any(result["state"] != "passed" for result in results.values()):
        raise SystemExit(1)


def _run_in_process(name: str, options: argparse.Namespace, seconds: float) -> Row:
    """Return the state of a part and the rows that it printed, also those before a failure."""
    if seconds < LEAST:
        return {
            "state": "not run",
            "seconds": 0.0,
            "reason": "the time of the call is over",
            "rows": [],
        }
    words = [
        sys.executable, str(Path(__file__).with_name("run.py")), "part", name,
        "--out", str(options.out), "--work", str(options.work), "--device", options.device,
    ]  # fmt: skip
    words += ["--small"] if options.small else []
    words += ["--mnist", str(options.mnist)] if options.mnist is not None else []
    started, reason = time.monotonic(), ""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(words, stdout=out, stderr=errors, start_new_session=True)
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code, reason = None, f"not finished after {seconds:.0f} s"
        finally:
            if process.poll() is None:  # the part and the processes that it started
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(0)
        errors.seek(0)
        rows = _read_rows(out.read())
        if code:
            reason = (errors.read().strip().splitlines() or [f"exit code {code}"])[-1][:500]
    beyond = sum(row.get("ok") is False for row in rows)
    if reason:
        state = "failed"
    elif beyond:
        state, reason = "failed", f"{beyond} of {len(rows)} rows are beyond the limit or failed"
    else:
        state = "passed"
    return {"state": state, "seconds": time.monotonic() - started, "reason": reason, "rows": rows}


def _read_rows(text: str) -> list[Row]:
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off by the time limit
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def run_part(options: argparse.Namespace) -> None:
    """Run one part in this process, and print each row as a line of JSON as soon as it is known."""
    import torch

    from biascon.utils.devices import count_cpus

    torch.set_num_threads(max(1, (count_cpus() or 1) // 2))
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        for row in PARTS[options.name].function(options, Path(scratch)):
            print(json.dumps(row), flush=True)


def render(machine: Row, results: dict[str, Any]) -> str:
    """Return the results as a Markdown page."""
    summary = [
        {
            "part": name,
            "state": result["state"],
            "seconds": result["seconds"],
            "reason": result["reason"],
        }
        for name, result in results.items()
    ]
    sections = [
        f"## {name}\n\n{PARTS[name].what}\n\n{table(result['rows']) if result['rows'] else 'No row.'}"
        for name, result in results.items()
    ]
    about = [{"what": key, "value": value} for key, value in machine.items()]
    parts = ["# Check of biascon on a device", table(about), table(summary), *sections]
    return "\n\n".join(parts) + "\n"
