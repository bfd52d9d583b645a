"""The folder layouts of image sets, read as sorted lists of file names.

Caltech-101 and Caltech-256 have one folder per class. ImageNet has training and validation folders with one
folder per class, or all validation images in one folder with a CSV file of their classes. A user's own set
has ``train/<class>/*`` and ``test/<class>/*``.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biascon.data.building.splitting import NO_VALIDATION
from biascon.data.images.file_names import IMAGE_SUFFIXES
from biascon.errors import DataError, UsageError
from biascon.utils.files import os_error
from biascon.utils.reading import TABLE, open_lines

NO_IMAGE_SUFFIX = "not named like a picture"  # reason in rejected.csv; dataset digests depend on it
# The classes of ImageNet's validation images, if these are in one folder.
SOLUTION_FILE = "LOC_val_solution.csv"

LabeledPaths = list[tuple[str, int]]  # (path relative to the folder, label)


@dataclass(frozen=True)
class FolderLayout:
    """The layout of an image set that comes as folders.

    Attributes:
        title: Name of the set.
        find: A function of RAW, the name of the dataset ("" for the default) and whether to use a validation
            split. It returns the listing of the set.
        per_class: Default number of training images of each class; 0 if the set has official splits.
    """

    title: str
    find: Callable[[Path, str, bool], FolderListing]
    per_class: int = 0


@dataclass(frozen=True)
class FolderListing:
    """The images of a set.

    Attributes:
        folder: The folder that the paths are relative to.
        stem: First part of the dataset's name.
        classes: The names of the classes, sorted.
        parts: The images of ``train``, ``test`` and possibly ``val``; or of ``all`` if the set has no
            official splits.
        left_out: (path, reason) of the files that are no images.
        protocol: The manifest text of each part.
    """

    folder: Path
    stem: str
    classes: Sequence[str]
    parts: Mapping[str, LabeledPaths]
    left_out: Sequence[tuple[str, str]]
    protocol: Mapping[str, str]


def _list_names(folder: Path, *, folders: bool) -> list[str]:
    """Return the names of the subfolders or of the files in a folder, sorted, without hidden names."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.is_dir() == folders and not entry.name.startswith(".")
            ]
    except OSError as error:
        raise os_error(error, "read", folder) from error
    return sorted(names)


def _list_classes(folder: Path, exclude: Sequence[str] = ()) -> list[str]:
    """Return the names of the classes, which are the names of the subfolders.

    Raises:
        DataError: There are fewer than two classes, or a name is not UTF-8.
    """
    names = [name for name in _list_names(folder, folders=True) if name not in exclude]
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"{folder} has a folder whose name is not UTF-8: {name!r}") from error
    if len(names) < 2:
        raise DataError(f"{folder} has {len(names)} folders: expected one per class, two or more")
    return names


def _list_images(
    root: Path, inner: str, classes: Sequence[str], left_out: list[tuple[str, str]]
) -> LabeledPaths:
    """Return (path relative to ``root``, label) of the images in the folders of the classes.

    Args:
        root: The folder of the set.
        inner: The folder of the classes, relative to ``root``; "" for ``root``.
        classes: The names of the classes.
        left_out: (path, reason) of the other files are appended to this list.

    Raises:
        DataError: A class has no image.
    """
    rows: LabeledPaths = []
    for label, name in enumerate(classes):
        folder = f"{inner}/{name}" if inner else name
        n_before = len(rows)
        for file in _list_names(root / folder, folders=False):
            path = f"{folder}/{file}"
            if file.lower().endswith(IMAGE_SUFFIXES):
                rows.append((path, label))
            else:
                left_out.append((path, NO_IMAGE_SUFFIX))
        if len(rows) == n_before:
            raise DataError(f"{root / folder} has no images: a class must not be empty")
    return rows


def _find_folder(raw: Path, candidates: Sequence[str], description: str) -> Path:
    """Return the first of some folders in RAW that exists.

    Raises:
        DataError: None of them exists.
    """
    for candidate in candidates:
        if (raw / candidate).is_dir():
            return raw / candidate
    raise DataError(f"{raw} has no {description}; unpack the set there")


