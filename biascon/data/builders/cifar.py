"""CIFAR-10 and CIFAR-100 from the files of their binary version.

A row of a file is its label (of CIFAR-100: the coarse and the fine label, a byte each) and 3,072 bytes: the
32 x 32 red, then the green, then the blue values. The Python version of the same data is pickled, and what
is pickled can run any code when it is read: it is refused.
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
from biascon.utils.types import Array

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class CifarLayout:
    """The files of a CIFAR.

    Attributes:
        title: Its name.
        folder: Of the binary version.
        pickled: The folder of the Python version.
        train: The files of the training images, in their order.
        test: The file of the test images.
        names: The file of the classes' names, a line each.
        classes: K.
        label_bytes: How many bytes of a row come before the pixels; the last of them is the label.
        official: How many training and test images it has.
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
    """What the files of a CIFAR hold, in their order.

    Attributes:
        names: Of the classes.
        sha256: Of each file, by name.
        train: uint8 ``(N, 3, 32, 32)`` and int64 ``(N,)`` labels.
        test: The same of the test images.
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
    """Build CIFAR-10 or CIFAR-100: the official test images, 10 % of training held out to validate.

    Args:
        name: A key of ``LAYOUTS``.
        raw: The folder of the binary version, or one that has it.
        seed: Decides which training images validate.
        val_protocol: ``held-out`` or ``none``.
        root: The folder of datasets, where it gets its name.
        out: Its folder, instead of one under ``root``.
        force: Replace an existing folder that is another dataset, or damaged.
        say: Called with a line of progress.

    Raises:
        UsageError: An unknown name or protocol.
        DataError: A file is missing, truncated or not of this form.
        BiasconError: An unwritable place, or another dataset in the way.
    """
    if name not in LAYOUTS:
        raise UsageError(f"unknown CIFAR '{name}' (known: {', '.join(LAYOUTS)})")
    check_split_options(val_protocol, seed)
    layout = LAYOUTS[name]
    found = read_cifar(layout, raw)
    whole = tuple(len(part[1]) for part in (found.train, found.test)) == layout.official
    n = f"{len(found.train[1]):,} + {len(found.test[1]):,} images"
    say(f"source: {layout.title}, binary version ({n})")
    if not whole:
        say(
            f"these are not the {layout.official[0]:,} + {layout.official[1]:,} images of "
            f"{layout.title}: the dataset is called {name}-part"
        )
    stem = name if whole else f"{name}-part"
    description = DatasetDescription(
        name=dataset_name(stem, val_protocol, seed),
        builder="standard",
        protocol={
            **describe_splits(
                f"official training files, {len(found.train[1]):,} images", val_protocol
            ),
            "test": f"official test file, {len(found.test[1]):,} images",
        },
        parameters={"name": name, "seed": seed, "val_protocol": val_protocol},
        source={
            "kind": name,
            "origin": f"{layout.title}, binary version",
            "sha256": found.sha256,
        },
        labels=found.names,
        bias=None,
    )
    folder = out if out is not None else root / description.name
    return build_or_reuse(
        folder, description, lambda: _splits(found, seed, val_protocol), force=force
    )


def _splits(found: CifarImages, seed: int, val_protocol: str) -> dict[str, Split]:
    images, labels = found.train
    held = hold_out(labels, len(found.names), seed, val_protocol)
    splits = {"train": _split(images, labels, np.flatnonzero(~held))}
    if held.any():
        splits["val"] = _split(images, labels, np.flatnonzero(held))
    splits["test"] = _split(*found.test, np.arange(len(found.test[1])))
    return splits


def _split(images: Array, labels: Array, rows: Array) -> Split:
    zero = np.zeros(len(rows), dtype=np.int64)
    return Split(images[rows], labels[rows], zero, zero > 0, rows)


def read_cifar(layout: CifarLayout, raw: Path) -> CifarImages:
    """Read the files of a CIFAR's binary version.

    Raises:
        DataError: A file is missing, truncated or not of this form, or this is the Python version.
    """
    folder = _find(layout, raw)
    sha256: dict[str, str] = {}

    def blob(name: str) -> bytes:
        try:
            found = (folder / name).read_bytes()
        except FileNotFoundError as error:
            raise DataError(
                f"{folder} has no {name}; unpack {layout.title}'s binary version again"
            ) from error
        except OSError as error:
            raise DataError(f"cannot read {folder / name}: {error.strerror or error}") from error
        sha256[name] = hashlib.sha256(found).hexdigest()
        return found

    names = _names(layout, folder / layout.names, blob(layout.names))
    parts = [_rows(layout, folder / name, blob(name)) for name in layout.train]
    train = tuple(np.concatenate([part[k] for part in parts]) for k in (0, 1))
    test = _rows(layout, folder / layout.test, blob(layout.test))
    for what, labels in (("training", train[1]), ("test", test[1])):
        counts = np.bincount(labels, minlength=layout.classes)
        if (counts == 0).any():
            missing = names[int(np.flatnonzero(counts == 0)[0])]
            raise DataError(f"{folder}: the {what} files have no image of class '{missing}'")
    return CifarImages(names, sha256, (train[0], train[1]), test)


def _find(layout: CifarLayout, raw: Path) -> Path:
    for folder in (raw, raw / layout.folder):
        if any((folder / name).exists() for name in (*layout.train, layout.test)):
            return folder
    pickled = [raw, raw / layout.pickled]
    stems = [name.removesuffix(".bin") for name in (*layout.train, layout.test)]
    if any((folder / stem).is_file() for folder in pickled for stem in stems):
        raise DataError(
            f"{raw} holds the Python version of {layout.title}, which is pickled and is not read; "
            f"get the binary version (the folder {layout.folder})"
        )
    raise DataError(
        f"{raw} has no {layout.folder} nor its files (expected {layout.train[0]}, ..., {layout.test}); "
        f"unpack {layout.title}'s binary version there"
    )


def _names(layout: CifarLayout, path: Path, blob: bytes) -> list[str]:
    try:
        names = [line.strip() for line in blob.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a list of names") from error
    if len(names) != layout.classes or len(set(names)) != len(names):
        raise DataError(
            f"{path}: expected {layout.classes} different names, a line each, but got {len(names)}"
        )
    return names


def _rows(layout: CifarLayout, path: Path, blob: bytes) -> tuple[Array, Array]:
    """Return images uint8 ``(N, 3, 32, 32)`` and labels int64 ``(N,)`` of a file."""
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


def _check_labels(path: Path, labels: Sequence[int] | Array, classes: int, what: str) -> None:
    wrong = np.flatnonzero(np.asarray(labels) >= classes)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{path}: expected a {what} of 0..{classes - 1}, but row {row:,} has {labels[row]}"
        )
