"""Seconds and peak memory of report, compare and list over many made runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from made_runs import LOSSES, make_runs, train_templates

# What a row is named, the losses, the seeds and the datasets.
GRIDS = (
    ("100 runs: 10 losses x 10 seeds", LOSSES, 10, 1),
    ("1,000 runs: 10 losses x 10 seeds x 10 datasets", LOSSES, 10, 10),
    ("1,000 runs: 2 losses x 500 seeds", LOSSES[:2], 500, 1),
)
LISTED = 10_000


def scale(device: torch.device) -> list[dict[str, Any]]:
    """Return wall and user seconds and the peak memory of each command, once in a process of its own."""
    del device
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        templates = train_templates(folder)
        for what, losses, seeds, datasets in GRIDS:
            root = folder / f"runs-{len(rows)}"
            made = make_runs(root, templates, losses=losses, seeds=seeds, datasets=datasets)
            out = str(folder / "report")
            report = ["report", "--runs", str(root), "--out", out, "--data", str(folder / "none")]
            for command, words in (
                ("report", report),
                ("report, a second time", report),
                (f"compare --against {losses[0]}", ["compare", str(root), "--against", losses[0]]),
                ("list runs", ["list", "runs", "--runs", str(root)]),
                ("list runs --verify", ["list", "runs", "--runs", str(root), "--verify"]),
            ):
                rows.append({"what": f"{what}: {command}", **_measure(words)})
        many = folder / "many"
        _link_copies(made, many, LISTED // len(made))
        words = ["list", "runs", "--runs", str(many)]
        rows.append({"what": f"{LISTED:,} runs: list runs", **_measure(words)})
    return rows


# Runs a command, and prints its peak memory. That of getrusage includes the memory of the parent process.
COMMAND = """
import sys
from biascon.cli import main
from biascon.utils.memory import peak_memory_mib
code = 0
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code or 0
print(f"\\npeak {peak_memory_mib()}")
sys.exit(code)
"""


def _measure(words: Sequence[str]) -> dict[str, float]:
    """Run a command of biascon, and return its seconds and its peak memory."""
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"biascon {' '.join(words)} ended with code {done.returncode}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "user seconds": round(os.times().children_user - before.children_user, 1),
        "peak, MiB": int(done.stdout.split()[-1]),
    }


def _link_copies(folders: Sequence[Path], root: Path, copies: int) -> None:
    """Write several copies of run folders whose files are links to the same files."""
    for copy in range(copies):
        for folder in folders:
            target = root / f"copy{copy}" / folder.parent.name / folder.name
            target.mkdir(parents=True)
            for path in folder.iterdir():
                if path.is_file() and not path.name.startswith("features-"):
                    os.link(path, target / path.name)
