"""Commands that get signals at random moments, then run to their end: nothing is left, and nothing is lost.

Commands of one process are forked from a process that has imported them, so that most of their time is the
time of their work. ``sweep`` and ``tune`` are started anew, since they start processes.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
TO_THE_END = 4  # signals, after which the command runs to its end
END, KILLED_END = 5.0, 20.0  # seconds until no process may be left: after a signal, after SIGKILL
MACHINE_KEYS = ("seconds", "views_per_second", "peak_memory_mib")  # of metrics.jsonl
BASE = ("--preset", "smoke", "--runs", "x/runs")
IMAGES = 200


@dataclass(frozen=True)
class Command:
    """A command that gets signals.

    Attributes:
        words: Its words; everything that it writes is below ``x``.
        signals: How many signals it gets.
        starts_processes: Whether it starts other processes.
    """

    words: tuple[str, ...]
    signals: int
    starts_processes: bool = False


COMMANDS = (
    Command(("make-bmnist", "--rho", "0.9", "--source", "embedded", "--out", "x/data"), 24),
    Command(
        ("make-table", "pictures.csv", "--image-col", "file", "--label-col", "y", "--bias-col",
         "b", "--size", "224", "--out", "x/data"),
        24,
    ),
    Command(("evaluate", "--loss", "ce", "--data", "faces", *BASE,
             "--set", "train.epochs=6", "--set", "train.threads=1"), 24),
    Command(("sweep", "grid.toml", "--workers", "2", "--runs", "x/runs"), 12, True),
    Command(("tune", "study.toml", "--workers", "2", "--runs", "x/runs", "--out", "x/out"), 8, True),
)  # fmt: skip


@dataclass
class SignalCounts:
    """What the signals to one command did.

    Attributes:
        signals: Signals that ended the command.
        lost: Signals after which a finished run was another one or gone.
        wrong: Signals after which the exit code or the line was another one than promised, or a process was
            left; and commands that ended with other results or files than undisturbed ones.
        faults: A line about each of these.
    """

    signals: int
    lost: int
    wrong: int
    faults: list[str]


def write_inputs(scratch: Path) -> None:
    """Write the dataset, the pictures, the grid and the study."""
    from tests.data import image_files
    from tests.small_datasets import write_faces

    write_faces(scratch / "faces", n=256)
    with (scratch / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "y", "b"])
        for k in range(IMAGES):
            picture = image_files.encode(image_files.draw_image(k, 300, 300), "PNG")
            (scratch / f"{k}.png").write_bytes(picture)
            writer.writerow([f"{k}.png", "ab"[k % 2], "cd"[k // 2 % 2]])
    (scratch / "grid.toml").write_text(
        'losses = ["ce", "supcon"]\nseeds = [0]\ndata = ["faces"]\npreset = "smoke"\n'
    )
    (scratch / "study.toml").write_text(
        'losses = ["ce", "supcon"]\ndata = "faces"\ntrials = 1\npreset = "smoke"\n'
        '[space]\n"train.batch_size" = { choice = [64] }\n[confirm]\nseeds = 0\n'
    )


def disturb(command: Command, scratch: Path, *, seed: int) -> SignalCounts:
    """Send signals to a command at random moments; after every few, let it run to its end.

    Args:
        command: The command.
        scratch: The current folder of the command.
        seed: Random seed of the signals and of the moments.
    """
    rng, counts, out = np.random.default_rng(seed), SignalCounts(0, 0, 0, []), scratch / "x"
    shutil.rmtree(out, ignore_errors=True)
    started = time.monotonic()
    _finish(command, scratch)
    seconds, expected = time.monotonic() - started, digest_files(out)
    shutil.rmtree(out)
    number = 0
    for _ in range(4 * command.signals):
        if counts.signals == command.signals:
            break
        finished = digest_finished(out)
        number = SIGNALS[counts.signals % len(SIGNALS)]
        faults = send_signal(
            command, scratch, number, to_group=rng.random() < 0.5, seconds=rng.uniform(0, seconds)
        )
        is_end = faults is None  # the command ended before the signal
        counts.signals += not is_end
        _note(counts, faults or [])
        now = digest_finished(out)
        if any(now.get(folder) != state for folder, state in finished.items()):
            counts.lost += 1
            counts.faults.append(f"{command.words[0]}: {number}: a finished run changed")
        if is_end or counts.signals % TO_THE_END == 0:
            if not is_end:
                _note(counts, _finish(command, scratch))
            _note(counts, _compare(expected, digest_files(out)))
            shutil.rmtree(out)
    return counts


def send_signal(
    command: Command, scratch: Path, number: int, *, to_group: bool, seconds: float
) -> list[str] | None:
    """Start a command and send it a signal; return what was wrong, or None if the command ended before.

    Args:
        command: The command.
        scratch: Its current folder.
        number: The signal.
        to_group: Whether the processes that it started get the signal too, as from a terminal.
        seconds: When, after the command began to handle signals.
    """
    child = _start(command, scratch)
    while not _handles_signals(child) and not _has_ended(child):
        time.sleep(0.005)
    time.sleep(seconds)
    is_busy = _handles_signals(child)  # not while Python itself ends: all files must be there then
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if to_group else os.kill)(child, number)
    code = _wait(child)
    if code == 0 or not is_busy:
        return None
    name, faults = f"{command.words[0]}: signal {number}", []
    if code != (-number if number == signal.SIGKILL else 128 + number):
        faults.append(f"{name}: exit code {code}")
    text = (scratch / "stderr").read_text(encoding="utf-8")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    has_trace = "Traceback" in text or "Exception ignored" in text
    if number != signal.SIGKILL and (len(errors) != 1 or has_trace):
        faults.append(f"{name}: printed {text!r}")
    end = time.monotonic() + (KILLED_END if number == signal.SIGKILL else END)
    while (left := find_session(child)) and time.monotonic() < end:
        time.sleep(0.02)
    if left:
        faults.append(f"{name}: {len(left)} processes left")
        for process in left:
            os.kill(process, signal.SIGKILL)
    return faults


def find_session(session: int) -> list[int]:
    """Return the processes of a session, without those that have ended."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(") ")[2].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    found.append(int(folder.name))
    return found


