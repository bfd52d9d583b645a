"""Progress of long tasks: a task reports how far it is, and a display, if there is one, shows it.

A task calls ``report_progress``, also once a step. Without a listener such a call does nothing. The command
line listens with a ``ProgressDisplay``. On a terminal it has one line, which is overwritten at most ten times
a second. Elsewhere it writes a line every 30 seconds, and a task that is shorter has no line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TextIO, TypeVar

from biascon.utils.text import format_duration, message_line, visible

T = TypeVar("T")
Say = Callable[[str], None]
INTERVAL = 5.0  # seconds before the first line of ``with_progress`` without a display, and between two lines
LINE_SECONDS = 30.0  # seconds between two lines of a display that is no terminal
LIVE_SECONDS = 0.1  # seconds between two updates of the line on a terminal
FIRST_SECONDS = 0.5  # seconds before the line of a task appears on a terminal
_START_OF_LINE = "\r\x1b[K"  # goes to the start of the line, and deletes it


@dataclass(frozen=True)
class TaskProgress:
    """How far a task is.

    Attributes:
        what: The task, such as ``"training"``.
        done: The number of units that are done.
        total: The number of all units; None if it is not known.
        unit: What is counted, as a plural.
        detail: Where the task is, such as ``"epoch 2/10"``; ``""`` for nothing.
        images: The number of images of a unit, for a second rate; 0 for none.
        is_training: Whether the task trains the network of a run, so that it takes most of its time.
    """

    what: str
    done: int
    total: int | None
    unit: str
    detail: str = ""
    images: int = 0
    is_training: bool = False


Listener = Callable[[TaskProgress], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("biascon_progress", default=None)


@contextmanager
def listen(listener: Listener | None) -> Iterator[None]:
    """Call ``listener`` with every report of progress inside this context; None for no listener."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def report_progress(
    what: str,
    done: int,
    total: int | None,
    unit: str,
    *,
    detail: str = "",
    images: int = 0,
    is_training: bool = False,
) -> None:
    """Report how far a task is. The arguments are the attributes of ``TaskProgress``."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(TaskProgress(what, done, total, unit, detail, images, is_training))


def is_listened_to() -> bool:
    """Return whether a report of progress reaches a listener."""
    return _LISTENER.get() is not None


def say_nothing(line: str) -> None:
    """Print no line of progress."""


def with_progress(items: Iterable[T], what: str, total: int, say: Say) -> Iterator[T]:
    """Yield the items, and report the number of items that are done.

    Without a listener, ``say`` is called every few seconds instead.

    Args:
        items: The items.
        what: What is done, such as ``"reading runs"``.
        total: The number of items.
        say: Called with each line.
    """
    last = time.monotonic()
    for done, item in enumerate(items):
        if is_listened_to():
            report_progress(what, done, total, "")
        else:
            now = time.monotonic()
            if now - last >= INTERVAL:
                say(f"{what}: {done:,} of {total:,}")
                last = now
        yield item


class Terminal:
    """Lines on a stream, and on a terminal one line below them that is overwritten.

    Args:
        stream: The stream; None for standard error at the time of each line. A closed standard error gets
            no line.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._fixed_stream, self._has_line = stream, False

    @property
    def _stream(self) -> TextIO | None:
        return self._fixed_stream or sys.stderr

    @property
    def is_live(self) -> bool:
        """Whether the stream is a terminal on which a line can be overwritten."""
        stream = self._stream
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"

    def write(self, line: str) -> None:
        """Write a whole line, in place of the line that is overwritten. Names in it are made visible."""
        self.clear()
        self._put(f"{message_line(line)}\n")

    def overwrite(self, line: str) -> None:
        """Show a line in place of the one before, cut to the width of the terminal."""
        line, width = visible(line), max(20, _count_columns(self._stream) - 1)
        cut = line if len(line) <= width else f"{line[: width - 1]}…"
        self._has_line = True  # first, so that an interruption finds it
        self._put(f"{_START_OF_LINE}{cut}")

    def clear(self) -> None:
        """Remove the line that is overwritten, if there is one."""
        if self._has_line:
            self._put(_START_OF_LINE)
            self._has_line = False

    def _put(self, text: str) -> None:
        stream = self._stream
        if stream is not None:
            stream.write(text)
            stream.flush()


