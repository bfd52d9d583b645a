"""Commands in a process group of their own, with a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """A command that ended or was killed.

    Attributes:
        code: The exit code; None if the time limit was reached.
        out: What it wrote to standard output.
        errors: What it wrote to standard error.
        seconds: How long it ran.
    """

    code: int | None
    out: str
    errors: str
    seconds: float

    @property
    def reason(self) -> str:
        """Why the command did not succeed, in one line, or ""."""
        if self.code is None:
            return f"not finished after {self.seconds:.0f} s"
        if self.code:
            return (self.errors.strip().splitlines() or [f"exit code {self.code}"])[-1][:500]
        return ""


def run_limited(words: Sequence[str], seconds: float) -> Ended:
    """Run a command. At the time limit it is killed with the processes that it started.

    Args:
        words: The command.
        seconds: The time limit.
    """
    started = time.monotonic()
    # Files, because a pipe would stay open as long as a process that the command started.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(words, stdout=out, stderr=errors, start_new_session=True)
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(0)
        errors.seek(0)
        return Ended(code, out.read(), errors.read(), time.monotonic() - started)
