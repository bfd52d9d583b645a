"""The run folder ``runs/<dataset>/<loss>/seed<k>-<digest8>/``: names of its files, lock, end marker.

Every finished run has ``config.toml`` (all settings), ``environment.json``, ``metrics.jsonl``,
``encoder.safetensors``, ``predictions.parquet``, ``evaluation.json``, and ``done``. ``done`` holds the
SHA-256 of every other file and is written last. A run may also have ``classifier.safetensors`` (the method
trains a classifier), ``losses.safetensors`` (another method builds on the recorded losses),
``first_stage.json`` (which images the first-stage network singles out),
``finetuned.safetensors`` and ``finetune.jsonl`` (protocol ``finetune``), and
``features-<split>.safetensors`` (the features of a split).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.config.run_config import RunConfig
from biascon.config.settings import to_toml
from biascon.errors import BiasconError, DataError, RunBusyError, RunError
from biascon.runs import journal
from biascon.runs.environment import describe_environment, describe_other_processor
from biascon.runs.journal import JOURNAL
from biascon.runs.records import SelectedImages
from biascon.runs.seals import Check, changed_error, check_files, check_presence
from biascon.utils.files import (
    os_error,
    pretty_json,
    read_json,
    sha256_file,
    write_atomic,
    write_together,
)
from biascon.utils.locks import acquire
from biascon.utils.reading import parse_json
from biascon.utils.renaming import make_folder

DONE = "done"
EVALUATION = "evaluation.json"
ENVIRONMENT = "environment.json"
CONFIG = "config.toml"
METRICS_LOG = "metrics.jsonl"  # the epochs of training
PREDICTIONS = "predictions.parquet"
ENCODER = "encoder.safetensors"
CLASSIFIER = "classifier.safetensors"  # of a method that trains a classifier
FEATURES = tuple(f"features-{part}.safetensors" for part in ("train", "val", "test"))
SELECTED = "first_stage.json"  # the images that the first-stage network singles out
STEP_LOSSES = "losses.safetensors"  # the recorded losses of a first-stage network
FINETUNED = "finetuned.safetensors"  # encoder and linear layer after fine-tuning
FINETUNE_LOG = "finetune.jsonl"  # the epochs of fine-tuning
UNFINISHED = ("checkpoint.pt", "finetune.pt", JOURNAL)
OPTIONAL = (CLASSIFIER, SELECTED, STEP_LOSSES, FINETUNED, FINETUNE_LOG, *FEATURES)
_SEALED = ("config.toml", ENVIRONMENT, METRICS_LOG, ENCODER, PREDICTIONS, EVALUATION)
# The files that a report reads, besides the evaluation, and the test features where it draws them.
_REPORTED = ("config.toml", "environment.json", METRICS_LOG, PREDICTIONS, SELECTED, FINETUNE_LOG)


def run_folder(root: Path, dataset: str, config: RunConfig, digest: str) -> Path:
    """Return the folder of a run; no two runs have the same folder."""
    return root / dataset / config.loss / f"seed{config.seed}-{digest[:8]}"


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Create the folder and hold its lock. The system frees the lock if the process dies.

    Args:
        folder: The run folder.
        wait: Whether to wait until another process frees the lock. Otherwise a busy folder is an error.

    Raises:
        RunBusyError: Another process works on this run.
        NoFileLocksError: The file system has no file locks.
        BiasconError: The folder cannot be created.
    """
    try:
        make_folder(folder)
        lock = acquire(folder / ".lock", wait=wait)
    except OSError as error:
        raise os_error(error, "create", folder) from error
    if lock is None:
        raise RunBusyError(f"another process works on {folder}; wait for it, or stop it")
    try:
        # A process that was killed while it wrote a file leaves a temporary file behind.
        for temporary in folder.glob(".*.tmp"):
            temporary.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def write_config(folder: Path, config: RunConfig, device: str) -> None:
    """Write the configuration and the environment of a run, before its first step."""
    environment = describe_environment(device)
    begun_on = _find_earlier_processors(folder)
    if begun_on:
        environment["begun_on"] = begun_on
    write_artifacts(
        folder,
        {"config.toml": to_toml(config.as_dict()), ENVIRONMENT: pretty_json(environment)},
    )


def _find_earlier_processors(folder: Path) -> list[str]:
    """Return the other processors that computed earlier epochs of a run which is resumed here."""
    if not ((folder / UNFINISHED[0]).is_file() and (folder / ENVIRONMENT).is_file()):
        return []
    earlier = json.loads(read_artifact(folder, ENVIRONMENT))
    other = describe_other_processor(earlier)
    return [*earlier.get("begun_on", []), *([] if other is None else [other])]


def write_artifacts(folder: Path, files: Mapping[str, bytes | str]) -> None:
    """Write files of a run atomically, with their lines in the journal while the run is not finished.

    A file of a finished run is written only if it has the SHA-256 that ``done`` states, or if ``done`` does
    not have it. It stays as it is otherwise.

    Raises:
        RunError: ``done`` is damaged.
        BiasconError: The folder is not writable, or the disk is full.
    """
    seal = read_seal(folder)
    if seal is None:
        journal.write_files(folder, files)
        return
    # A file of a finished run, such as pruned features, is written only with the bytes that it had.
    same = {
        folder / name: data
        for name, data in files.items()
        if seal.files.get(name) in (None, journal.sha256_bytes(data))
    }
    write_together(same)


def record_artifacts(folder: Path, sha256: Mapping[str, str]) -> None:
    """Append the SHA-256 of files of a run to its journal, while the run is not finished.

    Call this before a file gets its name. ``write_artifacts`` does so by itself.
    """
    if not (folder / DONE).exists():
        journal.record(folder, sha256)


