"""Progress of long tasks: one line on a terminal, elsewhere a line every 30 seconds."""

from __future__ import annotations

import io
import sys

import pytest

from biascon.utils import progress
from biascon.utils.progress import (
    ProgressDisplay,
    Terminal,
    describe_left,
    format_rate,
    listen,
    report_progress,
    with_progress,
)


class FakeTerminal(io.StringIO):
    """A stream that is a terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run_task(stream: io.StringIO, *, steps: int, seconds: float) -> ProgressDisplay:
    """Report a training of ``steps`` steps, each of which takes ``seconds``."""
    clock = Clock()
    display = ProgressDisplay(Terminal(stream), clock)
    display.reset("contex seed 0")
    with listen(display):
        for step in range(1, steps + 1):
            clock.now += seconds
            report_progress(
                "training", step, steps, "steps", detail="epoch 1/1", images=128, is_training=True
            )
    return display


def test_elsewhere_than_on_a_terminal_a_line_is_written_every_30_seconds() -> None:
    stream = io.StringIO()
    run_task(stream, steps=1000, seconds=0.125)  # 124.9 s after the first report
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == (
        "contex seed 0: training, epoch 1/1: 241 of 1,000 steps, 95 s left, 8 steps/s, 1,024 images/s"
    )
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_a_task_of_less_than_30_seconds_has_no_line() -> None:
    stream = io.StringIO()
    run_task(stream, steps=29, seconds=1.0)
    assert not stream.getvalue()


def test_on_a_terminal_one_line_is_overwritten_ten_times_a_second_and_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    stream = FakeTerminal()
    display = run_task(stream, steps=1001, seconds=0.01)  # 10 s
    text = stream.getvalue()
    assert "\n" not in text
    updates = text.split("\r\x1b[K")[1:]
    assert 80 <= len(updates) <= 97  # from 0.5 s on, at most ten a second
    assert max(map(len, updates)) <= 79
    assert updates[-1].startswith("contex seed 0: training, epoch 1/1: ")
    display.reset()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_whole_line_takes_the_place_of_the_line_that_is_overwritten() -> None:
    stream = FakeTerminal()
    terminal = Terminal(stream)
    terminal.overwrite("40 of 100 steps")
    terminal.write("warning: x")
    assert stream.getvalue() == "\r\x1b[K40 of 100 steps\r\x1b[Kwarning: x\n"
    terminal.overwrite("x" * 200)
    assert stream.getvalue().endswith(f"\r\x1b[K{'x' * 78}…")


def test_a_dumb_terminal_and_a_closed_stream_get_no_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = FakeTerminal()
    run_task(stream, steps=1000, seconds=0.125)
    assert len(stream.getvalue().splitlines()) == 4
    assert "\x1b" not in stream.getvalue()
    monkeypatch.setattr(sys, "stderr", None)
    assert not Terminal().is_live
    Terminal().write("lost")


def test_the_rate_counts_from_the_first_report_of_a_task() -> None:
    clock, stream = Clock(), io.StringIO()
    display = ProgressDisplay(Terminal(stream), clock)
    with listen(display):
        report_progress("decoding", 5_000, 10_000, "images")  # resumed
        clock.now += 40
        report_progress("decoding", 6_000, 10_000, "images")
        report_progress("features", 10, 20, "images")  # another task in between
        clock.now += 40
        report_progress("decoding", 9_000, 10_000, "images")
        report_progress("decoding", 100, 10_000, "images")  # the same task again
        clock.now += 40
        report_progress("decoding", 500, 10_000, "images")
        report_progress("probe", 1, None, "iterations")
        clock.now += 40
        report_progress("probe", 2, None, "iterations")
    assert stream.getvalue().splitlines() == [
        "decoding: 6,000 of 10,000 images, 3 min left, 25 images/s",
        "decoding: 9,000 of 10,000 images, 20 s left, 50 images/s",
        "decoding: 500 of 10,000 images, 16 min left, 10 images/s",
        "probe: 2 iterations, 0.025 iterations/s",
    ]


def test_a_silent_display_and_no_display_write_nothing() -> None:
    stream, clock = io.StringIO(), Clock()
    display = ProgressDisplay(Terminal(stream), clock)
    display.is_silent = True
    with listen(display):
        for step in range(3):
            clock.now += 60
            report_progress("training", step, 3, "steps")
    report_progress("training", 1, 3, "steps")
    assert not stream.getvalue()


def test_a_display_gives_every_report_to_its_watch() -> None:
    seen: list[int] = []
    display = ProgressDisplay(Terminal(io.StringIO()), Clock())
    display.watch = lambda report: seen.append(report.done)
    with listen(display):
        list(with_progress("abc", "reading", 3, print))
    assert seen == [0, 1, 2]
    display.reset()
    assert display.watch is None


def test_without_a_display_the_caller_gets_a_line_every_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, lines = Clock(), list[str]()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    for _ in with_progress(range(4), "reading runs", 4, lines.append):
        clock.now += 6
    assert lines == [f"reading runs: {done} of 4" for done in (1, 2, 3)]


def test_rates_and_times_left_are_short() -> None:
    assert [format_rate(x) for x in (0.0312, 1.0, 24.12, 3085.4)] == [
        "0.0312",
        "1",
        "24.1",
        "3,085",
    ]
    assert describe_left(600.0, 2, 3) == ", some 15 min left"
    assert describe_left(600.0, 0, 3) == describe_left(600.0, 3, 0) == ""
