"""The journal of an unfinished run, ``journal.jsonl``: the SHA-256 of every file of its folder.

Nothing of a run is trusted before it is compared with what was written. The SHA-256 of a file is computed
from the bytes in memory. A line with it is appended to the journal, and flushed to the disk, after the new
bytes are complete in a temporary file and before this file is renamed. A process that is killed between the
two leaves the earlier bytes, of which the journal has a line too. When the run ends, ``done`` takes over the
SHA-256 of each file and the journal is deleted.

A file that does not have a SHA-256 of the journal is damaged. The journal notes it, and it is renamed to
``<name>.damaged``. The run is then refused until the user asks to compute it again: a damaged file shows that
the disk, the memory or another program cannot be trusted, which a silent repair would hide. Only the main
process of a distributed run writes. A file that is needed, that the journal has and that is not there is
refused in the same way. A missing encoder, checkpoint or file of features is computed again.

A line is JSON: first ``{"run", "check"}`` with the name of the folder, then ``{"file", "sha256", "check"}``
for a file that was written, ``{"damaged", "check"}`` for one that was set aside, and
``{"computed_again", "check"}`` once the user asked for it. ``check`` is the CRC-32 of the line without it. A
last line without its end, from a process that was killed while it wrote, is dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biascon.errors import BiasconError, RunError
from biascon.utils.files import append_durably, os_error, sha256_file, write_together

JOURNAL = "journal.jsonl"
DAMAGED_SUFFIX = ".damaged"
REMEDY = "pass --recompute to biascon evaluate to compute it again, or --no-resume to start the run again"


@dataclass
class Journal:
    """What the journal of a run folder states.

    Attributes:
        written: The SHA-256 of each file by name, in the order of writing. The last one is the newest.
        damaged: The names of the files that were set aside, and not computed again since.
    """

    written: dict[str, list[str]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    def newest(self, name: str) -> str | None:
        """Return the SHA-256 of the newest bytes of a file, None if the journal does not have the file."""
        return self.written[name][-1] if name in self.written else None


def sha256_bytes(data: bytes | str) -> str:
    """Return the SHA-256 of bytes, or of text in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def read_journal(folder: Path) -> Journal:
    """Read the journal of a run folder; it is empty if there is none.

    Raises:
        RunError: The journal is damaged, or that of another run.
        BiasconError: The journal is not readable.
    """
    path = folder / JOURNAL
    journal = Journal()
    for entry in _read_entries(path):
        try:
            if "file" in entry:
                journal.written.setdefault(entry["file"], []).append(entry["sha256"])
            elif "damaged" in entry:
                journal.damaged.append(entry["damaged"])
            elif "run" in entry:
                if entry["run"] != folder.name:
                    raise RunError(
                        f"{path} is that of another run; pass --no-resume to start again"
                    )
            elif entry["computed_again"]:
                journal.damaged.clear()
        except (KeyError, TypeError) as error:
            raise _damaged_journal(path) from error
    return journal


def record(folder: Path, sha256: Mapping[str, str]) -> None:
    """Append the SHA-256 of files that are about to be renamed into a run folder, by name.

    Raises:
        BiasconError: The journal is not writable, or the disk is full.
    """
    _append(folder, [{"file": name, "sha256": value} for name, value in sha256.items()])


def record_damage(folder: Path, name: str) -> None:
    """Note that a file was set aside because it does not have the bytes that were written."""
    _append(folder, [{"damaged": name}])


def record_computed_again(folder: Path) -> None:
    """Note that the user asked to compute the damaged files again."""
    _append(folder, [{"computed_again": True}])


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> None:
    """Write files of an unfinished run atomically, each with its line in the journal.

    Args:
        folder: The run folder, locked.
        files: The content of each file, by name.

    Raises:
        BiasconError: The folder is not writable, or the disk is full. No temporary file remains.
    """
    sha256 = {name: sha256_bytes(data) for name, data in files.items()}
    write_together(
        {folder / name: data for name, data in files.items()},
        before_rename=lambda: record(folder, sha256),
    )


def check_not_damaged(folder: Path) -> None:
    """Refuse an unfinished run with a damaged file that the user did not ask to compute again.

    Raises:
        RunError: A file was set aside, or the journal is damaged.
    """
    damaged = list(dict.fromkeys(read_journal(folder).damaged))
    if damaged:
        asides = (name + DAMAGED_SUFFIX for name in damaged)
        names = [
            aside if (folder / aside).is_file() else f"{name}, missing"
            for name, aside in zip(damaged, asides, strict=True)
        ]
        raise RunError(f"{folder} has a damaged file ({'; '.join(names)}); {REMEDY}")


