"""Input without an end, absurd settings and evil names, given to the commands, each in a process of its own.

Each process is forked from this one, so that nothing is imported again. It has a time limit.
"""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import socket
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import biascon.auditing.api  # what the commands import late
import biascon.tuning.study  # noqa: F401
from biascon.cli.app import main
from biascon.config.limits import COUNTS
from biascon.data.builders.mnist_source import SHA256
from biascon.evaluation import pipeline  # noqa: F401
from biascon.losses import LOSSES, default_parameters
from tests.reliability.campaign import Row

SECONDS = 20.0  # of one command, on a busy machine
KINDS = ("pipe", "device", "socket", "folder")
NAMES = (
    "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\u202egnp", "a\nerror: fake", "a\rb", "\u2028", "\x00\x7f"[1:],
    "x" * 3000, "y " * 1500, "\u2066z", "\U000e0041", "\ufeff", "a\tb",
)  # fmt: skip
HUGE = ("9" * 400, "9" * 5000, "-1", "1e308", "nan", "0x" + "f" * 9000, "[" * 3000 + "]" * 3000)


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code (-1: it was ended after ``SECONDS``), and what it printed."""

    code: int
    text: str


def run_command(words: Sequence[str | Path], folder: Path) -> Outcome:
    """Run a command in a forked process, in a folder."""
    printed = folder / ".printed"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        code = 99
        with contextlib.suppress(BaseException):
            os.chdir(folder)
            handle = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (handle, 1), (handle, 2)):
                os.dup2(source, target)
            try:
                main([str(word) for word in words])
                code = 0
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 0
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    deadline = time.monotonic() + SECONDS
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return Outcome(os.waitstatus_to_exitcode(status), printed.read_text("utf-8", "replace"))
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Outcome(-1, "")
        time.sleep(0.005)


def put(kind: str, path: Path) -> None:
    """Put a pipe, a device, a socket or a folder at a path."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        here = Path.cwd()
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir(here)


def list_inputs(folder: Path, data: Path, table: Path) -> dict[str, tuple[str, list[str | Path]]]:
    """Return, by a name, the file that a command reads, and the command."""
    columns = ["--image-col", "file", "--label-col", "label", "--bias-col", "bias"]
    audit = ["--label", "label", "--prediction", "guess", "--bias", "bias"]
    evaluate: list[str | Path] = [
        "evaluate",
        "--loss",
        "ce",
        "--data",
        data,
        "--runs",
        folder / "r",
    ]
    smoke = [*evaluate, "--preset", "smoke"]
    first = next(iter(SHA256))
    return {
        "preset": ("p.toml", [*evaluate, "--preset", "p.toml"]),
        "weights": ("w.pth", [*smoke, "--weights", "w.pth"]),
        "safetensors": ("w.safetensors", [*smoke, "--weights", "w.safetensors"]),
        "grid": ("g.toml", ["sweep", "g.toml", "--dry-run"]),
        "study": ("s.toml", ["tune", "s.toml", "--dry-run"]),
        "study table": ("s.parquet", ["report", "s.parquet"]),
        "compare": ("s.parquet", ["compare", "s.parquet"]),
        "table": ("t.csv", ["make-table", "t.csv", *columns]),
        "names": ("n.txt", ["make-utkface", "--names", "n.txt", "--dry-run"]),
        "aligned": ("a.toml", ["audit", table, *audit, "--aligned", "a.toml"]),
        "aligned of a table": ("a.csv", ["make-table", table, *columns, "--aligned", "a.csv"]),
        "training": ("t.csv", ["audit", table, *audit, "--training", "t.csv"]),
        "features": ("f.npy", ["audit", table, *audit[:2], *audit[4:], "--features", "f.npy"]),
        "predictions": ("t.csv", ["audit", "t.csv", *audit]),
        "manifest": ("manifest.json", ["inspect", "."]),
        "idx": (first, ["make-bmnist", "--rho", "0.9", "--mnist-dir", "."]),
    }


def is_wrong(outcome: Outcome, codes: Iterable[int] = (1, 2)) -> bool:
    """Whether a command did not end in one clear line with one of the exit codes."""
    errors = [line for line in outcome.text.splitlines() if line.startswith("error: ")]
    is_clear = len(errors) == 1 and "unexpected" not in errors[0] and len(errors[0]) <= 2100
    return outcome.code not in codes or not is_clear or is_unsafe(outcome.text)


def is_unsafe(text: str) -> bool:
    """Whether a text would move the cursor, change the order of letters, or has a line of a name."""
    kinds = {unicodedata.category(c) for c in text if c != "\n"}
    return bool(kinds & {"Cc", "Cf", "Zl", "Zp"}) or "\nerror: fake" in text


