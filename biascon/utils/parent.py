"""A process that ends with the process that started it, on Linux and macOS."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

VARIABLE = "BIASCON_PARENT"  # the process whose end ends this process
PR_SET_PDEATHSIG = 1  # of sys/prctl.h
INTERVAL = 1.0  # seconds between two looks at the parent
GRACE = 10.0  # seconds that this process has to end by itself after the end of its parent


def end_with_parent() -> None:
    """Let this process end with its parent, if the environment names the parent.

    A sweep or a worker of a cluster that is killed would otherwise leave its training behind. That training
    would go on to use its CPUs and GPU and to hold the lock of its run folder, beside the worker's successor.

    On Linux the system sends SIGTERM. It does so when the *thread* ends that started this process: that
    thread must wait for this process (``biascon.utils.interruption.Children.run`` does). On all systems a
    thread looks at the number of the parent each second: without the signal of Linux it sends SIGTERM, and
    after a grace it ends the process. On Windows that number stays the same, and a process outlives its
    parent.
    """
    parent = os.environ.pop(VARIABLE, "")  # not for processes that this process starts
    if not parent:
        return
    has_signal = _ask_for_signal()
    if sys.platform != "win32" and str(os.getppid()) != parent:  # it ended before the request
        sys.exit(128 + signal.SIGTERM)
    threading.Thread(
        target=_watch, args=(os.getppid(), has_signal), name="biascon-parent", daemon=True
    ).start()


def _ask_for_signal() -> bool:
    """Ask the system for SIGTERM at the end of the parent; return whether it will come."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) == 0)
    return False


def _watch(parent: int, has_signal: bool) -> None:
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    if not has_signal:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)
