"""Deletion of files of finished runs that can be computed again: features, and checkpoints left behind."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from biascon.errors import RunBusyError, RunError
from biascon.runs.folder import (
    ENCODER,
    FEATURES,
    UNFINISHED,
    check_seal,
    lock_folder,
    read_evaluation,
    read_seal,
)
from biascon.runs.seals import Check, check_files
from biascon.utils.files import os_error


class PruneState(enum.Enum):
    """What happened to a run folder."""

    PRUNED = "pruned"
    NOTHING_TO_DELETE = "nothing"
    UNFINISHED = "unfinished"
    BUSY = "busy"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class PrunedRun:
    """A run folder after pruning.

    Attributes:
        folder: The run folder.
        state: What happened to it.
        files: The number of files that were deleted, or would be.
        freed: The bytes that this frees. A file that a run shares with another one by a link is counted when
            its last link goes.
        note: What is wrong with a damaged run.
    """

    folder: Path
    state: PruneState
    files: int = 0
    freed: int = 0
    note: str = ""


@dataclass
class _Links:
    """The links to each file, by device and inode, that a dry run counts as deleted."""

    deleted: dict[tuple[int, int], int] = field(default_factory=dict)

    def freed(self, path: Path) -> int:
        """Count a link as deleted, and return the bytes that this frees."""
        found = path.stat()
        key = (found.st_dev, found.st_ino)
        self.deleted[key] = self.deleted.get(key, 0) + 1
        return found.st_size if self.deleted[key] >= found.st_nlink else 0


def prune_runs(
    folders: Sequence[Path], *, features: bool, checkpoints: bool, dry_run: bool = False
) -> Iterator[PrunedRun]:
    """Delete files of finished runs, one run after the other, and yield what happened to each.

    A run stays readable: its seal allows missing features. Before anything is deleted, the evaluation and the
    encoder are compared with the seal; a run that is unfinished, damaged or locked is left as it is.

    Args:
        folders: The run folders.
        features: Whether to delete features. They are computed again from the encoder and the dataset.
        checkpoints: Whether to delete the checkpoints that a process left behind that was killed right after
            it had finished the run.
        dry_run: Whether to delete nothing.

    Raises:
        BiasconError: A folder cannot be locked, or a file cannot be deleted.
    """
    names = (*(FEATURES if features else ()), *(UNFINISHED if checkpoints else ()))
    links = _Links()
    for folder in folders:
        try:
            yield _prune_run(folder, names, links, dry_run=dry_run)
        except RunBusyError:
            yield PrunedRun(folder, PruneState.BUSY)
        except RunError as error:
            yield PrunedRun(folder, PruneState.DAMAGED, note=str(error))


def _prune_run(folder: Path, names: Sequence[str], links: _Links, *, dry_run: bool) -> PrunedRun:
    """Delete files of one run.

    Raises:
        RunBusyError: Another process works on the run.
        RunError: The run is damaged.
        BiasconError: The folder cannot be locked, or a file cannot be deleted.
    """
    if read_seal(folder) is None:
        return PrunedRun(folder, PruneState.UNFINISHED)
    with lock_folder(folder):
        seal = read_seal(folder)
        if seal is None:
            return PrunedRun(folder, PruneState.UNFINISHED)
        paths = [folder / name for name in names if (folder / name).is_file()]
        if not paths:
            return PrunedRun(folder, PruneState.NOTHING_TO_DELETE)
        check_seal(folder, seal, Check.REPORT)
        read_evaluation(folder, seal)
        check_files(folder, [ENCODER], seal.files, trust_unchanged=True)
        freed = 0
        for path in paths:
            try:
                if dry_run:
                    freed += links.freed(path)
                else:
                    size = path.stat()
                    path.unlink()
                    freed += size.st_size if size.st_nlink == 1 else 0
            except OSError as error:
                raise os_error(error, "delete", path) from error
        return PrunedRun(folder, PruneState.PRUNED, len(paths), freed)
