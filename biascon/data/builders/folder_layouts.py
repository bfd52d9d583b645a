"""Where the pictures of the standard sets lie: their official layouts, read as sorted lists of names.

Caltech-101 and -256 are a folder a class; ImageNet has training and validation folders, or its validation
pictures in one folder with a table; anybody's own set has ``train/<class>/*`` and ``test/<class>/*``.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biascon.data.building.splitting import NO_VALIDATION
from biascon.errors import DataError, UsageError
from biascon.utils.files import os_error

# What torchvision's ImageFolder takes for a picture; what a file holds decides when it is decoded.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
NO_IMAGE_SUFFIX = "not named like a picture"
SOLUTION_FILE = (
    "LOC_val_solution.csv"  # labels of ImageNet's validation pictures where these lie in one folder
)

LabeledPaths = list[tuple[str, int]]  # (path relative to the folder, label)


@dataclass(frozen=True)
class FolderLayout:
    """A set that comes as folders.

    Attributes:
        title: Its name.
        find: RAW, the name of the dataset if one was given, and whether to validate, to what is there.
        per_class: How many pictures of a class train by default, 0 where the set has its own split.
    """

    title: str
    find: Callable[[Path, str, bool], FolderListing]
    per_class: int = 0


@dataclass(frozen=True)
class FolderListing:
    """The pictures of a set.

    Attributes:
        folder: Which the paths are relative to.
        stem: What the dataset's name starts with.
        classes: Their names, sorted.
        parts: ``train`` and ``test``, perhaps ``val``; or ``all`` where the set has no split.
        left_out: (path, reason).
        told: What the protocol says of each part.
    """

    folder: Path
    stem: str
    classes: Sequence[str]
    parts: Mapping[str, LabeledPaths]
    left_out: Sequence[tuple[str, str]]
    protocol: Mapping[str, str]


def _list_names(folder: Path, *, folders: bool) -> list[str]:
    """Return the names in a folder, sorted: of the folders, or of all else; hidden ones are passed over."""
    try:
        with os.scandir(folder) as entries:
            names = [
                e.name for e in entries if e.is_dir() == folders and not e.name.startswith(".")
            ]
    except OSError as error:
        raise os_error(error, "read", folder) from error
    return sorted(names)


def _list_classes(folder: Path, but: Sequence[str] = ()) -> list[str]:
    """Return the names of the classes: of the folders in a folder.

    Raises:
        DataError: There are fewer than two, or one has a name that is not UTF-8.
    """
    names = [name for name in _list_names(folder, folders=True) if name not in but]
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"{folder} has a folder whose name is not UTF-8: {name!r}") from error
    if len(names) < 2:
        raise DataError(
            f"{folder} has {len(names)} folders: expected one for each class, two or more"
        )
    return names


def _list_images(
    root: Path, inner: str, classes: Sequence[str], left_out: list[tuple[str, str]]
) -> LabeledPaths:
    """Return (path relative to ``root``, label) of the pictures in the folders of the classes.

    Raises:
        DataError: A class has no picture.
    """
    rows: LabeledPaths = []
    for label, name in enumerate(classes):
        folder = f"{inner}/{name}" if inner else name
        there = len(rows)
        for file in _list_names(root / folder, folders=False):
            path = f"{folder}/{file}"
            if file.lower().endswith(IMAGE_SUFFIXES):
                rows.append((path, label))
            else:
                left_out.append((path, NO_IMAGE_SUFFIX))
        if len(rows) == there:
            raise DataError(f"{root / folder} has no pictures: a class cannot be empty")
    return rows


def _find_folder(raw: Path, places: Sequence[str], what: str) -> Path:
    """Return the first of some folders in RAW that is there.

    Raises:
        DataError: None is.
    """
    for place in places:
        if (raw / place).is_dir():
            return raw / place
    raise DataError(f"{raw} has no {what}; unpack the set there")


def _make_caltech_finder(
    name: str, inner: str, clutter: str
) -> Callable[[Path, str, bool], FolderListing]:
    """Return what finds a Caltech set: a folder with a folder a class, and one of clutter, left aside."""

    def find(raw: Path, title: str, val: bool) -> FolderListing:
        above = (f"{name}/{inner}", f"{name.replace('caltech', 'caltech-')}/{inner}")
        places = (".", inner, *above) if raw.name == inner else (inner, *above)
        root = _find_folder(raw, places, f"folder {inner}")
        left_out: list[tuple[str, str]] = []
        classes = _list_classes(root, but=(clutter,))
        rows = _list_images(root, "", classes, left_out)
        return FolderListing(root, name, classes, {"all": rows}, left_out, {})

    return find


def _list_common_classes(root: Path, train: str, test: str) -> list[str]:
    """Return the classes of a set's training folder, which its test folder must have as well."""
    for part in (train, test):
        if not (root / part).is_dir():
            raise DataError(
                f"{root} has no folder {part}: expected {train}/<class>/* and {test}/<class>/*"
            )
    classes, other = _list_classes(root / train), _list_classes(root / test)
    if classes != other:
        odd = sorted(set(classes) ^ set(other))[0]
        where, lacks = (train, test) if odd in classes else (test, train)
        raise DataError(f"{root}: class '{odd}' is in {where}, but not in {lacks}")
    return classes


