"""If one of several processes fails, the others end at once, with the exit code of the first failure.

A process that waits for another one in a collective operation cannot be interrupted from within, and may wait
for hours. Every process therefore has a thread that looks for a record of a failure in the store that all
processes share. If there is one, the thread ends its process. All files of a run are written atomically, so
that nothing is lost. A process that is killed leaves no record (``biascon.utils.distributed``).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from biascon.errors import BiasconError, RunError
from biascon.utils.text import message_line

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

INTERVAL = 0.5  # seconds between two looks at the store
PATIENCE = (
    5.0  # seconds that a failed process waits for the others, so that the store stays reachable
)
_RECORD, _SEEN = "record", "seen"


@dataclass(frozen=True)
class Failure:
    """The first failure among the processes.

    Attributes:
        rank: The rank of the process that failed, from 0.
        exit_code: Its exit code.
        message: Its error message.
    """

    rank: int
    exit_code: int
    message: str

    @classmethod
    def of(cls, rank: int, error: BaseException) -> Failure:
        """Return the failure of a process that ends with an error."""
        if isinstance(error, KeyboardInterrupt):
            return cls(rank, 130, "interrupted")
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            return cls(rank, code, f"exit code {code}")
        text = " ".join(str(error).split())
        known = isinstance(error, BiasconError)
        return cls(
            rank,
            int(getattr(error, "exit_code", BiasconError.exit_code)),
            text if known else f"{type(error).__name__}: {text}",
        )

    def describe(self) -> str:
        """Return the message for the processes that end because of this failure."""
        return f"process {self.rank} failed: {self.message}"


# The main process or the launcher holds the store.
LOST = Failure(0, BiasconError.exit_code, "the connection to it is lost")


class ProcessFailedError(RunError):
    """Another process of the same training failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.describe())
        self.exit_code = failure.exit_code


class FailureWatch:
    """The watch of one process for failures of the others.

    Args:
        store: A store of all processes, for this purpose only.
        rank: The rank of this process.
        world: The number of processes.
    """

    def __init__(self, store: Store, rank: int, world: int) -> None:
        self.store, self.rank, self.world = store, rank, world
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="biascon-failures", daemon=True)

    def start(self) -> None:
        """Start to look for failures of other processes."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to look for failures."""
        self._stopped.set()
        self._thread.join()

    def report(self, error: BaseException) -> Failure | None:
        """Tell the other processes that this one fails, and wait until they know.

        Returns:
            The failure of another process that came first, None if this one is the first.
        """
        own = Failure.of(self.rank, error)
        if own.exit_code == 0:
            return None
        self.stop()
        try:
            record = self.store.compare_set(_RECORD, "", json.dumps(asdict(own)))
            first = Failure(**json.loads(record))
            self.store.add(_SEEN, 1)
            deadline = time.monotonic() + PATIENCE
            while self.store.add(_SEEN, 0) < self.world and time.monotonic() < deadline:
                time.sleep(0.05)
        except RuntimeError:
            return LOST
        return None if first.rank == self.rank else first

    def _look(self) -> None:
        while not self._stopped.wait(INTERVAL):
            try:
                if not self.store.check([_RECORD]):
                    continue
                failure = Failure(**json.loads(self.store.get(_RECORD)))
                self.store.add(_SEEN, 1)
            except RuntimeError:
                failure = LOST
            if not self._stopped.is_set():
                _end(failure)


def _end(failure: Failure) -> None:
    """End this process. No exception reaches a main thread that waits in a collective operation."""
    time.sleep(INTERVAL)  # the failed process sees that this one knows, before the store may go
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.write(message_line(f"error: {failure.describe()}") + "\n")
        sys.stderr.flush()
    os._exit(failure.exit_code)
