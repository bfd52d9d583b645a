"""Sets in the form of MNIST that may take its place: FashionMNIST and KMNIST.

Their publishers and torchvision give the MD5 of the gzipped files; those are checked. Of a file that is not
gzipped there is no digest to check, so that its shape and the number of images of each class are checked.
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
from biascon.utils import types

FILES = tuple(mnist_source.SHA256)  # MNIST's names


@dataclass(frozen=True)
class ShapeSet:
    """A set of 60,000 + 10,000 gray images of 28 x 28 in ten classes, as many of each.

    Attributes:
        kind: What the dataset's name starts with, in which ``mnist`` becomes ``bmnist``.
        title: Its name.
        variable: The environment variable of its folder.
        folder: Of torchvision, under ``data`` or the cache.
        mirror: Where it is downloaded from.
        md5: Of the gzipped files, as torchvision 0.28 lists them.
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
    """Return a set of ``SETS`` from the first place that has it.

    In this order: ``folder``, its environment variable, torchvision's folder (``./data/<name>/raw`` or the
    user's cache), a download (one try of a few seconds).

    Args:
        name: A key of ``SETS``.
        folder: A folder of its IDX files.
        network: Whether to try a download.

    Raises:
        UsageError: An unknown name.
        DataError: It is nowhere, or files are truncated or not of this set.
    """
    if name not in SETS:
        raise UsageError(f"unknown set '{name}' (known: {', '.join(SETS)})")
    known = SETS[name]
    variable = os.environ.get(known.variable)
    if folder is not None:
        return _from_folder(known, folder, "--mnist-dir")
    if variable:
        return _from_folder(known, Path(variable), f"${known.variable}")
    cache = mnist_source.cache_folder().parents[1] / known.folder / "raw"
    for place in (Path("data") / known.folder / "raw", cache):
        if all(_paths(place, file) for file in FILES):
            return _from_folder(known, place, "torchvision's folder")
    reason = mnist_source.fetch_all(cache, known.mirror, known.md5) if network else "no network"
    if reason is not None:
        raise DataError(
            f"there is no {known.title} in data/{known.folder}/raw nor in {cache}, and it cannot be "
            f"downloaded: {reason}; pass --mnist-dir or set {known.variable}"
        )
    return _from_folder(known, cache, "download")


def _paths(folder: Path, name: str) -> list[Path]:
    """Return where a file is, gzipped ones first: their digest is known."""
    there = [path for path in mnist_source.idx_candidates(folder, name) if path.is_file()]
    return sorted(there, key=lambda path: path.suffix != ".gz")


def _from_folder(known: ShapeSet, folder: Path, origin: str) -> Digits:
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder} (expected {known.title}'s four IDX files in it)"
        )
    arrays, sha256, unchecked = {}, {}, False
    for name, expected in known.md5.items():
        paths = _paths(folder, name)
        if not paths:
            raise DataError(
                f"{folder} has no {name}.gz (nor {name}); {known.title} needs its four IDX files"
            )
        path = paths[0]
        found = _md5(path)
        blob = mnist_source.read_idx_file(path)
        arrays[name] = mnist_source.parse_idx(blob, path.name)
        if found is None:
            unchecked = True
        elif found != expected:
            raise DataError(
                f"{path} is not {known.title}'s {name}.gz "
                f"(md5 {found[:12]}..., expected {expected[:12]}...)"
            )
        sha256[name] = hashlib.sha256(blob).hexdigest()
    for part, shape in SHAPES.items():
        _check(known, folder, part, shape, arrays)
    labels = {part: arrays[f"{part}-labels-idx1-ubyte"].astype(np.int64) for part in SHAPES}
    return Digits(
        kind=known.kind,
        origin=f"IDX files of {known.title}, {origin}"
        + (" (not gzipped: without a digest to check)" if unchecked else ""),
        sha256=sha256,
        train_images=arrays["train-images-idx3-ubyte"],
        train_labels=labels["train"],
        test_images=arrays["t10k-images-idx3-ubyte"],
        test_labels=labels["t10k"],
        train_index=np.arange(len(labels["train"])),
        test_index=np.arange(len(labels["t10k"])),
        labels=known.labels,
        title=known.title,
    )


def _md5(path: Path) -> str | None:
    """Return the MD5 of a gzipped file, None of another."""
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if blob[:2] != b"\x1f\x8b":
        return None
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


def _check(
    known: ShapeSet,
    folder: Path,
    part: str,
    shape: tuple[int, ...],
    arrays: Mapping[str, types.Array],
) -> None:
    images, labels = arrays[f"{part}-images-idx3-ubyte"], arrays[f"{part}-labels-idx1-ubyte"]
    if images.shape != shape or labels.shape != shape[:1]:
        raise DataError(
            f"{folder}: the {part} files hold {images.shape} images and {labels.shape} labels, "
            f"but {known.title} has {shape} and {shape[:1]}"
        )
    counts = np.bincount(labels, minlength=10)
    if len(counts) != 10 or (counts != shape[0] // 10).any():
        raise DataError(
            f"{folder}: the {part} labels are not {known.title}'s: expected {shape[0] // 10:,} of each "
            f"class 0..9, but got {counts.tolist()}"
        )
