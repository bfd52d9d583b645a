"""Progress of a long task, as lines: nothing for a short task, then a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Say = Callable[[str], None]
INTERVAL = 5.0  # seconds before the first line, and between two lines


def say_nothing(line: str) -> None:
    """Print no line of progress."""


def with_progress(items: Iterable[T], what: str, total: int, say: Say) -> Iterator[T]:
    """Yield the items, and call ``say`` every few seconds with the number of items that are done.

    Args:
        items: The items.
        what: What is done, such as ``"reading runs"``.
        total: The number of items.
        say: Called with each line.
    """
    last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= INTERVAL:
            say(f"{what}: {done:,} of {total:,}")
            last = now
        yield item
