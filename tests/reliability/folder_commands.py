"""Commands that replace a folder or a file, killed at random moments.

Each command runs in a process that is forked from one that has imported it, so that most of its time is the
time of its work.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Replacement:
    """A command that replaces what another one wrote.

    Attributes:
        name: The command.
        old: The words of the command that writes the old content.
        new: The words of the command that replaces it.
        out: The folder or file.
        reader: The words of the next command, which must find the old or the new content; it may have none.
    """

    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    out: str
    reader: tuple[str, ...] = ()


BMNIST = ("make-bmnist", "--source", "embedded", "--out", "x/data", "--force", "--rho")
AUDIT = ("audit", "p.csv", "--label", "y", "--prediction", "p", "--bias", "b", "--out", "x/a.json")
REPLACEMENTS = (
    Replacement("make-bmnist", (*BMNIST, "0.9"), (*BMNIST, "0.5"), "x/data", ("inspect", "x/data")),
    Replacement(
        "export",
        ("export", "d9", "--to", "hf", "--out", "x/export", "--force"),
        ("export", "d5", "--to", "hf", "--out", "x/export", "--force"),
        "x/export",
    ),
    Replacement("audit", AUDIT, (*AUDIT, "--seed", "1"), "x/a.json"),
)


@dataclass
class CommandCounts:
    """What the kills of one command did; see ``tests.reliability.folders_campaign.Counts``."""

    kills: int = 0
    lost: int = 0
    wrong: int = 0


def kill_command(
    replacement: Replacement, scratch: Path, *, kills: int, seed: int
) -> CommandCounts:
    """Kill a command at random moments, until it was killed as often as given.

    Args:
        replacement: The command.
        scratch: The current folder of the commands.
        kills: Number of kills.
        seed: Random seed of the moments.
    """
    rng, counts = np.random.default_rng(seed), CommandCounts()
    (scratch / "x").mkdir()
    out = scratch / replacement.out
    digests = []
    for words in (replacement.old, replacement.new):
        started = time.monotonic()
        _run(words, scratch)
        seconds = time.monotonic() - started
        digests.append(digest(out))
    for _ in range(4 * kills):
        _run(replacement.old, scratch)
        if not _is_killed(replacement.new, scratch, rng.uniform(0, seconds)):
            continue
        counts.kills += 1
        if replacement.reader:
            _run(replacement.reader, scratch)
        counts.lost += digest(out) not in digests
        _run(replacement.new, scratch)
        is_clean = [path.name for path in (scratch / "x").iterdir()] == [out.name]
        counts.wrong += digest(out) != digests[1] or not is_clean
        if counts.kills == kills:
            break
    return counts


def digest(path: Path) -> str:
    """Return a SHA-256 of a file, or of the names and bytes of all files below a folder."""
    state = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            state.update(f"{file.relative_to(path)}\n".encode() + file.read_bytes())
    return state.hexdigest()


def _run(words: Sequence[str], folder: Path) -> None:
    _, status = os.waitpid(_start(words, folder), 0)
    assert status == 0, f"{words} ended with {status}"


def _is_killed(words: Sequence[str], folder: Path, seconds: float) -> bool:
    child = _start(words, folder)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _start(words: Sequence[str], folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.chdir(folder)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        from biascon.cli.app import main

        main(list(words))
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
    except BaseException:
        os._exit(99)
    os._exit(0)


def main(scratch: Path, kills: int) -> None:
    """Kill each command, and print its name and counts: ``python -m tests.reliability.folder_commands``."""
    import biascon.auditing.api
    import biascon.auditing.display.text
    import biascon.cli.app
    import biascon.data.bridges.export
    import biascon.data.builders.biased_mnist  # noqa: F401 - imported before the first fork

    lines = "".join(f"{k % 3},{k % 2},{k % 5 % 2}\n" for k in range(3000))
    (scratch / "p.csv").write_text(f"y,p,b\n{lines}", encoding="utf-8")
    for folder, rho in (("d9", "0.9"), ("d5", "0.5")):
        _run((*BMNIST[:4], folder, "--rho", rho), scratch)
    for seed, replacement in enumerate(REPLACEMENTS):
        counts = kill_command(replacement, scratch, kills=kills, seed=seed)
        print(replacement.name, counts.kills, counts.lost, counts.wrong, flush=True)
        subprocess.run(["rm", "-r", str(scratch / "x")], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
