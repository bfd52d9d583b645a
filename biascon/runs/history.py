"""The epochs of a training: kept in the checkpoint, written line by line to a log, resumed from both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biascon.runs import checkpoint
from biascon.runs.folder import record_artifacts, write_artifacts
from biascon.runs.journal import sha256_bytes
from biascon.runs.records import EpochRecord
from biascon.utils.files import append_durably


@dataclass
class History:
    """The epochs of one training so far.

    Attributes:
        folder: The run folder.
        log: The name of the log in the folder: a line of JSON for each epoch.
        checkpoint: The name of the checkpoint in the folder.
        epochs: The records of the finished epochs.
    """

    folder: Path
    log: str
    checkpoint: str
    epochs: list[EpochRecord] = field(default_factory=list)

    def restore(self, load_state: Callable[[Mapping[str, Any]], None]) -> None:
        """Read the checkpoint, if there is one, and resume after its last epoch.

        Args:
            load_state: Called with the state of the checkpoint, to restore the rest of the training.

        Raises:
            RunError: The checkpoint is damaged, or is one of another training.
        """
        state = checkpoint.load(self.folder, self.checkpoint)
        if state is None:
            return
        try:
            load_state(state)
            self.epochs = [EpochRecord.from_json(line) for line in state["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoint.damaged_file_error(self.folder / self.checkpoint) from error

    def rewrite_log(self) -> None:
        """Rewrite the log: it loses the epochs after the last checkpoint, which are computed again."""
        write_artifacts(self.folder, {self.log: "".join(self._lines())})

    def _lines(self) -> list[str]:
        return [json.dumps(epoch.to_json()) + "\n" for epoch in self.epochs]

    def add(self, epoch: EpochRecord) -> None:
        """Add a finished epoch, without writing it."""
        self.epochs.append(epoch)

    def save(self, state: Mapping[str, Any]) -> None:
        """Append the last epoch to the log, and write the checkpoint.

        Args:
            state: The state of the training, tensors and plain data.
        """
        lines = self._lines()
        record_artifacts(self.folder, {self.log: sha256_bytes("".join(lines))})
        append_durably(self.folder / self.log, lines[-1])
        history = [epoch.to_json() for epoch in self.epochs]
        checkpoint.save(
            self.folder,
            {"epoch": self.epochs[-1].epoch, **state, "history": history},
            self.checkpoint,
        )
