"""Checkpoints: the complete state at the end of an epoch, written atomically, read as data only.

What is random is a function of (seed, purpose, epoch), see ``biascon.utils.seeds``, so that weights,
optimizer and position are the complete state: a run that goes on from here computes what it would
have computed without the interruption.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from biascon.errors import RunError
from biascon.utils.files import write_atomic

NAME = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any], name: str = NAME) -> None:
    """Write the state (tensors and plain data) to a file of a folder, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(folder / name, buffer.getvalue())


def load(folder: Path, name: str = NAME) -> dict[str, Any] | None:
    """Read the state with ``weights_only=True``, or return None if there is none.

    Raises:
        RunError: The file is not a checkpoint of biascon.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is not a checkpoint is told below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the reader raise nearly anything
        raise damaged_file_error(path) from error
    if not isinstance(state, dict) or "epoch" not in state:
        raise damaged_file_error(path)
    return state


def damaged_file_error(path: Path) -> RunError:
    """The error for a file of an unfinished run that cannot be gone on from."""
    return RunError(f"{path} is damaged; delete it or pass --no-resume, to start the run anew")
