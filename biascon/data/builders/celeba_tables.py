"""Read the attributes and the partition of CelebA, from the official text files or their CSV form."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.errors import DataError
from biascon.utils.types import Array


@dataclass(frozen=True)
class CelebATables:
    """The lists of CelebA, and the place of its images.

    Attributes:
        raw: The folder that paths are relative to.
        image_folder: The folder of the aligned images, relative to ``raw``.
        names: The file names, sorted.
        table: bool ``(N, A)``: the values of the attributes.
        attributes: The names of the A attributes.
        partition: int64 ``(N,)``: 0 train, 1 validation, 2 test.
    """

    raw: Path
    image_folder: str
    names: Sequence[str]
    table: Array
    attributes: Sequence[str]
    partition: Array


def read_celeba_tables(raw: Path) -> CelebATables:
    """Read the attributes and the partition, from the official text files or their CSV form.

    Raises:
        DataError: A file is missing or malformed. The message names the line.
    """
    image_folder = _find_image_folder(raw)
    attribute_path = _find_file(raw, "list_attr_celeba", "Anno")
    attributes, values = _read_attributes(attribute_path)
    partition_path = _find_file(raw, "list_eval_partition", "Eval")
    partition = _read_partition(partition_path)
    if set(partition) != set(values):
        raise DataError(
            f"{attribute_path} and {partition_path} do not name the same images "
            f"({len(values):,} and {len(partition):,})"
        )
    names = sorted(values)
    return CelebATables(
        raw,
        image_folder.relative_to(raw).as_posix(),
        names,
        np.array([values[name] for name in names], dtype=bool).reshape(-1, len(attributes)),
        attributes,
        np.array([partition[name] for name in names], dtype=np.int64),
    )


def _find_image_folder(raw: Path) -> Path:
    for parts in (
        ("img_align_celeba", "img_align_celeba"),
        ("img_align_celeba",),
        ("Img", "img_align_celeba"),
    ):
        if raw.joinpath(*parts).is_dir():
            return raw.joinpath(*parts)
    raise DataError(f"{raw} is not a folder of CelebA: it has no img_align_celeba")


def _read_attributes(path: Path) -> tuple[list[str], dict[str, list[bool]]]:
    """Read the names of the attributes, and their values by file name."""
    rows = _iter_rows(path)
    count = None if path.suffix == ".csv" else next(rows, (0, []))[1]
    _, header = next(rows, (0, []))
    attributes = header[1:]
    if not attributes or len(set(attributes)) != len(attributes):
        raise DataError(f"{path}: expected a line with the names of the attributes")
    values: dict[str, list[bool]] = {}
    texts: set[str] = set()
    for number, row in rows:
        if len(row) != len(attributes) + 1 or not set(row[1:]) <= {"-1", "0", "1"}:
            raise DataError(
                f"{path}, line {number}: expected a file name and {len(attributes)} values of -1 or 1"
            )
        if row[0] in values:
            raise DataError(f"{path}, line {number}: '{row[0]}' is listed twice")
        values[row[0]] = [value == "1" for value in row[1:]]
        texts.update(row[1:])
    if count is not None and count != [str(len(values))]:
        raise DataError(
            f"{path}, line 1: expected the number of images, {len(values)}, but got '{' '.join(count)}'"
        )
    if {"-1", "0"} <= texts:
        raise DataError(f"{path}: expected values of -1 and 1, or of 0 and 1, but got all three")
    return attributes, values


def _read_partition(path: Path) -> dict[str, int]:
    """Read the partition (0 train, 1 validation, 2 test) by file name."""
    partition: dict[str, int] = {}
    for number, row in _iter_rows(path, header=False):
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            raise DataError(f"{path}, line {number}: expected a file name and 0, 1 or 2")
        if row[0] in partition:
            raise DataError(f"{path}, line {number}: '{row[0]}' is listed twice")
        partition[row[0]] = int(row[1])
    return partition


def _find_file(raw: Path, stem: str, folder: str) -> Path:
    for parent in (raw, raw / folder):
        for suffix in (".txt", ".csv"):
            if (parent / f"{stem}{suffix}").is_file():
                return parent / f"{stem}{suffix}"
    raise DataError(f"{raw} is not a folder of CelebA: it has no {stem}.txt (or .csv)")


def _iter_rows(path: Path, *, header: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of a file in text or CSV form.

    With ``header``, the header is a row with an arbitrary first cell. In a text file, its first line (the
    number of images) comes before the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                for number, row in enumerate(csv.reader(file, strict=True), 1):
                    if row and (header or number > 1):
                        yield number, row
                return
            for number, line in enumerate(file, 1):
                cells = line.split()
                if header and number == 2:
                    yield number, ["", *cells]
                elif cells or (header and number == 1):
                    yield number, cells
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: it is not text of the expected form") from error
