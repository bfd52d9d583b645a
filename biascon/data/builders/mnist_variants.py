"""FashionMNIST and KMNIST: sets with the file format of MNIST, which can replace it.

The publishers and torchvision give the MD5 of the gzipped files, which is checked. No digest is published for
an uncompressed file, so only its shape and the number of images of each class are checked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import Digits
from biascon.errors import DataError, UsageError
from biascon.utils.reading import IMAGE_DATA, read_bytes
from biascon.utils.types import Array

FILES = tuple(mnist_source.SHA256)  # the same file names as MNIST


@dataclass(frozen=True)
class ShapeSet:
    """A set of 60,000 + 10,000 gray images, 28 x 28, in ten classes of equal size.

    Attributes:
        kind: Prefix of the dataset's name. In the dataset's name, ``mnist`` becomes ``bmnist``.
        title: The name of the set.
        variable: The environment variable with its folder.
        folder: Its folder in torchvision, under ``data`` or the cache.
        mirror: The address of the download, before the file names.
        md5: MD5 of each gzipped file, as torchvision 0.28 lists them.
        labels: The names of its classes.
    """

    kind: str
    title: str
    variable: str
    folder: str
    mirror: str
    md5: Mapping[str, str]
    labels: tuple[str, ...]


SETS = {
    "fashion": ShapeSet(
        kind="fashion-mnist",
        title="FashionMNIST",
        variable="BIASCON_FASHION",
        folder="FashionMNIST",
        mirror="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        md5={
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        labels=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
    ),
    "kmnist": ShapeSet(
        kind="kmnist",
        title="KMNIST",
        variable="BIASCON_KMNIST",
        folder="KMNIST",
        mirror="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        md5={
            "train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
            "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
            "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
            "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134",
        },
        labels=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
}  # fmt: skip
SHAPES = {"train": (60_000, 28, 28), "t10k": (10_000, 28, 28)}


def find_shapes(name: str, folder: Path | None = None, *, network: bool = True) -> Digits:
    """Read a set of ``SETS`` from the first source that has it.

    The order of the sources: ``folder``, the set's environment variable, torchvision's folder
    (``./data/<name>/raw`` or the user's cache), a download (one try of a few seconds).

    Args:
        name: A key of ``SETS``.
        folder: A folder of its IDX files.
        network: Whether to try a download.

    Raises:
        UsageError: The name is unknown.
        DataError: No source has the set, or its files are truncated or are not of this set.
    """
    if name not in SETS:
        raise UsageError(f"unknown set '{name}' (known: {', '.join(SETS)})")
    shape_set = SETS[name]
    variable = os.environ.get(shape_set.variable)
    if folder is not None:
        return _read_folder(shape_set, folder, "--mnist-dir")
    if variable:
        return _read_folder(shape_set, Path(variable), f"${shape_set.variable}")
    cache = mnist_source.get_cache_folder().parents[1] / shape_set.folder / "raw"
    for raw in (Path("data") / shape_set.folder / "raw", cache):
        if all(_list_paths(raw, file) for file in FILES):
            return _read_folder(shape_set, raw, "torchvision's folder")
    reason = (
        mnist_source.fetch_all(cache, shape_set.mirror, shape_set.md5) if network else "no network"
    )
    if reason is not None:
        raise DataError(
            f"there is no {shape_set.title} in data/{shape_set.folder}/raw nor in {cache}, and it cannot be "
            f"downloaded: {reason}; pass --mnist-dir or set {shape_set.variable}"
        )
    return _read_folder(shape_set, cache, "download")


def _list_paths(folder: Path, name: str) -> list[Path]:
    """Return the existing files of this name, gzipped files first, since their digest is known."""
    paths = [path for path in mnist_source.list_idx_paths(folder, name) if path.is_file()]
    return sorted(paths, key=lambda path: path.suffix != ".gz")


def _read_folder(shape_set: ShapeSet, folder: Path, origin: str) -> Digits:
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder} (expected {shape_set.title}'s four IDX files in it)"
        )
    arrays, sha256, all_checked = {}, {}, True
    for name, expected in shape_set.md5.items():
        paths = _list_paths(folder, name)
        if not paths:
            raise DataError(
                f"{folder} has no {name}.gz (nor {name}); {shape_set.title} needs its four IDX files"
            )
        path = paths[0]
        digest = _compute_md5(path)
        blob = mnist_source.read_idx_file(path)
        arrays[name] = mnist_source.parse_idx(blob, path.name)
        if digest is None:
            all_checked = False
        elif digest != expected:
            raise DataError(
                f"{path} is not {shape_set.title}'s {name}.gz "
                f"(md5 {digest[:12]}..., expected {expected[:12]}...)"
            )
        sha256[name] = hashlib.sha256(blob).hexdigest()
    for part, shape in SHAPES.items():
        _check_counts(shape_set, folder, part, shape, arrays)
    labels = {part: arrays[f"{part}-labels-idx1-ubyte"].astype(np.int64) for part in SHAPES}
    return Digits(
        kind=shape_set.kind,
        origin=f"IDX files of {shape_set.title}, {origin}"
        + ("" if all_checked else " (not gzipped: without a digest to check)"),
        sha256=sha256,
        train_images=arrays["train-images-idx3-ubyte"],
        train_labels=labels["train"],
        test_images=arrays["t10k-images-idx3-ubyte"],
        test_labels=labels["t10k"],
        train_index=np.arange(len(labels["train"])),
        test_index=np.arange(len(labels["t10k"])),
        labels=shape_set.labels,
        title=shape_set.title,
    )


def _compute_md5(path: Path) -> str | None:
    """Return the MD5 of a gzipped file, or None if the file is not gzipped."""
    blob = read_bytes(path, IMAGE_DATA)
    if blob[:2] != b"\x1f\x8b":
        return None
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


def _check_counts(
    shape_set: ShapeSet,
    folder: Path,
    part: str,
    shape: tuple[int, ...],
    arrays: Mapping[str, Array],
) -> None:
    """Check the shapes of the images and labels of a part, and the number of images of each class."""
    images, labels = arrays[f"{part}-images-idx3-ubyte"], arrays[f"{part}-labels-idx1-ubyte"]
    if images.shape != shape or labels.shape != shape[:1]:
        raise DataError(
            f"{folder}: the {part} files hold {images.shape} images and {labels.shape} labels, "
            f"but {shape_set.title} has {shape} and {shape[:1]}"
        )
    counts = np.bincount(labels, minlength=10)
    if len(counts) != 10 or (counts != shape[0] // 10).any():
        raise DataError(
            f"{folder}: the {part} labels are not {shape_set.title}'s: expected {shape[0] // 10:,} of each "
            f"class 0..9, but got {counts.tolist()}"
        )
