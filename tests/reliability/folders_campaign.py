"""Campaign ``folders``: writers that replace folders and files are killed in every line that they execute.

A child process counts the lines of Python that it executes in the modules that write (a trace function). It
sends itself SIGKILL before the n-th, for n = 1, 2, ... until it has fewer lines. After each kill, the old or
the new content must be there; after the next command, nothing else may be. Then whole commands are killed at
random moments (``folder_commands``).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from biascon.utils import files, folders, locks, renaming, temporary_files
from tests.reliability.campaign import Row

N_FILES = 3
N_KILLS = 12  # of each command
_MODULES = (files, folders, locks, renaming, temporary_files, shutil)
_TRACED = {module.__file__ for module in _MODULES}


@dataclass
class Counts:
    """What the kills did.

    Attributes:
        kills: Processes that were killed.
        lost: Kills after which neither the old nor the new content was there, complete.
        wrong: Kills after which the next command failed, or something else was left.
        gaps: Kills after which the folder was missing until the next command.
    """

    kills: int = 0
    lost: int = 0
    wrong: int = 0
    gaps: int = 0


def run(scratch: Path) -> list[Row]:
    """Kill writers of folders, with and without an exchange of names, and writers of files."""
    rows = []
    for can_exchange, how in ((True, "renameat2"), (False, "two renames")):
        counts = kill_in_every_line(scratch, can_exchange=can_exchange)
        rows.append(
            Row(
                f"SIGKILL while a folder is replaced by {how}",
                "before each line of Python that the writer executes",
                counts.kills,
                counts.lost,
                counts.wrong + (counts.gaps if can_exchange else 0),
                "tests/utils/test_folders.py::TestReplacing::test_a_kill_in_any_line_leaves_old_or_new",
                f"the name was missing until the next command after {counts.gaps} kills",
            )
        )
    counts = kill_writers_of_files(scratch)
    rows.append(
        Row(
            "SIGKILL while the files of a report are replaced",
            "before each line of Python that the writer executes",
            counts.kills,
            counts.lost,
            counts.wrong,
            "tests/utils/test_folders.py::TestReplacing::test_a_kill_in_any_line_leaves_old_or_new",
            "each file is the old or the new one; a set of files can be a mixture until the next command",
        )
    )
    command = [
        sys.executable,
        "-m",
        "tests.reliability.folder_commands",
        str(scratch),
        str(N_KILLS),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        name, *numbers = line.split()
        kills, lost, wrong = map(int, numbers)
        option = "--out" if name == "audit" else "--force"
        rows.append(
            Row(
                f"SIGKILL of `{name} {option}`",
                "at random moments; then the next command, then the same one again",
                kills,
                lost,
                wrong,
                "tests/data/test_saving.py::"
                "TestWriting::test_a_build_killed_half_way_leaves_no_folder_and_is_swept",
            )
        )
    return rows


def kill_in_every_line(scratch: Path, *, can_exchange: bool, step: int = 1) -> Counts:
    """Kill a process that replaces a folder before its n-th line, for n = 1, 1 + step, ...

    Args:
        scratch: A folder to work in.
        can_exchange: Whether the system may exchange two names in one step.
        step: The distance of the lines.
    """
    parent = scratch / f"folders-{can_exchange}"
    parent.mkdir()
    target, counts = parent / "x", Counts()
    _fill(target, "old")

    def write() -> None:
        with folders.new_folder(target, replace=True) as work:
            _fill(work, "new")

    def prepare() -> None:
        if not can_exchange:
            vars(folders)["exchange"] = lambda one, other: False

    n = 1
    while _is_killed_before_line(n, write, prepare):
        counts.kills += 1
        counts.gaps += not target.exists()
        folders.recover_folder(target)
        counts.lost += _read(target) not in ("old", "new")
        with folders.lock_target(target):  # as every command that writes the folder
            pass
        if _read(target) not in ("old", "new") or _names(parent) != ["x"]:
            counts.wrong += 1
        shutil.rmtree(parent)
        parent.mkdir()
        _fill(target, "old")
        n += step
    counts.wrong += _read(target) != "new" or _names(parent) != ["x"]
    return counts


def kill_writers_of_files(scratch: Path, *, step: int = 1) -> Counts:
    """Kill a process that replaces three files before its n-th line, for n = 1, 1 + step, ..."""
    parent = scratch / "files"
    _fill(parent, "old")
    new, counts, n = _contents("new"), Counts(), 1

    def write() -> None:
        files.write_together({parent / name: text for name, text in new.items()})

    while _is_killed_before_line(n, write, lambda: None):
        counts.kills += 1
        for name in new:
            content = (parent / name).read_text(encoding="utf-8") if name in _names(parent) else ""
            counts.lost += content not in (new[name], _contents("old")[name])
        files.write_together({parent / name: text for name, text in _contents("old").items()})
        counts.wrong += _read(parent) != "old" or _names(parent) != sorted(new)
        n += step
    counts.wrong += _read(parent) != "new"
    return counts


def _is_killed_before_line(n: int, act: Callable[[], None], prepare: Callable[[], None]) -> bool:
    """Run ``act`` in a child process that kills itself before its n-th line; return False if it has fewer."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            sys.settrace(_Counter(n).trace)
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the writer failed"
    return False


@dataclass
class _Counter:
    """Counts lines of the traced modules, and kills the process before the last one."""

    left: int

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in _TRACED:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace


def main(what: str, scratch: Path, step: int) -> None:
    """Run one part and print its counts: a test runs it in a process of its own, without threads."""
    if what == "files":
        counts = kill_writers_of_files(scratch, step=step)
    else:
        counts = kill_in_every_line(scratch, can_exchange=what == "exchange", step=step)
    print(counts.kills, counts.lost, counts.wrong, counts.gaps)


def _contents(kind: str) -> dict[str, str]:
    return {f"{number}.txt": f"{kind} {number}\n" * 1000 for number in range(N_FILES)}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _fill(folder: Path, kind: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in _contents(kind).items():
        (folder / name).write_text(text, encoding="utf-8")


def _read(folder: Path) -> str | None:
    """Return which content a folder holds, complete and without anything else; None if it is neither."""
    if not folder.is_dir():
        return None
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    return next((kind for kind in ("old", "new") if found == _contents(kind)), None)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