def _find_imagenet(raw: Path, title: str, val: bool) -> FolderListing:
    places = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".")
    root = next((raw / place for place in places if (raw / place / "train").is_dir()), raw)
    told = {"train": "official training pictures", "test": "official validation pictures"}
    left_out: list[tuple[str, str]] = []
    solution = next(
        (path for path in (raw / SOLUTION_FILE, root / SOLUTION_FILE) if path.is_file()), None
    )
    flat = (root / "val").is_dir() and not _list_names(root / "val", folders=True)
    if flat and solution is None:
        raise DataError(
            f"{root / 'val'} has no folders: sort its pictures into one a class, or put {SOLUTION_FILE} into {raw}"
        )
    if flat and solution is not None:
        classes = _list_classes(root / "train")
        test = _list_with_solution(root, solution, classes, left_out)
    else:
        classes = _list_common_classes(root, "train", "val")
        test = _list_images(root, "val", classes, left_out)
    train = _list_images(root, "train", classes, left_out)
    return FolderListing(root, "imagenet", classes, {"train": train, "test": test}, left_out, told)


def _list_with_solution(
    root: Path, solution: Path, classes: Sequence[str], left_out: list[tuple[str, str]]
) -> LabeledPaths:
    """Return the validation pictures that lie in one folder, with the labels that a table gives them."""
    try:
        with solution.open(encoding="utf-8", newline="") as lines:
            table = {
                row[0]: (row[1].split() or [""])[0] for row in csv.reader(lines) if len(row) == 2
            }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {solution}: {error}") from error
    labels = {name: k for k, name in enumerate(classes)}
    rows: LabeledPaths = []
    for file in _list_names(root / "val", folders=False):
        path = f"val/{file}"
        if not file.lower().endswith(IMAGE_SUFFIXES):
            left_out.append((path, NO_IMAGE_SUFFIX))
            continue
        name = table.get(file.rpartition(".")[0])
        if name not in labels:
            got = "no line" if name is None else f"class '{name}', which train has not,"
            raise DataError(f"{solution} has {got} for {file}")
        rows.append((path, labels[name]))
    missing = set(labels.values()) - {label for _, label in rows}
    if missing:
        raise DataError(f"{root / 'val'} has no picture of class '{classes[min(missing)]}'")
    return sorted(rows, key=lambda row: (row[1], row[0]))


def _find_own_folder(raw: Path, title: str, val: bool) -> FolderListing:
    classes = _list_common_classes(raw, "train", "test")
    left_out: list[tuple[str, str]] = []
    told = {"train": "the pictures of train", "test": "the pictures of test"}
    parts = {part: _list_images(raw, part, classes, left_out) for part in ("train", "test")}
    if val and (raw / "val").is_dir():
        _list_common_classes(raw, "train", "val")
        parts["val"] = _list_images(raw, "val", classes, left_out)
        told["val"] = "the pictures of val"
    name = title or raw.resolve().name
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    stem = stem.lstrip("._-")
    if not val:
        told["val"] = NO_VALIDATION
    if not stem:
        raise UsageError(f"'{name}' gives no name for a dataset; pass one with --name")
    return FolderListing(raw, stem, classes, parts, left_out, told)


FOLDERS = {
    "caltech101": FolderLayout(
        "Caltech-101",
        _make_caltech_finder("caltech101", "101_ObjectCategories", "BACKGROUND_Google"),
        30,
    ),
    "caltech256": FolderLayout(
        "Caltech-256", _make_caltech_finder("caltech256", "256_ObjectCategories", "257.clutter"), 60
    ),
    "imagenet": FolderLayout("ImageNet (ILSVRC 2012)", _find_imagenet),
    "folder": FolderLayout("a folder of pictures", _find_own_folder),
}
