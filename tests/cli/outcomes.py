"""What an error of the command line must look like: exit code, standard output, one line."""

from __future__ import annotations

from typing import Any


def only_error(err: str) -> str:
    """Return the last line of standard error, which must be the only error."""
    *progress, last = err.splitlines()
    assert last.startswith("error: ")
    assert not any(line.startswith(("error", "Traceback", "Usage")) for line in progress)
    return last


def usage_error(outcome: Any) -> str:
    """Return the message of wrong usage: exit code 2, nothing on stdout, one line on stderr."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    return only_error(outcome.err)


def failure(outcome: Any) -> str:
    """Return the message of a failure: exit code 1, nothing on stdout."""
    assert outcome.code == 1
    assert outcome.out == ""
    return only_error(outcome.err)
