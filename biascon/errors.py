"""The errors that biascon raises on purpose; each says what was got, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BiasconError(Exception):
    """Something went wrong that the user can mend; the command line prints it as one line.

    Attributes:
        exit_code: What the process exits with: 1 for a failure, 2 for wrong usage.
    """

    exit_code = 1


class UsageError(BiasconError, ValueError):
    """A parameter, name or combination that makes no sense, whatever is on disk."""

    exit_code = 2


class AlignmentError(UsageError):
    """Aligned values that do not fit the label and bias columns."""


class DataError(BiasconError):
    """Data that is missing, truncated, corrupt or not what its manifest says."""


class BiasconWarning(UserWarning):
    """Something that the user should know before trusting a result."""


class RunError(BiasconError):
    """A run that cannot be started, continued or read."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'contex'?"`` for the nearest known name, or ``""``.

    >>> did_you_mean("contx", ["ce", "contex", "supcon"])
    "; did you mean 'contex'?"
    >>> did_you_mean("zzz", ["ce"])
    ''
    """
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that a registry does not hold, with the nearest name and the whole list."""
    names = sorted(known)
    hint = did_you_mean(name, names)
    return UsageError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names)})")
