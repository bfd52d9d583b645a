"""Find the folder of a set that was unpacked once more than needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biascon.errors import DataError


def find_root(raw: Path, nested: Sequence[str], needed: Sequence[str], title: str) -> Path:
    """Return RAW, or the first of its subfolders ``nested``, that holds all names of ``needed``.

    Raises:
        DataError: RAW is no folder, or none of these folders holds all names.
    """
    if not raw.is_dir():
        raise DataError(f"{raw} is not a folder")
    folders = [raw, *(raw / name for name in nested)]
    for folder in folders:
        if all((folder / name).exists() for name in needed):
            return folder
    missing = [name for name in needed if not (raw / name).exists()]
    raise DataError(
        f"{raw} is not a folder of {title}: it has no {missing[0]} (expected {', '.join(needed)} in it"
        + (f", or in its folder {' or '.join(nested)})" if nested else ")")
    )