def make_table(folder: Path, label: str, bias: str) -> Path:
    """Write a table with an evil label and bias value, and its pictures."""
    (folder / "pics").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 3), dtype=np.uint8)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "bias", "guess"])
        for k in range(60):
            Image.fromarray(pixels[k]).save(folder / "pics" / f"{k}.png")
            labels = ("cat", label)
            writer.writerow(
                [f"{k}.png", labels[k % 2], ("red", bias)[k // 2 % 2], labels[k // 4 % 2]]
            )
    return folder / "table.csv"


def run_inputs(scratch: Path) -> Row:
    """Give every reader everything that is no file."""
    data, wrong, times = scratch / "data", [], 0
    outcome = run_command(
        ["make-bmnist", "--rho", "0.9", "--source", "embedded", "--out", data], scratch
    )
    table = make_table(scratch / "plain", "dog", "blue")
    for kind in KINDS:
        for name in list_inputs(scratch, data, table):
            folder = scratch / f"{kind}-{name}".replace(" ", "-")
            folder.mkdir()
            file, words = list_inputs(folder, data, table)[name]
            put(kind, folder / file)
            outcome = run_command(words, folder)
            times += 1
            if is_wrong(outcome):
                wrong.append((kind, name, outcome))
    _show(wrong)
    return Row(
        "a pipe, a device, a socket or a folder in place of a file",
        "each in place of each file that a command reads",
        times,
        0,
        len(wrong),
        "tests/utils/test_reading.py::test_what_is_no_file_is_refused_at_once_in_one_line",
        f"limit of {SECONDS:.0f} s a command",
    )


def run_settings(scratch: Path) -> Row:
    """Give every count and every parameter of a loss absurd values."""
    data, wrong, times = scratch / "data", [], 0
    cases = [("supcon", f"{name}={high + 1}") for name, (_low, high) in COUNTS.items()]
    cases += [("supcon", f"{name}={value}") for name in COUNTS for value in HUGE]
    for loss in LOSSES:
        for key in default_parameters(loss):
            cases += [(loss, f"loss.{key}={value}") for value in ("-1", "nan", HUGE[0], HUGE[-1])]
    for loss, setting in cases:
        words = ["evaluate", "--loss", loss, "--data", data, "--preset", "smoke", "--set", setting]
        outcome = run_command(words, scratch)
        times += 1
        if is_wrong(outcome, (2,)):
            wrong.append((loss, setting[:60], outcome))
    if (scratch / "runs").exists():
        wrong.append(("runs", "a run was started", Outcome(0, "")))
    _show(wrong)
    return Row(
        "an absurd setting",
        "every count and every parameter of every method: beyond its limit, 400 digits, NaN, 3,000 brackets",
        times,
        0,
        len(wrong),
        "tests/cli/test_limits.py::test_an_absurd_setting_is_one_short_line_before_anything_starts",
    )


def run_names(scratch: Path) -> Row:
    """Give the commands evil labels, bias values, columns, paths and names."""
    wrong, times = [], 0
    columns = ["--image-col", "file", "--label-col", "label", "--bias-col", "bias"]
    audit = ["--label", "label", "--prediction", "guess", "--bias", "bias"]
    for k, name in enumerate(NAMES):
        folder = scratch / f"names-{k}"
        table = make_table(folder, f"dog{name}.", f"blue{name}.")
        build = ["make-table", table, *columns, "--root", folder / "pics", "--size", "8"]
        good: list[list[str | Path]] = [
            [*build, "--dry-run"],
            [*build, "--out", folder / "d"],
            ["inspect", folder / "d"],
            ["audit", table, *audit],
        ]
        bad: list[list[str | Path]] = [
            [f"audit{name}"],
            ["audit", table, *audit[:3], f"x{name}", *audit[4:]],
            ["audit", folder / f"x{name}", *audit],
            ["evaluate", "--loss", f"ce{name}"],
            ["evaluate", "--loss", "ce", "--data", folder / "d", "--bias", f"x{name}"],
            ["evaluate", "--loss", "ce", "--data", folder / "d", "--set", f"train.{name}=1"],
            [
                "evaluate",
                "--loss",
                "ce",
                "--data",
                folder / "d",
                "--set",
                f"model.encoder=x{name}.",
            ],
            ["list", "runs", "--runs", folder / f"x{name}"],
            ["report", "--runs", folder / f"x{name}"],
            ["inspect", folder / f"x{name}"],
            ["sweep", folder / f"x{name}"],
            ["compare", folder / f"x{name}"],
        ]
        for words in good + bad:
            outcome = run_command(words, folder)
            times += 1
            is_bad = is_wrong(outcome) if words in bad else outcome.code != 0
            if is_bad or is_unsafe(outcome.text):
                wrong.append((repr(name)[:30], str(words[0])[:20], outcome))
    _show(wrong)
    return Row(
        "an escape code, a bidirectional control, a line break or a name of 3,000 letters",
        "as label, bias value, column, path, name and setting of every command that prints it",
        times,
        0,
        len(wrong),
        "tests/cli/test_evil_names.py::test_building_and_inspecting_a_dataset_prints_names_visibly",
    )


def _show(wrong: Sequence[tuple[str, str, Outcome]]) -> None:
    for first, second, outcome in wrong:
        print(f"{first}, {second}: exit code {outcome.code}: {outcome.text[:400]!r}", flush=True)


def run(scratch: Path) -> list[Row]:
    """Run the campaign."""
    return [run_inputs(scratch), run_settings(scratch), run_names(scratch)]
