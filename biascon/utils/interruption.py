"""Signals that ask the process to end, and the processes that it started.

SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal is closed) become an exception in the main thread, so that
every ``finally`` runs: temporary files are removed and locks are freed. The processes that this process
started are stopped, and no further ones are started. The same signal a second time ends this process and its
children at once. So does the first one after ``LIMIT`` seconds, for example because a library swallowed the
exception.

Source of the exit codes: a shell reports 128 + the number of the signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

GRACE = 10.0  # seconds that the children have to end by themselves before they are killed
LIMIT = 30.0  # seconds that this process has to end by itself, the grace of its children included
# Terminals, timeout and batch systems send a signal to a process and to its group: it arrives twice.
SAME_REQUEST = 0.5  # seconds in which a second signal belongs to the first one
SIGNALS = tuple(
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None
)


class Interrupted(BaseException):
    """A signal asked this process to end.

    Attributes:
        signal_number: The number of the signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """The exit code of the process."""
        return 128 + self.signal_number


class Children:
    """The processes that this process started and that run, and whether new ones may be started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopping = threading.Event()

    def run(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str] | None:
        """Run a command to its end; return its outputs, or None if no process may be started any more.

        Args:
            command: The words of the command.
            environment: All environment variables of the process.
        """
        with self._lock:
            if self._stopping.is_set():
                return None
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            self._running.add(process)
        try:
            out, err = process.communicate()
            return subprocess.CompletedProcess(command, process.returncode, out, err)
        finally:
            with self._lock:
                self._running.discard(process)

    def is_stopping(self, seconds: float = 0.0) -> bool:
        """Wait for some seconds, and return whether the children are being stopped."""
        return self._stopping.wait(seconds)

    def stop(self, grace: float = GRACE) -> None:
        """Start no further process, and ask the running ones to end; kill those that take too long.

        Args:
            grace: The seconds that all of them together have.
        """
        self._stopping.set()
        with self._lock:
            running = list(self._running)
        for process in running:
            with contextlib.suppress(OSError):
                process.terminate()
        end = time.monotonic() + grace
        for process in running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError):
                    process.kill()

    def kill(self) -> None:
        """Kill all running processes at once, without a lock: for a signal handler."""
        self._stopping.set()
        for process in tuple(self._running):
            with contextlib.suppress(OSError):
                process.kill()

    def allow(self) -> None:
        """Allow new processes again."""
        self._stopping.clear()


CHILDREN = Children()


class Request:
    """The first signal that asked this process to end, if there was one; it handles the signals.

    Attributes:
        signal_number: The number of the first signal; None if there was none.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._first: dict[int, float] = {}
        self._before: dict[int, Any] = {}

    def start(self) -> None:
        """Handle the signals of ``SIGNALS`` from now on, apart from those that something else handles."""
        is_distributed = os.environ.get("WORLD_SIZE", "1").strip() not in ("", "1")
        for number in SIGNALS:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            is_left = is_distributed and number != signal.SIGINT
            if signal.getsignal(number) is default and not is_left:
                self._before[number] = signal.signal(number, self._handle)

    def stop(self) -> None:
        """Handle the signals no longer."""
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        first = self._first.setdefault(number, now)
        if self.signal_number is not None:
            # A run of a sweep gets Ctrl-C from the terminal and then SIGTERM from the sweep: one request.
            if first < now - SAME_REQUEST:
                self._end_at_once()
            return
        self.signal_number = number
        self._limit()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Interrupted(number)

    def _limit(self) -> None:
        """End this process after ``LIMIT`` seconds, where the system has a timer."""
        if hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:
            self._before[signal.SIGALRM] = signal.signal(
                signal.SIGALRM, lambda number, frame: self._end_at_once()
            )
            signal.setitimer(signal.ITIMER_REAL, LIMIT)

    def _end_at_once(self) -> None:
        CHILDREN.kill()
        os._exit(128 + (self.signal_number or signal.SIGTERM))


@contextlib.contextmanager
def signals_as_exceptions() -> Iterator[Request]:
    """Turn the signals of ``SIGNALS`` into exceptions in the main thread inside this context.

    SIGINT raises ``KeyboardInterrupt``, the others raise ``Interrupted``. A library may turn the exception
    into another one: ``signal_number`` of the yielded request tells whether there was a signal. A signal that
    the process ignores (``nohup``) stays ignored. In a process of a distributed training SIGTERM and SIGHUP
    keep their meaning: the process may wait for another one in a library, where no handler of Python runs.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    CHILDREN.allow()
    request.start()
    try:
        yield request
    except BaseException:
        if request.signal_number is not None:
            CHILDREN.stop()
        raise
    finally:
        request.stop()


@contextlib.contextmanager
def signal_handlers_kept() -> Iterator[None]:
    """Undo what a library does to the handlers of ``SIGNALS`` inside this context."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)
