"""Hugging Face datasets on disk, and their images by split and row, for ``biascon.data.building.images``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biascon.data.images import decoding
from biascon.data.images.decoding import ImageFile, ImageFolder, UnusableImageError
from biascon.errors import DataError
from biascon.utils.packages import missing_packages

NO_IMAGE = "no image"
_ROWS = 256  # rows that are read at a time


def import_datasets() -> Any:
    """Import and return the package ``datasets`` of Hugging Face.

    Raises:
        MissingPackageError: It is not installed. A folder ``datasets`` beside a script is not the package.
    """
    try:
        module = importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise missing_packages(["datasets"], "a Hugging Face dataset") from error
    if not hasattr(module, "DatasetDict"):
        raise missing_packages(["datasets"], "a Hugging Face dataset")
    return module


class HuggingFaceImages(ImageFolder):
    """The encoded images of the splits of a Hugging Face dataset. A name is ``<split>/<row>``.

    Every image is read once when the object is made. Its stamp is its size and SHA-256, so a build is resumed
    or reused only for the same bytes. If the dataset holds a path instead of bytes, the file is read below
    ``root``.

    Args:
        splits: The ``datasets.Dataset`` of each split.
        column: The column of images.
        root: The folder of the image files, or None. No file outside it is read.

    Raises:
        DataError: The column holds no images, or paths of files and ``root`` is None.
    """

    def __init__(self, splits: Mapping[str, Any], column: str, root: Path | None) -> None:
        datasets = import_datasets()
        self.raw, self.column = "a Hugging Face dataset", column
        self.root = None if root is None else ImageFolder(root)
        if root is not None and not root.is_dir():
            raise DataError(f"{root} is not a folder of images")
        self.splits = {}
        for name, rows in splits.items():
            if not isinstance(rows.features[column], datasets.Image):
                raise DataError(
                    f"column '{column}' holds {type(rows.features[column]).__name__}, not images; convert it "
                    f"with: dataset.cast_column('{column}', datasets.Image())"
                )
            plain = rows.with_format(None).select_columns([column])
            self.splits[name] = plain.cast_column(column, datasets.Image(decode=False))
        self._entries = {
            f"{name}/{row}": entry
            for name, rows in self.splits.items()
            for row, entry in enumerate(self._scan(name, rows))
        }

    def _scan(self, name: str, rows: Any) -> list[ImageFile | str]:
        """Return the size and the SHA-256 of each image of a split, or the reason why it cannot be used."""
        entries: list[ImageFile | str] = []
        for start in range(0, len(rows), _ROWS):
            for row, cell in enumerate(rows[start : start + _ROWS][self.column], start):
                try:
                    data = self._read_cell(cell)
                    stamp = f"{len(data)}:{decoding.sha256_bytes(data)}"
                    entries.append(ImageFile(f"{name}/{row}", len(data), stamp))
                except UnusableImageError as error:
                    entries.append(str(error))
        return entries

    def _read_cell(self, cell: Mapping[str, Any] | None) -> bytes:
        """Return the bytes of an image, which the dataset or a file below ``root`` holds."""
        if cell is None or (cell["bytes"] is None and not cell["path"]):
            raise UnusableImageError(NO_IMAGE)
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        if self.root is None:
            raise DataError(
                f"column '{self.column}' holds paths of image files, not their bytes (the first is "
                f"{str(cell['path'])[:100]!r}); pass root=FOLDER, the folder of these files"
            )
        path = os.path.realpath(os.path.dirname(cell["path"]))  # noqa: PTH120
        path = os.path.join(path, os.path.basename(cell["path"]))  # noqa: PTH118, PTH119
        if not Path(path).is_relative_to(self.root.raw):
            raise UnusableImageError(decoding.OUTSIDE)
        relative = Path(path).relative_to(self.root.raw).as_posix()
        return self.root.read(self.root.find(relative))

    def has_image(self, name: str) -> bool:
        """Whether a row has an image; if not, its value is missing."""
        return self._entries[name] != NO_IMAGE

    def find(self, relative: str) -> ImageFile:
        """Find an image by its name.

        Raises:
            UnusableImageError: It cannot be read.
        """
        entry = self._entries[relative]
        if isinstance(entry, str):
            raise UnusableImageError(entry)
        return entry

    def read(self, file: ImageFile) -> bytes:
        """Return the bytes of an image.

        Raises:
            UnusableImageError: It is empty, too large, or has changed since it was found.
        """
        if file.size == 0:
            raise UnusableImageError(decoding.EMPTY)
        if file.size > decoding.MAX_BYTES:
            raise UnusableImageError(decoding.TOO_LARGE)
        name, _, row = file.path.rpartition("/")
        return self._read_cell(self.splits[name][int(row)][self.column])


def load_folder(folder: Path) -> Any:
    """Load the Hugging Face dataset in a folder, without a network.

    The folder is one of ``save_to_disk``, or one that ``datasets.load_dataset`` reads, such as Parquet files.

    Raises:
        DataError: The folder does not exist, or is no such dataset.
        MissingPackageError: The package ``datasets`` is not installed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; download a dataset with: hf download")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(name, "1")
    datasets = import_datasets()
    datasets.disable_progress_bars()
    is_saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        return (datasets.load_from_disk if is_saved else datasets.load_dataset)(str(folder))
    except Exception as error:  # the readers fail in many ways
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"cannot read {folder} as a Hugging Face dataset: {reason}") from error
