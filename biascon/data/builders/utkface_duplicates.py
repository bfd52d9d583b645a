"""Identical files of UTKFace: how they are found, and what becomes of them.

Two files are identical if they have the same SHA-256. The first by name decides:

* ``keep``: each file stays in the split that it is drawn into, so that copies are in several splits.
* ``group``: all copies are in the split of the first.
* ``drop``: only the first is used; none is used if the names state another age, gender or race.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.data.builders.utkface_names import ParsedNames
from biascon.data.images.decoding import ImageFolder, UnusableImageError, sha256_bytes
from biascon.utils.types import Array

DUPLICATES = ("keep", "group", "drop")


def digest_images(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder that can be read, by name."""
    images = ImageFolder(folder)
    digests = {}
    for name in names:
        try:
            digests[name] = sha256_bytes(images.read(images.find(name)))
        except UnusableImageError:
            continue  # the build lists it with its reason
    return digests


@dataclass(frozen=True)
class IdenticalFiles:
    """Which files are identical.

    Attributes:
        first: int64 ``(N,)``: the first row with the same bytes; the row itself if there is no other.
        has_one_label: bool ``(N,)``: whether all copies of a file have the same age, gender and race.
    """

    first: Array
    has_one_label: Array

    @property
    def is_used_by_drop(self) -> Array:
        """bool ``(N,)``: whether the rule ``drop`` uses a file."""
        is_used: Array = (self.first == np.arange(len(self.first))) & self.has_one_label
        return is_used

    def count(self) -> dict[str, int]:
        """Return the numbers of sets of identical files, of their files, and of sets with several labels."""
        sizes = np.bincount(self.first, minlength=len(self.first))
        is_first = sizes > 1
        return {
            "sets": int(is_first.sum()),
            "files": int(sizes[is_first].sum()),
            "sets_with_other_labels": int((is_first & ~self.has_one_label).sum()),
        }


def find_identical(parsed: ParsedNames, digests: Mapping[str, str]) -> IdenticalFiles:
    """Find the identical files. A file without a digest is equal to no other.

    Args:
        parsed: The parsed file names.
        digests: The SHA-256 of the files by name.
    """
    first_of: dict[str, int] = {}
    first = np.arange(len(parsed.names), dtype=np.int64)
    for row, name in enumerate(parsed.names):
        if name in digests:
            first[row] = first_of.setdefault(digests[name], row)
    has_one_label = np.ones(len(first), dtype=bool)
    for values in (parsed.age, parsed.gender, parsed.race):
        has_one_label[first[values != values[first]]] = False
    return IdenticalFiles(first, has_one_label[first])
