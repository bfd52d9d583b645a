"""A campaign injects one kind of fault many times, and counts what was lost.

A file ``tests/reliability/<name>_campaign.py`` has a function ``run(scratch: Path) -> list[Row]``. The
program ``python -m tests.reliability`` runs every campaign, or those named. It writes
``docs/reliability.json`` and the table of ``docs/reliability.md``. A quick test of the suite injects a few
faults of each kind.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row of the table of ``docs/reliability.md``.

    Attributes:
        fault: The fault, as a noun.
        how: How it was injected.
        times: How often it was injected.
        lost: How many of these lost data: finished work, or a file that was there before.
        wrong: How many of these gave a wrong result, accepted a damaged file, left a half-made file or folder
            behind, or ended in anything but one clear line and the right exit code.
        test: The quick test of the suite that would find it, as ``tests/...::test_name``.
        note: What a reader must know besides, such as what was not injected.
    """

    fault: str
    how: str
    times: int
    lost: int
    wrong: int
    test: str
    note: str = ""
