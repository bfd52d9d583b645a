"""Run campaigns and write their counts: ``python -m tests.reliability [NAME ...]``.

The counts of a campaign replace those of its last run in ``docs/reliability.json``; those of other campaigns
stay. The table of ``docs/reliability.md`` is written from the JSON file, between two marks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from biascon.version import __version__
from tests.reliability.campaign import Row

ROOT = Path(__file__).resolve().parents[2]
COUNTS = ROOT / "docs" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
SUFFIX = "_campaign"


def list_campaigns() -> list[str]:
    """Return the names of all campaigns, sorted."""
    return sorted(
        path.stem.removesuffix(SUFFIX) for path in Path(__file__).parent.glob(f"*{SUFFIX}.py")
    )


def run_campaign(name: str) -> list[Row]:
    """Run one campaign in a folder of its own."""
    module = importlib.import_module(f"tests.reliability.{name}{SUFFIX}")
    with tempfile.TemporaryDirectory(prefix=f"biascon-{name}-") as scratch:
        rows: list[Row] = module.run(Path(scratch))
    return rows


def write_counts(counts: dict[str, list[dict[str, object]]]) -> None:
    """Write the JSON file and the table of the page."""
    COUNTS.write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text(f"{head}{BEGIN}\n{render_table(counts)}{END}{tail}", encoding="utf-8")


def render_table(counts: dict[str, list[dict[str, object]]]) -> str:
    """Return the table of the page in Markdown."""
    lines = [
        "| fault | how it was injected | times | lost | wrong | quick test | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for _, rows in sorted(counts.items()):
        for row in rows:
            times, test = f"{row['times']:,}", f"`{row['test']}`"
            cells = (row["fault"], row["how"], times, row["lost"], row["wrong"], test, row["note"])
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaigns that are named, or all of them; return 1 if a fault lost data or was wrong."""
    known = list_campaigns()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*known, []], default=[])
    names = parser.parse_args(arguments).names or known
    counts = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.is_file() else {}
    bad = 0
    for name in names:
        rows = run_campaign(name)
        for row in rows:
            bad += row.lost + row.wrong
            print(
                f"{name}: {row.fault}: {row.times} times, {row.lost} lost, {row.wrong} wrong",
                flush=True,
            )
        counts[name] = [asdict(row) for row in rows]
        write_counts(counts)
    print(
        f"biascon {__version__}: {len(names)} campaigns, {bad} faults that lost data or were wrong"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
