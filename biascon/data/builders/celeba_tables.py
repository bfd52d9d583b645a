"""The lists of CelebA and the images that they name."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.data.builders.celeba_lists import read_attributes, read_partition
from biascon.data.images.file_names import is_image_name
from biascon.errors import DataError
from biascon.utils.files import os_error
from biascon.utils.text import count_of, quote_some
from biascon.utils.types import Array

# The aligned and cropped images, in the order of preference.
IMAGE_FOLDERS = (
    "img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba",
    "img_align_celeba_png/img_align_celeba_png", "img_align_celeba_png", "Img/img_align_celeba_png",
)  # fmt: skip
MAX_UNLISTED = 0.1  # share of the images in the folder
_IN_THE_WILD = "img_celeba"
_PACKED = (".zip", ".csv.zip", ".txt.zip", ".gz", ".csv.gz", ".txt.gz", ".7z")


@dataclass(frozen=True)
class CelebATables:
    """The lists of CelebA, and the place of its images.

    Attributes:
        raw: The folder that paths are relative to.
        image_folder: The folder of the aligned images, relative to ``raw``.
        names: The file names in the lists, sorted.
        files: The file of each name in ``image_folder``. Its suffix may differ from that of the name.
        is_present: bool ``(N,)``: whether the folder has the file.
        n_unlisted: Number of images in the folder that the lists do not name.
        table: bool ``(N, A)``: the values of the attributes.
        attributes: The names of the A attributes.
        partition: int64 ``(N,)``: 0 train, 1 validation, 2 test.
    """

    raw: Path
    image_folder: str
    names: Sequence[str]
    files: Sequence[str]
    is_present: Array
    n_unlisted: int
    table: Array
    attributes: Sequence[str]
    partition: Array

    @property
    def edition(self) -> str:
        """The part of a dataset's name for the folder of images; "" for ``img_align_celeba``.

        ``img_align_celeba_png`` gives ``png``, and any other folder its own name.
        """
        name = self._folder_name.removeprefix("img_align_celeba")
        return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-._")

    @property
    def origin(self) -> str:
        """The manifest text of the source. It names the folder, unless that is ``img_align_celeba``."""
        text = "CelebA"
        if self._folder_name.startswith("img_align_celeba"):
            text += ", aligned and cropped"
        if self._folder_name != "img_align_celeba":
            text += f", the images of {self.image_folder}"
        return text

    @property
    def _folder_name(self) -> str:
        return self.image_folder.rpartition("/")[2]


def read_celeba_tables(raw: Path, images: str | None = None) -> CelebATables:
    """Read the attributes and the partition, and find the images that they name.

    Args:
        raw: The folder of CelebA, or a folder that holds it as ``celeba``.
        images: The folder of the images, relative to ``raw``; None for the first of ``IMAGE_FOLDERS``.

    Raises:
        DataError: A file is missing or malformed, or the lists do not name the same images.
    """
    raw = _find_root(raw)
    image_folder = _find_image_folder(raw, images)
    attribute_path = _find_list(raw, "list_attr_celeba", "Anno")
    listed = read_attributes(attribute_path)
    partition_path = _find_list(raw, "list_eval_partition", "Eval")
    partition = _match_names(
        listed.values, read_partition(partition_path), (attribute_path, partition_path)
    )
    names = sorted(listed.values)
    in_folder = _list_images(raw / image_folder)
    files, is_present = _match_files(names, in_folder)
    table = b"".join(listed.values[name] for name in names)
    return CelebATables(
        raw,
        image_folder,
        names,
        files,
        is_present,
        len(in_folder.difference(files)),
        np.frombuffer(table, dtype=np.bool_).reshape(-1, len(listed.attributes)),
        listed.attributes,
        np.array([partition[name] for name in names], dtype=np.int64),
    )


def check_images(source: CelebATables, max_missing: float) -> None:
    """Check that the lists and the folder are those of one set.

    Args:
        source: The lists and the images.
        max_missing: The largest share of listed images that the folder may lack.

    Raises:
        DataError: More are missing, or more than ``MAX_UNLISTED`` of the images are not in the lists.
    """
    folder, n_listed = source.raw / source.image_folder, len(source.names)
    n_missing = n_listed - int(source.is_present.sum())
    n_images = n_listed - n_missing + source.n_unlisted
    if n_missing <= max_missing * n_listed and source.n_unlisted <= MAX_UNLISTED * n_images:
        return
    counts = f"the lists name {count_of(n_listed, 'image')}, {folder} has {n_images:,}"
    if n_missing == n_listed:
        raise DataError(
            f"{counts}, and none of these is in the lists (the first of the lists is '{source.names[0]}'): "
            "the lists are those of another set, or the folder is not unpacked"
        )
    raise DataError(
        f"{counts}: {n_missing:,} of the lists are missing, {source.n_unlisted:,} are not in the lists; get "
        "the lists and the images of one set, or pass --subset to use the images that both have"
    )


def _match_names(
    values: Mapping[str, bytes], partition: Mapping[str, int], paths: tuple[Path, Path]
) -> dict[str, int]:
    """Return the partition by the names in the list of attributes. Suffixes may differ.

    Raises:
        DataError: The two lists do not name the same images.
    """
    if partition.keys() == values.keys():
        return dict(partition)
    by_stem = {os.path.splitext(name)[0]: part for name, part in partition.items()}  # noqa: PTH122
    stems = {name: os.path.splitext(name)[0] for name in values}  # noqa: PTH122
    if len(by_stem) == len(partition) and by_stem.keys() == set(stems.values()):
        return {name: by_stem[stem] for name, stem in stems.items()}
    only = sorted(values.keys() ^ partition.keys())
    is_first = only[0] in values
    raise DataError(
        f"{paths[0]} and {paths[1]} do not name the same images ({len(values):,} and {len(partition):,}): "
        f"{count_of(len(only), 'image')} in one of them only, first '{only[0]}' in "
        f"{(paths if is_first else paths[::-1])[0].name}; one list is cut off, or is that of another set"
    )


def _match_files(names: Sequence[str], in_folder: Collection[str]) -> tuple[list[str], Array]:
    """Return the file of each listed name, and bool ``(N,)``: whether the folder has it.

    A name without a file of that name stands for the file with another suffix, as in the PNG edition.

    Raises:
        DataError: Two names stand for one file.
    """
    by_stem = {os.path.splitext(name)[0]: name for name in sorted(in_folder)}  # noqa: PTH122
    files, is_present = [], np.zeros(len(names), dtype=bool)
    for row, name in enumerate(names):
        file = name if name in in_folder else by_stem.get(os.path.splitext(name)[0])  # noqa: PTH122
        is_present[row] = file is not None or "/" in name  # the build decides about other folders
        files.append(name if file is None else file)
    repeated = [file for file, n in Counter(files).items() if n > 1]
    if repeated:
        raise DataError(
            f"the lists name {quote_some(repeated, 3)} more than once, with different suffixes"
        )
    return files, is_present


def _find_root(raw: Path) -> Path:
    """Return the folder of CelebA: RAW, or its subfolder ``celeba``."""
    for folder in (raw, raw / "celeba", raw / "CelebA"):
        if any((folder / name).is_dir() for name in IMAGE_FOLDERS):
            return folder
    return raw


def _find_image_folder(raw: Path, images: str | None) -> str:
    """Return the folder of the images relative to RAW."""
    if images is not None:
        folder = Path(images)
        if folder.is_absolute() or ".." in folder.parts:
            raise DataError(f"expected --images to be a folder in {raw}, but got {images}")
        if not (raw / folder).is_dir():
            raise DataError(f"{raw} has no folder {images}")
        if _IN_THE_WILD in folder.parts:
            raise _in_the_wild(raw)
        return folder.as_posix()
    for name in IMAGE_FOLDERS:
        if (raw / name).is_dir():
            return name
    if any((raw / parent / _IN_THE_WILD).is_dir() for parent in (".", "Img")):
        raise _in_the_wild(raw)
    raise DataError(
        f"{raw} is not a folder of CelebA: it has no img_align_celeba{_name_packed(raw, 'img_align_celeba')}"
    )


def _in_the_wild(raw: Path) -> DataError:
    """Return the error for the images whose faces are not cropped."""
    return DataError(
        f"{raw} has the images of CelebA in the wild ({_IN_THE_WILD}), whose faces are not cropped; get "
        "img_align_celeba"
    )


def _find_list(raw: Path, stem: str, folder: str) -> Path:
    for parent in (raw, raw / folder):
        for suffix in (".txt", ".csv"):
            path = parent / f"{stem}{suffix}"
            if path.is_file():
                return path
            if (
                path / path.name
            ).is_file():  # a CSV file that was unpacked into a folder of its name
                return path / path.name
    packed = _name_packed(raw, stem) or _name_packed(raw / folder, stem)
    raise DataError(f"{raw} is not a folder of CelebA: it has no {stem}.txt (or .csv){packed}")


def _name_packed(folder: Path, stem: str) -> str:
    """Return the advice to unpack a file, or "" if there is no packed file."""
    for suffix in _PACKED:
        if (folder / f"{stem}{suffix}").is_file():
            return f"; unpack {stem}{suffix}"
    return ""


def _list_images(folder: Path) -> set[str]:
    """Return the names of the images in a folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if is_image_name(entry.name)}
    except OSError as error:
        raise os_error(error, "read", folder) from error
