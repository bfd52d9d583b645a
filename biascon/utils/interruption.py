"""Signals that ask the process to end, and the processes that it started.

SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal is closed) become an exception in the main thread, so that
every ``finally`` runs: temporary files are removed and locks are freed. The processes that this process
started are stopped, and no further ones are started. A second signal ends this process and its children at
once.

Source of the exit codes: a shell reports 128 + the number of the signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

GRACE = 10.0  # seconds that a child has to end by itself before it is killed
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
            grace: The seconds that they have.
        """
        self._stopping.set()
        with self._lock:
            running = list(self._running)
        for process in running:
            with contextlib.suppress(OSError):
                process.terminate()
        for process in running:
            try:
                process.wait(grace)
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


@contextlib.contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Turn the signals of ``SIGNALS`` into exceptions in the main thread inside this context.

    SIGINT raises ``KeyboardInterrupt``, the others raise ``Interrupted``. A signal that the process ignores
    (``nohup``) stays ignored. In a process of a distributed training SIGTERM keeps its meaning: the process
    may wait for another one within a library, where no handler of Python runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            CHILDREN.kill()
            os._exit(128 + number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Interrupted(number)

    before: dict[int, Any] = {}
    for number in SIGNALS:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        is_distributed = number != signal.SIGINT and int(os.environ.get("WORLD_SIZE") or 1) > 1
        if signal.getsignal(number) is default and not is_distributed:
            before[number] = signal.signal(number, handle)
    CHILDREN.allow()
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        CHILDREN.stop()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