def read_artifact(folder: Path, name: str) -> bytes:
    """Return the bytes of a file of a run, after comparing them with ``done``, or else with the journal.

    Raises:
        RunError: The bytes are not those that were written. A damaged file of an unfinished run is set aside.
        BiasconError: The file cannot be read.
    """
    seal = read_seal(folder)
    if seal is None:
        stated = journal.read_journal(folder).newest(name)
        # Another process may have finished the run in between, and deleted its journal.
        seal = None if stated is not None else read_seal(folder)
    if seal is None:
        return journal.read_verified(folder, name)
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{os_error(error, 'read', path)}; delete the folder {folder}") from error
    if journal.sha256_bytes(data) != seal.files.get(name):
        raise changed_error(path)
    return data


def stated_sha256(folder: Path, name: str) -> str | None:
    """Return the SHA-256 that ``done``, or else the journal, states for a file; None if neither has it.

    Raises:
        RunError: ``done`` or the journal is damaged.
    """
    seal = read_seal(folder)
    return journal.read_journal(folder).newest(name) if seal is None else seal.files.get(name)


def read_selected_images(folder: Path) -> SelectedImages | None:
    """Return which training images the first-stage network singles out, None if the run has no such record.

    Raises:
        RunError: The file is damaged, or it was written and is missing.
    """
    path = folder / SELECTED
    if not path.is_file() and stated_sha256(folder, SELECTED) is None:
        return None
    try:
        return SelectedImages.from_json(json.loads(read_artifact(folder, SELECTED)))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged; delete the folder {folder}") from error


def mark_finished(folder: Path, digest: str) -> None:
    """Write ``done``, with the SHA-256 of every other file: the run is finished.

    Every file is first read and compared with the journal, so that no damage is sealed, and no file is left
    out that was written. Features may be missing.

    Raises:
        RunError: A file does not have the bytes that were written, and is set aside; or it is missing.
        BiasconError: A file cannot be read, or ``done`` cannot be written.
    """
    written = set(journal.read_journal(folder).written) - {*FEATURES}
    optional = [name for name in OPTIONAL if name in written or (folder / name).is_file()]
    files = {}
    for name in (*_SEALED, *optional):
        if not (folder / name).is_file():
            raise journal.note_missing(folder, name)
        files[name] = sha256_file(folder / name)
        journal.verify(folder, name, files[name], newest=True)
    write_atomic(folder / DONE, pretty_json({"digest": digest, "files": files}))


@dataclass(frozen=True)
class Seal:
    """What ``done`` states: the digest of the run, and the SHA-256 of its files by name."""

    digest: str
    files: Mapping[str, str]


def read_seal(folder: Path) -> Seal | None:
    """Return what ``done`` states, or None if the run is not finished.

    Raises:
        RunError: ``done`` is damaged.
    """
    marker = folder / DONE
    if not marker.is_file():
        return None
    try:
        stated = read_json(marker)
        digest, files = stated["digest"], stated["files"]
        return Seal(digest, {name: files[name] for name in (*_SEALED, *_stated_optional(files))})
    except (KeyError, TypeError) as error:
        raise RunError(f"{marker} is not an end marker of biascon; delete the folder") from error
    except BiasconError as error:
        raise RunError(f"{error}; delete the folder {folder}") from error


def _stated_optional(files: Mapping[str, str]) -> list[str]:
    return [name for name in OPTIONAL if name in files]


def check_seal(folder: Path, seal: Seal, check: Check) -> None:
    """Compare the files of a finished run with what ``done`` states, except the evaluation.

    Features may be deleted to save space: they can be computed again. Every other file must be there.

    Raises:
        RunError: A file is missing or has changed.
    """
    present = [
        name
        for name in seal.files
        if name != EVALUATION and not (name in FEATURES and not (folder / name).exists())
    ]
    try:
        if check is Check.FULL:
            check_files(folder, present, seal.files, trust_unchanged=False)
        elif check is Check.REPORT:
            read = [name for name in present if name in _REPORTED]
            check_presence(folder, [name for name in present if name not in _REPORTED])
            check_files(folder, read, seal.files, trust_unchanged=True)
    except RunError:
        raise
    except BiasconError as error:
        raise RunError(f"{error}; delete the folder {folder}") from error


def read_evaluation(folder: Path, seal: Seal) -> bytes:
    """Return the content of ``evaluation.json``, compared with what ``done`` states.

    Raises:
        RunError: The file is missing or has changed.
    """
    path = folder / EVALUATION
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{os_error(error, 'read', path)}; delete the folder {folder}") from error
    if hashlib.sha256(content).hexdigest() != seal.files[EVALUATION]:
        raise changed_error(path)
    return content


def read_finished(
    folder: Path, digest: str | None = None, check: Check = Check.FULL
) -> dict[str, Any] | None:
    """Return the evaluation of a finished run, or None if it is not finished.

    Args:
        folder: The run folder.
        digest: The digest that the run must have; None accepts every run.
        check: Which files are compared with ``done``.

    Raises:
        RunError: The run is marked as finished, but a file is missing or has changed, or the folder holds
            another run.
    """
    seal = read_seal(folder)
    if seal is None:
        return None
    check_seal(folder, seal, check)
    content = read_evaluation(folder, seal)
    try:
        evaluation = parse_json(content, str(folder / EVALUATION))
    except DataError as error:
        raise RunError(f"{error}; delete the folder {folder}") from error
    if digest is not None and seal.digest != digest:
        raise RunError(f"{folder} holds another run ({seal.digest[:8]}); delete the folder")
    if not isinstance(evaluation, dict) or evaluation.get("digest") != seal.digest:
        raise RunError(f"{folder / EVALUATION} does not belong to its run; delete the folder")
    return evaluation
