"""Error and warning classes, and hints for misspelled names.

The classes and their exit codes::

    BiasconError          exit code 1
    ├── UsageError        exit code 2, also a ValueError
    │   └── AlignmentError
    ├── DataError
    ├── MissingPackageError
    ├── NoFileLocksError
    ├── BusyError             exit code 75
    └── RunError
        ├── DivergedError     exit code 70
        ├── OutOfMemoryError  exit code 71
        └── RunBusyError      exit code 75, also a BusyError
    BiasconWarning

``biascon audit --tolerance`` ends with 0, 3, 4 or 5 if there is no error: within, exceeds, inconclusive,
undefined (``biascon.auditing.tolerance.EXIT_CODES``). No error has these codes.

A message is one line. It names the value that was received, the value that was expected, and the next step.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BiasconError(Exception):
    """An error that the user can fix. The command line prints its message as one line.

    Attributes:
        exit_code: The exit code of the process.
    """

    exit_code = 1


class UsageError(BiasconError, ValueError):
    """A parameter, name or combination of parameters is not allowed, whatever the files contain."""

    exit_code = 2


class AlignmentError(UsageError):
    """The aligned values do not fit the label column or the bias column."""


class DataError(BiasconError):
    """Data is missing, truncated or corrupt, or it differs from its manifest."""


class MissingPackageError(BiasconError):
    """Packages that a command needs are not installed."""


class NoFileLocksError(BiasconError):
    """The file system has no file locks, which are needed to work in the folder."""


class BusyError(BiasconError):
    """Another process works on the folder. The same command can succeed later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class RunError(BiasconError):
    """A run cannot be started, resumed or read."""


class DivergedError(RunError):
    """The training diverged: a loss or a feature is not finite. The same run would diverge again."""

    exit_code = 70  # EX_SOFTWARE of sysexits.h


class OutOfMemoryError(RunError):
    """The memory of the device or of the machine does not suffice for the run. It would fail again."""

    exit_code = 71  # EX_OSERR of sysexits.h


class RunBusyError(RunError, BusyError):
    """Another process works on the run. The same command can succeed later."""


class BiasconWarning(UserWarning):
    """The user should know this before trusting a result."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'contex'?"`` for the nearest known name, or ``""`` if none is near.

    >>> did_you_mean("contx", ["ce", "contex", "supcon"])
    "; did you mean 'contex'?"
    >>> did_you_mean("zzz", ["ce"])
    ''
    """
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that a registry does not have: the nearest name and all known names."""
    names = sorted(known)
    hint = did_you_mean(name, names)
    return UsageError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names)})")
