"""Checkpoints: the complete state at the end of an epoch, written atomically, read as data only.

Every random draw is a function of (seed, purpose, epoch), see ``biascon.utils.seeds``. Weights, optimizer and
position are therefore the complete state: a resumed run computes the same as a run without interruption.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from biascon.errors import RunError
from biascon.runs.folder import read_artifact, write_artifacts

NAME = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any], name: str = NAME) -> None:
    """Write the state (tensors and plain data) to a file of a folder, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_artifacts(folder, {name: buffer.getvalue()})


def load(folder: Path, name: str = NAME) -> dict[str, Any] | None:
    """Read the state with ``weights_only=True``, or return None if there is none.

    Raises:
        RunError: The file does not have the bytes that were written, or is not a checkpoint of biascon.
    """
    path = folder / name
    if not path.is_file():
        return None
    content = io.BytesIO(read_artifact(folder, name))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below names a file that is no checkpoint
            state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the reader raise nearly anything
        raise damaged_file_error(path) from error
    if not isinstance(state, dict) or "epoch" not in state:
        raise damaged_file_error(path)
    return state


def damaged_file_error(path: Path) -> RunError:
    """Return the error for a damaged file of an unfinished run."""
    return RunError(f"{path} is damaged; delete it or pass --no-resume, to start the run again")
