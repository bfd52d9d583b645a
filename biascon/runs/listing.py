"""The runs of a folder in short: what each one is, its state, and its headline accuracy."""

from __future__ import annotations

import enum
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.errors import BiasconWarning, RunError
from biascon.runs.evaluation import FORMAT
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import (
    DONE,
    ENCODER,
    EVALUATION,
    FEATURES,
    check_seal,
    read_evaluation,
    read_seal,
)
from biascon.runs.identity import describe_preset
from biascon.runs.records import Classifier
from biascon.runs.seals import Check

KEYS = (
    "format", "dataset", "label", "evaluated_by", "preset", "overrides", "config", "seed", "digest", "bias",
    "top1", "unbiased",
)  # fmt: skip


class RunState(enum.Enum):
    """The state of a run folder; the value is what a table shows."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class ListedRun:
    """A run folder in short.

    Attributes:
        folder: The run folder.
        state: Its state.
        dataset: The name of the dataset.
        label: The loss, with the parameters that differ from their defaults. Of a run that is not finished,
            the name of the loss.
        evaluated_by: What classifies the test images; None for a run that is not finished.
        preset: The preset and the settings that differ from it; empty for a run that is not finished.
        seed: The seed, None for a run that is not finished.
        headline: ``unbiased``, or ``top1`` without a bias attribute; empty for a run that is not finished.
        accuracy: The headline accuracy, None where it is undefined.
        digest: The digest of the run, or its first eight digits.
        feature_bytes: The size of the files of features.
        note: What is wrong with a damaged run.
    """

    folder: Path
    state: RunState
    dataset: str
    label: str
    evaluated_by: Classifier | None
    preset: str
    seed: int | None
    headline: str
    accuracy: float | None
    digest: str
    feature_bytes: int
    note: str = ""


def find_run_folders(root: Path, dataset: str | None = None) -> list[Path]:
    """Return the run folders under a folder of runs, in the order of their paths.

    Args:
        root: The folder of runs.
        dataset: The name of the dataset whose runs are returned; None returns all.
    """
    folders = find_run_folders_below(root, depth=3)
    return [f for f in folders if dataset is None or f.parent.parent.name == dataset]


def find_run_folders_below(root: Path, *, depth: int | None = None) -> list[Path]:
    """Return the folders below a folder that have a file of a run, also a damaged one, by their paths.

    A warning names each folder that cannot be read: runs in it would be missing without a word.

    Args:
        root: The folder.
        depth: How many levels below ``root`` a run folder is; None returns those of every level, ``root``
            included, and follows no link to a folder.
    """
    names = {"config.toml", DONE, EVALUATION, ENCODER}
    found, waiting = [], [(root, 0)]
    while waiting:
        folder, level = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                inside = {entry.name: _is_folder(entry, follow=bool(depth)) for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            reason = f"left out: {folder} cannot be read: {error.strerror or error}"
            warnings.warn(reason, BiasconWarning, stacklevel=2)
            continue
        if depth in (None, level) and names & inside.keys():
            found.append(folder)
        if depth is None or level < depth:
            waiting += [(folder / name, level + 1) for name, is_dir in inside.items() if is_dir]
    return sorted(found)


def _is_folder(entry: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:  # a link that leads to itself
        return False


def list_runs(folders: Sequence[Path], check: Check = Check.EVALUATION) -> Iterator[ListedRun]:
    """Yield run folders in short, in their order.

    Args:
        folders: The run folders.
        check: Which files of a finished run are compared with ``done``, besides ``evaluation.json``.
    """
    for folder in folders:
        try:
            run = _list_run(folder, check)
        except RunError as error:
            run = _unfinished(folder, RunState.DAMAGED, str(error))
        yield run or _unfinished(folder, RunState.UNFINISHED)


def _list_run(folder: Path, check: Check) -> ListedRun | None:
    """Return a finished run in short, None if it is not finished.

    Raises:
        RunError: A file is missing, has changed, or is of another version.
    """
    seal = read_seal(folder)
    if seal is None:
        return None
    check_seal(folder, seal, check)
    content = read_evaluation(folder, seal)
    values = top_level_values(content.decode(errors="replace"), KEYS)
    if values is None or values["format"] != FORMAT:  # laid out otherwise, or of an earlier version
        run = FinishedRun.read(folder, check=Check.EVALUATION)
        if run is None:
            return None
        values = run.evaluation.to_json()
    try:
        headline = "top1" if values["bias"] is None else "unbiased"
        if values["digest"] != seal.digest:
            raise RunError(f"{folder / DONE} does not belong to its run; delete the folder")
        return ListedRun(
            folder=folder,
            state=RunState.FINISHED,
            dataset=values["dataset"],
            label=values["label"],
            evaluated_by=Classifier(values["evaluated_by"]),
            preset=describe_preset(values["preset"], values["overrides"], values["config"]),
            seed=values["seed"],
            headline=headline,
            accuracy=values[headline]["value"],
            digest=values["digest"],
            feature_bytes=feature_bytes(folder),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder} is a run of another version of biascon; evaluate it again"
        ) from error


def _unfinished(folder: Path, state: RunState, note: str = "") -> ListedRun:
    return ListedRun(
        folder=folder,
        state=state,
        dataset=folder.parent.parent.name,
        label=folder.parent.name,
        evaluated_by=None,
        preset="",
        seed=None,
        headline="",
        accuracy=None,
        digest=folder.name.rpartition("-")[2],
        feature_bytes=feature_bytes(folder),
        note=note,
    )


def feature_bytes(folder: Path) -> int:
    """Return the size of the files of features of a run folder."""
    sizes = 0
    for name in FEATURES:
        try:
            sizes += (folder / name).stat().st_size
        except OSError:
            continue
    return sizes


def top_level_values(text: str, keys: Sequence[str]) -> Mapping[str, Any] | None:
    """Return values of a JSON object that ``pretty_json`` wrote, without reading the rest of it.

    In such a file a line that starts with two blanks and a quotation mark has a key of the outermost object:
    a line break within a text is escaped, and deeper keys are indented by four blanks or more.

    Args:
        text: The content of the file.
        keys: The keys of the values.

    Returns:
        The values by key; None where a key is missing, repeated, or has a value that is not JSON.
    """
    decoder, values = json.JSONDecoder(), {}
    for key in keys:
        start = f'\n  "{key}": '
        place = text.find(start)
        if place < 0 or text.find(start, place + 1) >= 0:
            return None
        try:
            values[key], _ = decoder.raw_decode(text, place + len(start))
        except ValueError:
            return None
    return values
