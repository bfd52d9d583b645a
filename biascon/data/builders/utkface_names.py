"""The file names of UTKFace: ages, genders and races, and the folder that holds the files.

Only the aligned and cropped edition is read. Its names end in ``.jpg.chip.jpg``. The edition in the wild
(``part1``, ``part2``, ``part3``) has whole photographs under names that end in ``.jpg``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from biascon.data.images.file_names import is_image_name
from biascon.errors import DataError
from biascon.utils.files import os_error
from biascon.utils.reading import NAMES, read_text
from biascon.utils.text import join_first
from biascon.utils.types import Array

NO_RACE, NOT_UTKFACE = "name lacks the race", "not a UTKFace name"
SEARCH_DEPTH = 2  # levels of subfolders that are searched for images

_STRICT = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)\.jpg\.chip\.jpg", re.ASCII)
# Names with a space before the first dot, or without that dot.
_REPAIRABLE = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+) *\.?jpg\.chip\.jpg", re.ASCII)
_WITHOUT_RACE = re.compile(r"(\d{1,3})_([01])_(\d{5,})\.jpg\.chip\.jpg", re.ASCII)
_IN_THE_WILD = re.compile(r"\d{1,3}_[01]_[0-4]_\d{5,} *\.jpe?g", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class ParsedNames:
    """The ages, genders and races in the file names.

    Attributes:
        names: The names that are used, sorted.
        age: int64 ``(N,)`` in years.
        gender: int64 ``(N,)``: 0 male, 1 female.
        race: int64 ``(N,)`` in 0..4.
        repaired: The used names that are malformed but readable.
        left_out: (name, reason) of the names that are not used.
    """

    names: Sequence[str]
    age: Array
    gender: Array
    race: Array
    repaired: Sequence[str]
    left_out: Sequence[tuple[str, str]]

    @property
    def read(self) -> int:
        """The number of names that were read."""
        return len(self.names) + len(self.left_out)


def parse_names(names: Sequence[str]) -> ParsedNames:
    """Parse file names strictly. Two kinds of malformed names are repaired, all others are left out.

    >>> names = ["24_0_1_20170116220224657 .jpg.chip.jpg", "39_1_20170116174525125.jpg.chip.jpg"]
    >>> parsed = parse_names(names)
    >>> parsed.age, parsed.repaired, parsed.left_out[0][1]
    (array([24]), ['24_0_1_20170116220224657 .jpg.chip.jpg'], 'name lacks the race')
    """
    used, values, repaired, left_out = [], [], [], []
    for name in sorted(set(names)):
        match = _STRICT.fullmatch(name)
        if match is None:
            match = _REPAIRABLE.fullmatch(name)
            if match is None:
                left_out.append((name, NO_RACE if _WITHOUT_RACE.fullmatch(name) else NOT_UTKFACE))
                continue
            repaired.append(name)
        used.append(name)
        values.append([int(match[k]) for k in (1, 2, 3)])
    table = np.array(values, dtype=np.int64).reshape(-1, 3)
    return ParsedNames(used, table[:, 0], table[:, 1], table[:, 2], repaired, left_out)


@dataclass(frozen=True)
class UTKFaceImages:
    """The images of UTKFace in a folder.

    Attributes:
        folder: The folder that holds them.
        names: The file names, sorted.
        passed_over: The number of images in each other folder that holds images of UTKFace.
    """

    folder: Path
    names: Sequence[str]
    passed_over: Mapping[Path, int] = field(default_factory=dict)


def find_images(raw: Path) -> UTKFaceImages:
    """Find the images in RAW, in its subfolder ``UTKFace``, or in the only subfolder that has images.

    Hidden files and files that are not named like images are passed over.

    Raises:
        DataError: No folder has a file that is named as in the aligned and cropped edition, or several
            subfolders have such files.
        BiasconError: A folder cannot be read.
    """
    found: dict[Path, list[str]] = {}
    in_the_wild: list[Path] = []
    for folder, names in _iter_folders(raw, SEARCH_DEPTH):
        if any(_REPAIRABLE.fullmatch(name) for name in names):
            found[folder] = names
        elif any(_IN_THE_WILD.fullmatch(name) for name in names):
            in_the_wild.append(folder)
    preferred = [folder for folder in (raw, raw / "UTKFace") if folder in found]
    if not found and in_the_wild:
        folders = join_first([str(folder) for folder in in_the_wild], 3)
        raise DataError(
            f"{folders}: these are the images of UTKFace in the "
            "wild, whose faces are not cropped; get the aligned and cropped images, which are named like "
            "25_0_2_20170116174525125.jpg.chip.jpg"
        )
    if not found:
        raise DataError(
            f"{raw} is not a folder of UTKFace: expected files named like "
            "25_0_2_20170116174525125.jpg.chip.jpg in it, or in a folder in it"
        )
    if not preferred and len(found) > 1:
        counts = [f"{folder} ({len(names):,} images)" for folder, names in found.items()]
        raise DataError(
            f"{raw} has several folders with images of UTKFace: {join_first(counts)}; "
            "pass one of them as RAW"
        )
    folder = preferred[0] if preferred else next(iter(found))
    others = {other: len(names) for other, names in found.items() if other != folder}
    return UTKFaceImages(folder, found[folder], others)


def _iter_folders(folder: Path, depth: int) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and the subfolders down to ``depth``, each with its sorted image names.

    Hidden folders and subfolders that cannot be read are passed over. The subfolders of a link are not
    searched.
    """
    names, subfolders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_image_name(entry.name):
                    names.append(entry.name)
                elif depth and not entry.name.startswith(".") and entry.is_dir():
                    subfolders.append((entry.name, entry.is_symlink()))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if depth < SEARCH_DEPTH:
            return
        raise os_error(error, "read", folder) from error
    yield folder, sorted(names)
    for name, is_link in sorted(subfolders):
        yield from _iter_folders(folder / name, 0 if is_link else depth - 1)


def read_names(path: Path) -> Sequence[str]:
    """Read file names from a text file with one name per line. Names that are not of images are passed over.

    Raises:
        DataError: The file is unreadable, or has no name that is formed as in UTKFace.
    """
    names = read_text(path, NAMES, encoding="utf-8-sig").split("\n")
    names = [name for name in (line.strip("\r") for line in names) if is_image_name(name)]
    if not any(_REPAIRABLE.fullmatch(name) for name in names):
        raise DataError(
            f"{path} has no name of a UTKFace file: expected lines like 25_0_2_20170116174525125.jpg.chip.jpg"
        )
    return names
