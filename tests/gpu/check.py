"""``run.py check``: every part in a process of its own, with a time limit; one JSON and one page."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from biascon.errors import UsageError
from tests.gpu.parts import PARTS
from tests.gpu.process import run_limited
from tests.gpu.report import Row, describe_machine, table, write, write_json

SECONDS = 470.0  # of the whole check
LEAST = 8.0  # a part is not started with less time left
SLOWER = 5.0  # the factor of the time limits on a CPU


def run(options: argparse.Namespace) -> None:
    """Run the parts; exit with code 1 if one failed, was not run, or found a value beyond its limit.

    Raises:
        UsageError: A name of ``--only`` is unknown.
    """
    slower = SLOWER if options.device == "cpu" else 1.0
    deadline = time.monotonic() + (options.seconds or SECONDS * slower)
    names = options.only.split(",") if options.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise UsageError(f"unknown parts {', '.join(unknown)} (known: {', '.join(PARTS)})")
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
    if any(result["state"] not in ("passed", "incomplete") for result in results.values()):
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
    ended = run_limited(words, seconds)
    rows, reason = _read_rows(ended.out), ended.reason
    result: Row = {"state": "passed", "seconds": ended.seconds, "reason": reason, "rows": rows}
    plan = PARTS[name].planned
    missing: list[Row] = []
    if plan is not None:
        missing = [wanted for wanted in plan(options) if not any(_is_of(wanted, r) for r in rows)]
        result["missing"] = missing
    beyond = sum(row.get("ok") is False for row in rows)
    if beyond:
        bad = f"{beyond} of {len(rows)} rows are beyond the limit or failed"
        result |= {"state": "failed", "reason": f"{bad}; {reason}" if reason else bad}
    elif ended.code is None and plan is not None and rows:
        found = f"{reason}: {len(missing)} of {len(missing) + len(rows)} rows are missing"
        result |= {"state": "incomplete", "reason": found}
    elif reason:
        result["state"] = "failed"
    return result


def _is_of(planned: Row, row: Row) -> bool:
    """Return whether a row is the one that was planned: it has these columns with these values."""
    return all(row.get(key) == value for key, value in planned.items())


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
    """Run one part in this process, and print each row as a line of JSON as soon as it is known.

    Raises:
        UsageError: There is no part of this name.
    """
    if options.name not in PARTS:
        got = f"got '{options.name}'" if options.name else "got no name"
        raise UsageError(f"expected the name of a part ({', '.join(PARTS)}), but {got}")
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
    sections = [_render_part(name, result) for name, result in results.items()]
    about = [{"what": key, "value": value} for key, value in machine.items()]
    parts = ["# Check of biascon on a device", table(about), table(summary), *sections]
    return "\n\n".join(parts) + "\n"


def _render_part(name: str, result: Row) -> str:
    """Return the section of a part: its explanation, its rows, and the planned rows that are missing."""
    section = [
        f"## {name}",
        PARTS[name].what,
        table(result["rows"]) if result["rows"] else "No row.",
    ]
    if result.get("missing"):
        section += [
            "Missing, not reached within the time limit or after a failure:",
            table(result["missing"]),
        ]
    return "\n\n".join(section)
