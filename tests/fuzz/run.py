"""Fuzz a reader: read changed inputs, and collect the faults."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from biascon.errors import BiasconError
from tests.fuzz.readers import Reader

TIME_LIMIT = 20.0  # seconds for an input; the machine may be busy


class TooSlowError(Exception):
    """An input took longer than the limit."""


@dataclass
class Outcome:
    """What became of the inputs of a reader.

    Attributes:
        inputs: The number of inputs.
        accepted: How many of them the reader accepted.
        faults: The number of inputs for each fault: the class of the error and the place in the code.
        examples: An input for each fault.
    """

    inputs: int = 0
    accepted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, bytes] = field(default_factory=dict)


def fuzz(reader: Reader, folder: Path, inputs: int, seed: int) -> Outcome:
    """Read changed inputs.

    Args:
        reader: The reader.
        folder: An empty folder for its files.
        inputs: The number of inputs.
        seed: The seed of the changes.
    """
    rng = np.random.default_rng([seed, *reader.name.encode()])
    outcome = Outcome()
    for _ in range(inputs):
        data = reader.mutate(reader.seeds[int(rng.integers(0, len(reader.seeds)))], rng)
        outcome.inputs += 1
        fault = _read(reader, data, folder)
        if fault is None:
            outcome.accepted += 1
        elif fault:
            outcome.faults[fault] += 1
            outcome.examples.setdefault(fault, data)
    return outcome


def _read(reader: Reader, data: bytes, folder: Path) -> str | None:
    """Return None if an input is accepted, "" if it is refused as it should be, else the fault."""
    try:
        with time_limit(TIME_LIMIT), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(data, folder)
    except BiasconError as error:
        return "" if len(str(error).splitlines()) <= 1 else f"several lines: {str(error)[:80]!r}"
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/biascon/" in f.filename]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "elsewhere"
        return f"{type(error).__name__} in {where}"
    return None


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TooSlowError`` after some seconds, where the system has such a timer."""

    def expire(number: int, frame: FrameType | None) -> None:
        raise TooSlowError

    if os.name == "nt":
        yield
        return
    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