def digest_files(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder, without times, memory and caches."""
    return {
        str(file.relative_to(folder)): _digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not {"figures", ".cache"} & set(file.parts)
    }


def digest_finished(folder: Path) -> dict[str, dict[str, str]]:
    """Return the digests of the files of every finished run below a folder."""
    return {str(done.parent): digest_files(done.parent) for done in folder.rglob("done")}


def _digest(file: Path) -> str:
    data = file.read_bytes()
    if file.name == "metrics.jsonl":
        lines = [json.loads(line) for line in data.splitlines()]
        kept = [{k: v for k, v in line.items() if k not in MACHINE_KEYS} for line in lines]
        data = json.dumps(kept).encode()
    elif file.name == "done":
        data = b"\n".join(line for line in data.splitlines() if b"metrics.jsonl" not in line)
    elif file.name == "study.parquet":
        from biascon.studies.table import read_table

        runs = [
            replace(run, seconds=None, first_stage_seconds=None) for run in read_table(file).runs
        ]
        data = repr(sorted(map(repr, runs))).encode()
    elif "out" in file.parts and (
        file.suffix in (".html", ".md", ".tex", ".svg", ".json") or file.name == "SHA256SUMS"
    ):
        data = b""  # the report of a study states its seconds
    return hashlib.sha256(data).hexdigest()


def _compare(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    changed = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    return [f"other files than without a signal: {changed}"] if changed else []


def _note(counts: SignalCounts, faults: Sequence[str]) -> None:
    counts.wrong += bool(faults)
    counts.faults += faults


def _finish(command: Command, scratch: Path) -> list[str]:
    """Run a command to its end."""
    code = _wait(_start(command, scratch))
    if code == 0:
        return []
    return [f"{command.words[0]}: {code} at last: {(scratch / 'stderr').read_text()!r}"]


def _start(command: Command, folder: Path) -> int:
    """Start a command in a session of its own; return its process."""
    if command.starts_processes:
        words = [sys.executable, "-m", "biascon", *command.words]
        with (folder / "stderr").open("w") as err:
            return subprocess.Popen(
                words, cwd=folder, stdout=subprocess.DEVNULL, stderr=err, start_new_session=True
            ).pid
    return _fork(command.words, folder)


def _fork(words: Sequence[str], folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        from biascon.cli.app import main

        main(list(words))
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
    except BaseException:
        os._exit(99)
    os._exit(0)


def _wait(child: int) -> int:
    """Return the exit code of a child process, as ``subprocess`` does."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _handles_signals(process: int) -> bool:
    """Whether a child process handles SIGHUP, which Python itself does not."""
    text = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    fields = dict(line.split(":", 1) for line in text.splitlines())
    return bool(int(fields.get("SigCgt", "0"), 16) & 1)


def _has_ended(process: int) -> bool:
    """Whether a child process has ended; it stays a zombie until it is waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def main(scratch: Path, choose: Callable[[str], bool]) -> None:
    """Disturb each command and print its counts as a line of JSON."""
    import biascon.cli.app
    import biascon.data.builders.biased_mnist
    import biascon.data.builders.table
    import biascon.evaluation.pipeline  # noqa: F401 - imported before the first fork

    write_inputs(scratch)
    for seed, command in enumerate(COMMANDS):
        if choose(command.words[0]):
            counts = disturb(command, scratch, seed=seed)
            print(json.dumps([command.words[0], asdict(counts)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), lambda name: not sys.argv[2:] or name in sys.argv[2:])
