"""Measure the performance and write docs/performance.json and docs/performance.md.

    python tests/benchmarks/performance                 # on an otherwise idle machine: some 20 minutes
    python tests/benchmarks/performance --device cuda   # the page of a GPU
    python tests/benchmarks/performance --only limits,training

What is not measured now keeps the figures that the JSON has.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from datetime import date
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

import versions
from machine import describe, load
from page import render
from sections import ON_CPU, SECTIONS

from biascon.utils.memory import retain_freed_memory

DOCS = Path(__file__).parents[3] / "docs"


def main() -> None:
    """Run the sections asked for, keeping the others' figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--against", default=versions.REFERENCE, help="a commit to compare with")
    given = parser.parse_args()
    versions.REFERENCE = given.against
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("error: there is no CUDA device here")
    name = "performance" if device.type == "cpu" else f"performance-{device.type}"
    out: Path = given.out or DOCS / name
    wanted = given.only.split(",") if given.only else list(SECTIONS)
    unknown = set(wanted) - set(SECTIONS)
    if unknown:
        sys.exit(
            f"error: unknown sections {', '.join(sorted(unknown))} (known: {', '.join(SECTIONS)})"
        )
    path = out.with_suffix(".json")
    found = json.loads(path.read_text("utf-8")) if path.exists() else {"sections": {}}
    machine = describe(device)
    # The page is of the machine that measured it whole; a section that was measured elsewhere says so.
    found["machine"] = found.get("machine", machine) if given.only else machine
    retain_freed_memory()  # as training does
    for section in wanted:
        if device.type != "cpu" and section in ON_CPU:
            continue
        busy = load()
        print(f"{section} (load {busy}) ...", file=sys.stderr, flush=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = SECTIONS[section](device)
        for row in rows:
            print("  ", row, file=sys.stderr, flush=True)
        measured: dict[str, object] = {"date": str(date.today()), "load": busy, "rows": rows}
        if machine["processor"] != found["machine"]["processor"]:
            measured["processor"] = f"{machine['processor']}, {machine['vector']}"
        found["sections"][section] = measured
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        out.with_suffix(".md").write_text(render(found), "utf-8")


if __name__ == "__main__":
    main()