def _count_columns(stream: TextIO | None) -> int:
    """Return the width of a terminal in characters; 80 where it is not known."""
    try:
        return 80 if stream is None else os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):  # no terminal, or a stream without a file
        return 80


@dataclass
class _Meter:
    """The start of a task: when its first report came, how much was done then, and when a line is due."""

    started: float
    first: int
    last: int
    due: float


class ProgressDisplay:
    """Shows progress on a terminal as one line that is overwritten, elsewhere as a line every 30 seconds.

    The rate is that since the first report of the task, so that neither a resumed part nor a slow first step
    counts. The time left follows from it.

    Args:
        terminal: Where the lines go.
        clock: Returns a time in seconds.
    """

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        self.terminal, self.clock = terminal, clock
        self.name = ""  # the first words of each line, such as the loss and the seed
        self.note = ""  # the last words of a line of training, such as its loss
        self.is_silent = False
        self.watch: Listener | None = None  # also called with every report
        self._meters: dict[str, _Meter] = {}

    def __call__(self, progress: TaskProgress) -> None:
        """Show a report, if a line is due."""
        if self.is_silent:
            return
        if self.watch is not None:
            self.watch(progress)
        now, meter = self.clock(), self._meters.get(progress.what)
        if meter is None or progress.done < meter.last:  # a new task, or the same one again
            wait = FIRST_SECONDS if self.terminal.is_live else LINE_SECONDS
            meter = _Meter(now, progress.done, progress.done, now + wait)
            self._meters[progress.what] = meter
        meter.last = progress.done
        if now < meter.due:
            return
        is_live = self.terminal.is_live
        meter.due = now + (LIVE_SECONDS if is_live else LINE_SECONDS)
        rate = (progress.done - meter.first) / max(now - meter.started, 1e-9)
        line = self._format(progress, rate)
        if is_live:
            self.terminal.overwrite(line)
        else:
            self.terminal.write(line)

    def reset(self, name: str = "") -> None:
        """Forget all tasks, remove the line, and set the first words of the lines to come."""
        self._meters.clear()
        self.name, self.note, self.watch = name, "", None
        self.terminal.clear()

    def _format(self, progress: TaskProgress, rate: float) -> str:
        """Return a report as one line: task, units, time left, rates. A narrow terminal cuts the rates."""
        unit = f" {progress.unit}" if progress.unit else ""
        of_total = "" if progress.total is None else f" of {progress.total:,}"
        words = [", ".join(part for part in (progress.what, progress.detail) if part)]
        numbers = [f"{progress.done:,}{of_total}{unit}"]
        if rate > 0:
            if progress.total is not None:
                left = max(0, progress.total - progress.done) / rate
                numbers.append(f"{format_duration(left)} left")
            numbers.append(f"{format_rate(rate)}{unit}/s")
            if progress.images:
                numbers.append(f"{format_rate(rate * progress.images)} images/s")
        if progress.is_training and self.note:
            numbers.append(self.note)
        name = [self.name] if self.name else []
        return ": ".join([*name, *words, ", ".join(numbers)])


def describe_left(seconds: float, finished: int, remaining: int) -> str:
    """Return the time that the remaining tasks take at the rate so far, as the end of a line.

    >>> describe_left(60.0, 2, 4), describe_left(60.0, 0, 4), describe_left(60.0, 2, 0)
    (', some 2 min left', '', '')

    Args:
        seconds: The time that the finished tasks took, side by side or not.
        finished: The number of tasks that were finished in this time.
        remaining: The number of tasks that are left.
    """
    if not finished or not remaining:
        return ""
    return f", some {format_duration(seconds / finished * remaining)} left"


def format_rate(rate: float) -> str:
    """Return a rate with three digits: ``0.31``, ``24.1``, ``3,085``."""
    return f"{rate:,.0f}" if rate >= 99.5 else f"{rate:.3g}"
