"""A process that ends with the process that started it, on Linux."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

VARIABLE = "BIASCON_PARENT"  # the process whose end ends this process
PR_SET_PDEATHSIG = 1  # of sys/prctl.h


def end_with_parent() -> None:
    """Ask the system to end this process with its parent, if the environment names the parent.

    A worker of a cluster that is killed would otherwise leave its training behind. That training would go on
    to use its CPUs and GPU and to hold the lock of its run folder, beside the worker's successor. On other
    systems than Linux the function does nothing.
    """
    parent = os.environ.pop(VARIABLE, "")  # not for processes that this process starts
    if not parent or sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if str(os.getppid()) != parent:  # the parent ended before the request
        sys.exit(128 + signal.SIGTERM)
