"""CIFAR-10 and CIFAR-100 from the files of their binary version.

A row of a CIFAR-10 file is one byte with the label, and 3,072 bytes with the 32 x 32 red, green and blue
values. A row of a CIFAR-100 file has two label bytes, the coarse and the fine label. The Python version of
the data is refused: it is pickled, and a pickle can run any code when it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.data.building.arrays import BuildResult, build_or_reuse
from biascon.data.building.splitting import (
    check_split_options,
    dataset_name,
    describe_splits,
    hold_out,
)
from biascon.data.dataset import Split
from biascon.data.manifest import DatasetDescription
from biascon.errors import DataError, UsageError
from biascon.utils.reading import IMAGE_DATA, read_bytes
from biascon.utils.types import Array

PIXELS = 3 * 32 * 32
_FOLDER_COMMAND = "'biascon make-standard folder RAW --native'"


@dataclass(frozen=True)
class CifarLayout:
    """The files of a CIFAR.

    Attributes:
        title: The name of the dataset.
        folder: The folder of the binary version.
        pickled: The folder of the Python version.
        train: The files of the training images, in their order.
        test: The file of the test images.
        names: The file with the names of the classes, one per line.
        classes: K.
        label_bytes: The number of bytes before the pixels of a row. The last of them is the label.
        official: The number of training and test images.
    """

    title: str
    folder: str
    pickled: str
    train: tuple[str, ...]
    test: str
    names: str
    classes: int
    label_bytes: int
    official: tuple[int, int] = (50_000, 10_000)


LAYOUTS = {
    "cifar10": CifarLayout(
        title="CIFAR-10",
        folder="cifar-10-batches-bin",
        pickled="cifar-10-batches-py",
        train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        test="test_batch.bin",
        names="batches.meta.txt",
        classes=10,
        label_bytes=1,
    ),
    "cifar100": CifarLayout(
        title="CIFAR-100",
        folder="cifar-100-binary",
        pickled="cifar-100-python",
        train=("train.bin",),
        test="test.bin",
        names="fine_label_names.txt",
        classes=100,
        label_bytes=2,
    ),
}


@dataclass(frozen=True)
class CifarImages:
    """The content of the files of a CIFAR, in the order of the files.

    Attributes:
        names: The names of the K classes.
        sha256: SHA-256 of each file, by file name.
        train: The training images, uint8 ``(N, 3, 32, 32)``, and their labels, int64 ``(N,)``.
        test: The test images and their labels, of the same form.
    """

    names: list[str]
    sha256: dict[str, str]
    train: tuple[Array, Array]
    test: tuple[Array, Array]


def make_cifar(
    name: str,
    raw: Path,
    *,
    seed: int = 0,
    val_protocol: str = "held-out",
    root: Path = Path("data"),
    out: Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> BuildResult:
    """Build CIFAR-10 or CIFAR-100, with the official test images and 10 % of the training images held out.

    Args:
        name: A key of ``LAYOUTS``.
        raw: The folder of the binary version, or the folder that contains it.
        seed: Seed of the choice of the validation images.
        val_protocol: ``held-out``, or ``none`` for no validation split.
        root: The folder of datasets. The dataset folder in it has the dataset's name.
        out: The dataset folder, instead of one in ``root``.
        force: Replace an existing folder that holds another dataset, or is damaged.
        say: Called with lines of text for the user.

    Raises:
        UsageError: The name or the protocol is unknown.
        DataError: A file is missing, truncated or not of this form.
        BiasconError: The folder is not writable, or it holds another dataset.
    """
    if name not in LAYOUTS:
        raise UsageError(f"unknown CIFAR '{name}' (known: {', '.join(LAYOUTS)})")
    check_split_options(val_protocol, seed)
    layout = LAYOUTS[name]
    images = read_cifar(layout, raw)
    n_train, n_test = len(images.train[1]), len(images.test[1])
    is_complete = (n_train, n_test) == layout.official
    say(f"source: {layout.title}, binary version ({n_train:,} + {n_test:,} images)")
    if not is_complete:
        say(
            f"these are not the {layout.official[0]:,} + {layout.official[1]:,} images of "
            f"{layout.title}: the dataset is called {name}-part"
        )
    stem = name if is_complete else f"{name}-part"
    train_text = f"official training files, {n_train:,} images"
    description = DatasetDescription(
        name=dataset_name(stem, val_protocol, seed),
        builder="standard",
        protocol={
            **describe_splits(train_text, val_protocol),
            "test": f"official test file, {n_test:,} images",
        },
        parameters={"name": name, "seed": seed, "val_protocol": val_protocol},
        source={
            "kind": name,
            "origin": f"{layout.title}, binary version",
            "sha256": images.sha256,
        },
        labels=images.names,
        bias=None,
    )
    folder = out if out is not None else root / description.name
    return build_or_reuse(
        folder, description, lambda: _build_splits(images, seed, val_protocol), force=force
    )


def _build_splits(cifar: CifarImages, seed: int, val_protocol: str) -> dict[str, Split]:
    images, labels = cifar.train
    is_val = hold_out(labels, len(cifar.names), seed, val_protocol)
    splits = {"train": _build_split(images, labels, np.flatnonzero(~is_val))}
    if is_val.any():
        splits["val"] = _build_split(images, labels, np.flatnonzero(is_val))
    splits["test"] = _build_split(*cifar.test, np.arange(len(cifar.test[1])))
    return splits


def _build_split(images: Array, labels: Array, rows: Array) -> Split:
    zero = np.zeros(len(rows), dtype=np.int64)
    return Split(images[rows], labels[rows], zero, zero > 0, rows)


def read_cifar(layout: CifarLayout, raw: Path) -> CifarImages:
    """Read the files of the binary version of a CIFAR.

    Args:
        layout: The files of the dataset.
        raw: The folder of the files, or the folder that contains it.

    Raises:
        DataError: A file is missing, truncated or not of this form, or the folder holds the Python version.
    """
    folder = _find_folder(layout, raw)
    sha256: dict[str, str] = {}

    def read(name: str) -> bytes:
        if not (folder / name).exists():
            raise DataError(f"{folder} has no {name}; unpack {layout.title}'s binary version again")
        blob = read_bytes(folder / name, IMAGE_DATA)
        sha256[name] = hashlib.sha256(blob).hexdigest()
        return blob

    names = _parse_names(layout, folder / layout.names, read(layout.names))
    parts = [_parse_rows(layout, folder / name, read(name)) for name in layout.train]
    train = tuple(np.concatenate([part[k] for part in parts]) for k in (0, 1))
    test = _parse_rows(layout, folder / layout.test, read(layout.test))
    for split, labels in (("training", train[1]), ("test", test[1])):
        counts = np.bincount(labels, minlength=layout.classes)
        if (counts == 0).any():
            missing = names[int(np.flatnonzero(counts == 0)[0])]
            raise DataError(f"{folder}: the {split} files have no image of class '{missing}'")
    return CifarImages(names, sha256, (train[0], train[1]), test)


def _find_folder(layout: CifarLayout, raw: Path) -> Path:
    for folder in (raw, raw / layout.folder):
        if any((folder / name).exists() for name in (*layout.train, layout.test)):
            return folder
    pickled = [raw, raw / layout.pickled]
    stems = [name.removesuffix(".bin") for name in (*layout.train, layout.test)]
    if any((folder / stem).is_file() for folder in pickled for stem in stems):
        raise DataError(
            f"{raw} holds the Python version of {layout.title}, which is pickled and is not read; "
            f"get the binary version (the folder {layout.folder}), or class folders of PNG files, "
            f"which {_FOLDER_COMMAND} reads"
        )
    if (raw / "train").is_dir() and (raw / "test").is_dir():
        raise DataError(
            f"{raw} holds class folders, not the binary version of {layout.title}; build them with "
            f"{_FOLDER_COMMAND.replace('RAW', str(raw))}"
        )
    raise DataError(
        f"{raw} has neither the folder {layout.folder} nor its files (expected {layout.train[0]}, ..., "
        f"{layout.test}); unpack the binary version of {layout.title} there"
    )


def _parse_names(layout: CifarLayout, path: Path, blob: bytes) -> list[str]:
    try:
        names = [line.strip() for line in blob.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a list of names") from error
    if len(names) != layout.classes or len(set(names)) != len(names):
        raise DataError(
            f"{path}: expected {layout.classes} different names, one per line, but got {len(names)}"
        )
    return names


def _parse_rows(layout: CifarLayout, path: Path, blob: bytes) -> tuple[Array, Array]:
    """Return the images, uint8 ``(N, 3, 32, 32)``, and the labels, int64 ``(N,)``, in a file."""
    size = layout.label_bytes + PIXELS
    if not blob or len(blob) % size:
        raise DataError(
            f"{path} is truncated: {len(blob):,} bytes are not a whole number of rows of {size:,}"
        )
    rows = np.frombuffer(blob, dtype=np.uint8).reshape(-1, size)
    labels = rows[:, layout.label_bytes - 1].astype(np.int64)
    if layout.label_bytes == 2:
        _check_labels(path, rows[:, 0], 20, "coarse label")
    _check_labels(path, labels, layout.classes, "label")
    return rows[:, layout.label_bytes :].reshape(-1, 3, 32, 32), labels


def _check_labels(path: Path, labels: Sequence[int] | Array, classes: int, noun: str) -> None:
    too_large = np.flatnonzero(np.asarray(labels) >= classes)
    if len(too_large):
        row = int(too_large[0])
        raise DataError(
            f"{path}: expected a {noun} in 0..{classes - 1}, but row {row:,} has {labels[row]}"
        )