def read_verified(folder: Path, name: str) -> bytes:
    """Return the bytes of a file of an unfinished run, compared with the journal.

    Raises:
        RunError: The file is damaged (it is then set aside), or the journal does not have it.
        BiasconError: The file cannot be read.
    """
    path = folder / name
    known = _known(folder, name)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise note_missing(folder, name) from None
    except OSError as error:
        raise os_error(error, "read", path) from error
    if sha256_bytes(data) not in known and sha256_bytes(data) not in _known(folder, name):
        raise set_aside(folder, name)
    return data


def verify(folder: Path, name: str, found: str, *, newest: bool = False) -> None:
    """Compare the SHA-256 of a file of an unfinished run with the journal.

    Args:
        folder: The run folder.
        name: The name of the file.
        found: The SHA-256 of its bytes.
        newest: Whether the file must have the newest bytes. Otherwise earlier bytes are accepted too: those
            of a process that was killed before it renamed the newest ones.

    Raises:
        RunError: The file is damaged (it is then set aside), or the journal does not have it.
    """
    known = _known(folder, name)
    if found not in (known[-1:] if newest else known):
        raise set_aside(folder, name)


def set_aside(folder: Path, name: str) -> RunError:
    """Note a damaged file in the journal, rename it to ``<name>.damaged``, and return the error for it.

    If the folder is not writable, or this is not the main process, the file stays and is found again.
    """
    path = folder / name
    aside = path.with_name(name + DAMAGED_SUFFIX)
    kept = ""
    if _is_main_process():
        with contextlib.suppress(BiasconError, OSError):
            # First the line: a file that is renamed without one would be computed again silently.
            record_damage(folder, name)
            path.replace(aside)
            kept = f"; it is kept as {aside.name}"
    return RunError(f"{path} does not have the bytes that were written{kept}; {REMEDY}")


def note_missing(folder: Path, name: str) -> RunError:
    """Note in the journal that a file is missing that was written, and return the error for it."""
    if _is_main_process():
        with contextlib.suppress(BiasconError):
            record_damage(folder, name)
    return RunError(f"{folder / name} was written and is missing; {REMEDY}")


def finish_setting_aside(folder: Path, name: str) -> None:
    """Rename a damaged file that the journal notes, if the process was killed or failed before it did so.

    Raises:
        BiasconError: The folder is not writable.
    """
    path = folder / name
    if path.is_file() and sha256_file(path) not in _known(folder, name):
        try:
            path.replace(path.with_name(name + DAMAGED_SUFFIX))
        except OSError as error:
            raise os_error(error, "rename", path) from error


def keep_damaged_journal(folder: Path) -> None:
    """Rename a journal that cannot be read to ``journal.jsonl.damaged``.

    Raises:
        BiasconError: The folder is not writable.
    """
    try:
        read_journal(folder)
    except RunError:
        path = folder / JOURNAL
        try:
            path.replace(path.with_name(JOURNAL + DAMAGED_SUFFIX))
        except OSError as error:
            raise os_error(error, "rename", path) from error


def _is_main_process() -> bool:
    from biascon.utils.distributed import is_main_process  # imports PyTorch

    return is_main_process()


def _known(folder: Path, name: str) -> list[str]:
    """Return the SHA-256 of all bytes that the journal has of a file.

    Raises:
        RunError: It has none.
    """
    known = read_journal(folder).written.get(name)
    if not known:
        raise RunError(
            f"{folder / name} is not in the journal of its run, and cannot be checked (an earlier version of "
            "biascon or another program wrote it); pass --no-resume to start the run again"
        )
    return known


def _append(folder: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    path = folder / JOURNAL
    first = [] if path.is_file() and path.stat().st_size else [{"run": folder.name}]
    append_durably(path, "".join(_to_line(entry) for entry in (*first, *entries)))


def _to_line(entry: Mapping[str, Any]) -> str:
    check = zlib.crc32(json.dumps(entry).encode())
    return json.dumps({**entry, "check": f"{check:08x}"}) + "\n"


def _read_entries(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal as plain data, without a last line that has no end."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise os_error(error, "read", path) from error
    entries = []
    for line in content.split(b"\n")[:-1]:
        try:
            entry = json.loads(line)
            check = entry.pop("check")
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
            raise _damaged_journal(path) from error
        if _to_line(entry).encode() != line + b"\n" or not isinstance(check, str):
            raise _damaged_journal(path)
        entries.append(entry)
    return entries


def _damaged_journal(path: Path) -> RunError:
    return RunError(f"{path} is damaged; pass --no-resume to start the run again")
