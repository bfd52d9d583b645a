"""The cache of a finished run, ``.cache/`` in its folder: what can be computed again at any time.

A cache that is missing, damaged or not writable is ignored. Two processes may write it at the same time: the
last one wins, and what the other one wrote is computed again.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from biascon.utils.temporary_files import TemporaryFile, remove_temporary_files

FOLDER = ".cache"


def cache_path(folder: Path, name: str) -> Path:
    """Return the path of a file of the cache of a run folder."""
    return folder / FOLDER / name


def read_cached_json(folder: Path, name: str) -> dict[str, Any]:
    """Return the object in a JSON file of the cache; an empty one if it is missing or damaged."""
    try:
        data = json.loads(cache_path(folder, name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def write_cached(folder: Path, name: str, data: bytes) -> None:
    """Write a file of the cache: a reader sees the old bytes or all the new bytes.

    Unlike a result, the file is not flushed to the disk. Nothing happens if it cannot be written.
    """
    path = cache_path(folder, name)
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        remove_temporary_files(path.parent)
        temporary = TemporaryFile.create(path)
        try:
            temporary.write(data, flush=False)
            temporary.publish(keep_old=False)
        finally:
            temporary.discard()


def write_cached_json(folder: Path, name: str, data: dict[str, Any]) -> None:
    """Write a JSON object to a file of the cache; see ``write_cached``."""
    write_cached(folder, name, json.dumps(data).encode())
