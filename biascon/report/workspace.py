"""Check of a workspace: every byte of its datasets, runs, caches, reports and tables of studies.

Nothing is changed. A thing is a folder or file that biascon writes: a dataset, a run, a report, the table of
a study, a cache, or what a killed process left behind.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from biascon.data.dataset import load
from biascon.errors import BiasconError
from biascon.report.checksums import CHECKSUMS, changed_files
from biascon.runs import journal
from biascon.runs.cache import FOLDER as CACHE
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import (
    DONE,
    ENCODER,
    EVALUATION,
    FINETUNE_LOG,
    FINETUNED,
    METRICS_LOG,
    UNFINISHED,
)
from biascon.studies.table import read_table
from biascon.utils.files import os_error, sha256_file
from biascon.utils.folders import is_leftover_folder
from biascon.utils.temporary_files import is_temporary_name

MANIFEST = "manifest.json"
RUN_FILES = {"config.toml", DONE, EVALUATION, ENCODER, journal.JOURNAL, *UNFINISHED}
STUDY = "study.parquet"
SPLIT_FILES = {"train.safetensors", "test.safetensors"}


class Kind(enum.Enum):
    """The kind of a thing in a workspace: its noun, the plural, and what to do if something is wrong."""

    DATASET = "dataset", "datasets", "build it again with the same command and --force"
    RUN = "finished run", "finished runs", "delete its folder and evaluate it again"
    UNFINISHED_RUN = (
        "unfinished run",
        "unfinished runs",
        "repeat its command with --recompute or --no-resume",
    )
    REPORT = "report", "reports", "write it again"
    STUDY = "study", "studies", "take the table from a backup, or run the study again"
    CACHE = "cache", "caches", "delete the file; it is written again"
    UNREADABLE = (
        "unreadable folder",
        "unreadable folders",
        "make it readable and check again; nothing in it was checked",
    )
    LEFTOVER = "leftover", "leftovers", "none; the next command that writes there removes it"

    def __init__(self, noun: str, plural: str, remedy: str) -> None:
        self.noun, self.plural, self.remedy = noun, plural, remedy


@dataclass(frozen=True)
class CheckedThing:
    """A thing of a workspace.

    Attributes:
        path: Its folder or file.
        kind: Its kind.
        problems: What is wrong with it, and what to do, a text each; empty if nothing is wrong.
    """

    path: Path
    kind: Kind
    problems: Sequence[str] = ()


def check_workspace(root: Path) -> Iterator[CheckedThing]:
    """Check everything that biascon wrote in a folder and below it, in the order of the paths.

    Symbolic links to folders are not followed.

    Args:
        root: The folder; it may also be one dataset, run or report.

    Raises:
        BiasconError: The folder does not exist.
    """
    if not root.is_dir():
        raise BiasconError(f"there is no folder {root}")
    unreadable: list[OSError] = []
    for name, folders, files in os.walk(root, onerror=unreadable.append):
        folder = Path(name)
        folders.sort()
        yield from _leftovers(folder, [*folders, *files])
        folders[:] = [
            child for child in folders if child[0] != "." and not (folder / child).is_symlink()
        ]
        found = set(files)
        if MANIFEST not in found and found >= SPLIT_FILES:
            text = f"{folder} has the splits of a dataset, but no {MANIFEST}"
            yield CheckedThing(folder, Kind.DATASET, [text])
        if MANIFEST in found:
            yield CheckedThing(folder, Kind.DATASET, _check(partial(_check_dataset, folder)))
        elif found & RUN_FILES:
            yield _check_run(folder)
            yield from _check_caches(folder)
        if CHECKSUMS in found:
            yield CheckedThing(folder, Kind.REPORT, _check(partial(changed_files, folder)))
        if STUDY in found:
            path = folder / STUDY
            yield CheckedThing(path, Kind.STUDY, _check(partial(_check_study, path)))
    for error in unreadable:
        text = str(os_error(error, "read", error.filename))
        yield CheckedThing(Path(error.filename), Kind.UNREADABLE, [text])


def _check(function: Callable[[], Sequence[str]]) -> list[str]:
    """Return the problems that a function returns, or the error that it raises as a problem."""
    try:
        return list(function())
    except BiasconError as error:
        return [str(error)]


def _check_dataset(folder: Path) -> list[str]:
    data = load(folder)
    images = Path(str(data.manifest.source.get("folder")))
    if data.manifest.store is not None and not images.is_dir():
        return [f"{folder} is an index of the images in {images}, which does not exist"]
    for split in data.splits.values():
        if hasattr(split.images, "verify"):
            split.images.verify()
    return []


def _check_run(folder: Path) -> CheckedThing:
    try:
        if FinishedRun.read(folder) is not None:
            return CheckedThing(folder, Kind.RUN)
    except BiasconError as error:
        return CheckedThing(folder, Kind.RUN, [str(error)])
    return CheckedThing(folder, Kind.UNFINISHED_RUN, _check(partial(_check_unfinished, folder)))


def _check_unfinished(folder: Path) -> list[str]:
    """Compare the files of an unfinished run with its journal."""
    stated = journal.read_journal(folder)
    problems = [
        f"{folder} has a damaged file ({name}{journal.DAMAGED_SUFFIX}); {journal.REMEDY}"
        for name in dict.fromkeys(stated.damaged)
    ]
    for name, known in stated.written.items():
        path = folder / name
        # A training that goes on writes its log again, from its checkpoint.
        result = {METRICS_LOG: ENCODER, FINETUNE_LOG: FINETUNED}.get(name)
        is_rewritten = result is not None and not (folder / result).is_file()
        if is_rewritten or not path.is_file() or sha256_file(path) in known:
            continue
        # A run that trains may have written the file since the journal was read.
        newer = journal.read_journal(folder).written.get(name, [])
        if path.is_file() and sha256_file(path) not in newer:
            problems.append(f"{path} does not have the bytes that were written; {journal.REMEDY}")
    unknown = [
        path.name
        for path in sorted(folder.iterdir())
        if path.name in {ENCODER, EVALUATION, *UNFINISHED} - {journal.JOURNAL, *stated.written}
    ]
    if unknown:
        problems.append(
            f"{folder} has files that are not in its journal ({', '.join(unknown)}); pass --no-resume to "
            "start the run again"
        )
    return problems


def _check_caches(folder: Path) -> Iterator[CheckedThing]:
    """Check that the caches of a run can be read. A damaged one is ignored, and costs time only."""
    for path in sorted((folder / CACHE).glob("*.json")):
        try:
            json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            yield CheckedThing(path, Kind.CACHE, [f"{path} is damaged and is ignored; delete it"])
        else:
            yield CheckedThing(path, Kind.CACHE)


def _check_study(path: Path) -> list[str]:
    read_table(path)
    return []


def _leftovers(folder: Path, names: Sequence[str]) -> Iterator[CheckedThing]:
    """Return what killed processes left in a folder; what another process writes now is none."""
    for name in sorted(names):
        if is_temporary_name(name) or is_leftover_folder(folder / name):
            text = (
                f"{folder / name} is being written, or was left by a process that was killed; the next "
                "command that writes there removes it"
            )
            yield CheckedThing(folder / name, Kind.LEFTOVER, [text])