def _make_caltech_finder(
    name: str, inner: str, clutter: str
) -> Callable[[Path, str, bool], FolderListing]:
    """Return the ``find`` of a Caltech set.

    Args:
        name: Name of the set.
        inner: Name of the folder that has one folder per class.
        clutter: Name of a folder that is no class and is ignored.
    """

    def find(raw: Path, title: str, val: bool) -> FolderListing:
        nested = (f"{name}/{inner}", f"{name.replace('caltech', 'caltech-')}/{inner}")
        candidates = (".", inner, *nested) if raw.name == inner else (inner, *nested)
        root = _find_folder(raw, candidates, f"folder {inner}")
        left_out: list[tuple[str, str]] = []
        classes = _list_classes(root, exclude=(clutter,))
        rows = _list_images(root, "", classes, left_out)
        return FolderListing(root, name, classes, {"all": rows}, left_out, {})

    return find


def _list_common_classes(root: Path, train: str, test: str) -> list[str]:
    """Return the classes of the training folder, and check that the test folder has the same classes."""
    for part in (train, test):
        if not (root / part).is_dir():
            raise DataError(
                f"{root} has no folder {part}: expected {train}/<class>/* and {test}/<class>/*"
            )
    classes, test_classes = _list_classes(root / train), _list_classes(root / test)
    if classes != test_classes:
        name = sorted(set(classes) ^ set(test_classes))[0]
        present, absent = (train, test) if name in classes else (test, train)
        raise DataError(f"{root}: class '{name}' is in {present}, but not in {absent}")
    return classes


def _find_imagenet(raw: Path, title: str, val: bool) -> FolderListing:
    """Find the images of ImageNet in the layout of torchvision or of the Kaggle competition."""
    candidates = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".")
    root = next((raw / name for name in candidates if (raw / name / "train").is_dir()), raw)
    protocol = {"train": "official training pictures", "test": "official validation pictures"}
    left_out: list[tuple[str, str]] = []
    solution = next(
        (path for path in (raw / SOLUTION_FILE, root / SOLUTION_FILE) if path.is_file()), None
    )
    is_flat = (root / "val").is_dir() and not _list_names(root / "val", folders=True)
    if is_flat and solution is None:
        raise DataError(
            f"{root / 'val'} has no folders: sort its images into one folder per class, or put "
            f"{SOLUTION_FILE} into {raw}"
        )
    if is_flat and solution is not None:
        classes = _list_classes(root / "train")
        test = _list_with_solution(root, solution, classes, left_out)
    else:
        classes = _list_common_classes(root, "train", "val")
        test = _list_images(root, "val", classes, left_out)
    train = _list_images(root, "train", classes, left_out)
    return FolderListing(
        root, "imagenet", classes, {"train": train, "test": test}, left_out, protocol
    )


def _list_with_solution(
    root: Path, solution: Path, classes: Sequence[str], left_out: list[tuple[str, str]]
) -> LabeledPaths:
    """Return the validation images of a single folder, with their labels from the CSV file ``solution``."""
    with open_lines(solution, TABLE) as lines:
        class_names = {
            row[0]: (row[1].split() or [""])[0] for row in csv.reader(lines) if len(row) == 2
        }
    labels = {name: k for k, name in enumerate(classes)}
    rows: LabeledPaths = []
    for file in _list_names(root / "val", folders=False):
        path = f"val/{file}"
        if not file.lower().endswith(IMAGE_SUFFIXES):
            left_out.append((path, NO_IMAGE_SUFFIX))
            continue
        name = class_names.get(file.rpartition(".")[0])
        if name not in labels:
            got = "no line" if name is None else f"class '{name}', which is not in train,"
            raise DataError(f"{solution} has {got} for {file}")
        rows.append((path, labels[name]))
    missing = set(labels.values()) - {label for _, label in rows}
    if missing:
        raise DataError(f"{root / 'val'} has no image of class '{classes[min(missing)]}'")
    return sorted(rows, key=lambda row: (row[1], row[0]))


def _find_own_folder(raw: Path, title: str, val: bool) -> FolderListing:
    """Find the images of a user's own set."""
    classes = _list_common_classes(raw, "train", "test")
    left_out: list[tuple[str, str]] = []
    protocol = {"train": "the pictures of train", "test": "the pictures of test"}
    parts = {part: _list_images(raw, part, classes, left_out) for part in ("train", "test")}
    if val and (raw / "val").is_dir():
        _list_common_classes(raw, "train", "val")
        parts["val"] = _list_images(raw, "val", classes, left_out)
        protocol["val"] = "the pictures of val"
    name = title or raw.resolve().name
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    stem = stem.lstrip("._-")
    if not val:
        protocol["val"] = NO_VALIDATION
    if not stem:
        raise UsageError(f"'{name}' cannot be the name of a dataset; pass one with --name")
    return FolderListing(raw, stem, classes, parts, left_out, protocol)


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
