"""The limits of the settings: values that no run can have, however large the machine is.

A value within these limits may still not fit this machine: ``biascon.training.run_size`` estimates that.
"""

from __future__ import annotations

import sys
from typing import Any

from biascon.utils.text import shorten, show_value

Check = tuple[
    bool, str, Any, str
]  # is allowed, the name of the setting, its value, what was expected
MAX_FLOAT = sys.float_info.max  # also refuses an integer that no floating-point number holds
MAX_SEED = 2**63 - 1
MAX_EPOCHS = 100_000
MAX_BATCH = 1 << 20
MAX_HEAD_LAYERS, MAX_HEAD_WIDTH = 16, 1 << 16
COUNTS: dict[str, tuple[int, int]] = {
    "augment.views": (1, 1024),
    "train.epochs": (1, MAX_EPOCHS),
    "train.min_steps": (0, 10**9),
    "train.batch_size": (2, MAX_BATCH),
    "train.threads": (1, 1024),
    "train.processes": (1, 1 << 16),
    "train.micro_batch": (0, MAX_BATCH),
    "train.probe_every": (0, MAX_EPOCHS),
    "first_stage.epochs": (0, MAX_EPOCHS),
    "probe.max_iterations": (1, 10**7),
    "probe.k": (1, 10**7),
    "finetune.epochs": (1, MAX_EPOCHS),
    "finetune.batch_size": (2, MAX_BATCH),
}


def check_counts(section: str, values: Any) -> list[Check]:
    """Return the checks of the counts of a section.

    Args:
        section: The name of the section.
        values: The section.
    """
    checks = []
    for name, (low, high) in COUNTS.items():
        table, _, key = name.partition(".")
        if table == section:
            value = getattr(values, key)
            expected = f"{low} or more" if value < low else f"at most {high:,}"
            checks.append((low <= value <= high, name, value, expected))
    return checks


def describe_failures(checks: list[Check]) -> list[str]:
    """Return a message for each check that fails."""
    return [
        f"{name} to be {expected}, but got {describe_value(value)}"
        for is_allowed, name, value, expected in checks
        if not is_allowed
    ]


def describe_value(value: Any) -> str:
    """Return a value of a setting for a message: a text without quotation marks."""
    return shorten(value) if isinstance(value, str) else show_value(value)
