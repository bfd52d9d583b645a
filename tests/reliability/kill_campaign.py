"""Campaign ``kill``: SIGKILL at the n-th call that changes a file, for every command, then the command."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.campaign import Row
from tests.reliability.injection_campaign import SHARE, inject


def run(scratch: Path) -> list[Row]:
    """Kill all commands, more than 100 times in all."""
    return inject(scratch, ["SIGKILL"], share=SHARE)
