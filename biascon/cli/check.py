"""``biascon check``: compare every byte of a workspace with what was written."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import click

from biascon.cli.options import FOLDER
from biascon.cli.output import print_json, print_note, print_text

NOTE_INTERVAL = 5.0  # seconds between two lines of progress


@click.command(name="check")
@click.argument("path", type=FOLDER, default=".", metavar="[PATH]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(path: Path, as_json: bool) -> None:
    """Check every byte of the datasets, runs, caches, reports and studies below PATH, and change nothing.

    PATH is a folder with all of them, or one of them; the default is this folder. Each line says what is
    wrong and what to do. The exit code is 1 if something is wrong.
    """
    from biascon.errors import BiasconError
    from biascon.report.workspace import CheckedThing, Kind, check_workspace
    from biascon.utils.text import visible

    things: list[CheckedThing] = []
    noted = time.monotonic()
    for thing in check_workspace(path):
        things.append(thing)
        if not as_json:
            for problem in thing.problems:
                print_text(visible(f"{thing.kind.noun}: {problem}"))
        if time.monotonic() - noted > NOTE_INTERVAL:
            print_note(f"checked: {len(things):,}")
            noted = time.monotonic()
    counts = Counter(thing.kind for thing in things)
    wrong = Counter(thing.kind for thing in things if thing.problems)
    if as_json:
        result = {
            "checked": {kind.name.lower(): counts[kind] for kind in Kind},
            "wrong": [
                {"path": str(t.path), "kind": t.kind.name.lower(), "problems": list(t.problems)}
                for t in things
                if t.problems
            ],
        }
        print_json(json.dumps(result, indent=2))
    else:
        for kind in wrong:
            print_text(f"what to do with a damaged {kind.noun}: {kind.remedy}")
        parts = [
            f"{counts[kind]:,} {kind.noun if counts[kind] == 1 else kind.plural}"
            for kind in Kind
            if counts[kind]
        ]
        print_text(f"checked: {', '.join(parts) or 'nothing that biascon wrote'}")
    if wrong:
        raise BiasconError(f"{sum(wrong.values()):,} of {len(things):,} have a fault")
