"""Seals: whether the files of a finished run still have the SHA-256 that ``done`` states.

To hash every file of a thousand runs takes minutes. A file whose hash was found right is therefore not hashed
again while its size, its times of modification and of status change, and its inode stay what they were. These
are kept in the cache of the run folder (``biascon.runs.cache``). A change that keeps all four is found only
by ``Check.FULL``, which neither reads nor writes the cache.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from biascon.errors import RunError
from biascon.runs.cache import read_cached_json, write_cached_json
from biascon.utils.files import os_error, sha256_file

CACHE = "seals.json"
# A file that changed less than this before it was hashed may change again within the resolution of its times.
SETTLED_NS = 2_000_000_000


class Check(enum.Enum):
    """Which files of a finished run are compared with ``done`` when the run is read.

    ``evaluation.json`` is always hashed.
    """

    EVALUATION = "evaluation"  # no other file
    REPORT = "report"  # the files that a report reads; unchanged ones are not hashed again
    FULL = "full"  # every file is hashed


def check_files(
    folder: Path, names: Iterable[str], sha256: Mapping[str, str], *, trust_unchanged: bool
) -> None:
    """Compare files of a run folder with their SHA-256.

    Args:
        folder: The run folder.
        names: The names of the files.
        sha256: The SHA-256 that ``done`` states, by name.
        trust_unchanged: Whether a file is not hashed again that has not changed since its last check.
            Otherwise the cache is neither read nor written.

    Raises:
        RunError: A file has changed.
        BiasconError: A file cannot be read.
    """
    known = read_cached_json(folder, CACHE) if trust_unchanged else {}
    new: dict[str, list[int | str]] = {}
    for name in names:
        path, stated = folder / name, sha256[name]
        before = _state(path)
        if known.get(name) == [*before, stated]:
            continue
        if sha256_file(path) != stated:
            raise changed_error(path)
        if _state(path) == before and time.time_ns() - max(before[1:3]) > SETTLED_NS:
            new[name] = [*before, stated]
    if new and trust_unchanged:
        write_cached_json(folder, CACHE, {**known, **new})


def changed_error(path: Path) -> RunError:
    """Return the error for a file that does not have the SHA-256 that ``done`` states."""
    return RunError(f"{path} has changed since the run ended; delete the folder")


def check_presence(folder: Path, names: Iterable[str]) -> None:
    """Check that files are there, without reading them.

    Raises:
        BiasconError: A file is missing.
    """
    for name in names:
        _state(folder / name)


def _state(path: Path) -> tuple[int, int, int, int]:
    """Return the size of a file, its times of modification and of status change, and its inode."""
    try:
        found = path.stat()
    except OSError as error:
        raise os_error(error, "read", path) from error
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
