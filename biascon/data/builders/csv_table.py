"""Read a CSV file of image files, labels and bias attributes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath

import numpy as np

from biascon.data.alignment import AlignedValues
from biascon.data.images.decoding import ImageSpec
from biascon.data.values import check_keep_words, normalize_value
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.files import sha256_file
from biascon.utils.text import join_first, quote_some
from biascon.utils.types import Array

NO_FILE, NO_LABEL, NO_SPLIT = "no file name", "no label", "no split"


@dataclass(frozen=True)
class TableSpec:
    """How a table becomes a dataset.

    Attributes:
        image: The column of files, as paths relative to the folder of images.
        label: The column of labels.
        bias: The bias columns. The first is the bias attribute of the dataset.
        split: The column of split names (train, val or test); None for a seeded split.
        aligned: The bias-aligned values of each label, as for ``audit``. With None, label = bias is aligned
            if both columns have the same names (``data.alignment.are_codes``).
        name: The first part of the dataset's name.
        seed: Seed of the seeded split.
        val_protocol: Validation protocol of the seeded split: ``held-out`` (10 % of the training images),
            ``hong`` (these images also stay in training, a leak) or ``none``.
        image_spec: How an image becomes an array.
        keep_words: Words for missing values that are values in this table; see ``normalize_value``.
    """

    image: str
    label: str
    bias: tuple[str, ...]
    split: str | None = None
    aligned: AlignedValues | None = None
    name: str = "table"
    seed: int = 0
    val_protocol: str = "held-out"
    image_spec: ImageSpec = field(default_factory=lambda: ImageSpec(64))
    keep_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_keep_words(self.keep_words)
        if not self.bias:
            raise UsageError("expected one or more bias columns, but got none")
        columns = [self.image, self.label, *self.bias, *([self.split] if self.split else [])]
        repeated = [name for name, n in Counter(columns).items() if n > 1]
        if repeated:
            raise UsageError(
                f"expected each column in one role, but got {quote_some(repeated)} more than once"
            )
        with_comma = [name for name in self.bias if "," in name]
        if with_comma:
            raise UsageError(
                f"expected bias columns without a comma, but got {quote_some(with_comma)}"
            )

    def full_name(self) -> str:
        """Return the dataset's name: the table's name, and the settings that differ from the defaults."""
        parts = [self.name, *self.image_spec.name_suffixes()]
        if self.split is None:
            parts += [self.val_protocol] if self.val_protocol != "held-out" else []
            parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


@dataclass(frozen=True)
class CsvTable:
    """The complete rows of a CSV file, in the order of their image files.

    Attributes:
        files: Relative paths of the images, sorted.
        columns: Text values by column: label, bias columns, and the split column if there is one.
        index: int64 ``(N,)``: the row in the CSV file, from 0.
        left_out: (file or row, reason) of the other rows.
        sha256: Digest of the CSV file.
    """

    files: Sequence[str]
    columns: Mapping[str, Sequence[str]]
    index: Array
    left_out: Sequence[tuple[str, str]]
    sha256: str


def read_csv_table(path: Path, spec: TableSpec) -> CsvTable:
    """Read the columns of a CSV file that a spec names; leave out rows that lack one of their values.

    Raises:
        DataError: The file is unreadable or no CSV with a header, a row has another number of values, or
            an image is listed twice.
        UsageError: A column does not exist.
    """
    columns = [spec.label, *spec.bias, *([spec.split] if spec.split else [])]
    rows, left_out = _read_rows(path, spec, columns)
    rows.sort()
    files = [name for name, _, _ in rows]
    counts = Counter(map(normpath, files))  # a/b.jpg and ./a//b.jpg are one image
    repeated = [name for name, n in counts.items() if n > 1]
    if repeated:
        raise DataError(
            f"{path}: expected each image once, but got {quote_some(repeated, 3)} more than once"
        )
    if not rows:
        raise DataError(f"{path}: no row has a file, a label and a bias value")
    texts = {name: [values[k] for _, _, values in rows] for k, name in enumerate(columns)}
    index = np.array([number for _, number, _ in rows], dtype=np.int64)
    return CsvTable(files, texts, index, left_out, sha256_file(path))


def _read_rows(
    path: Path, spec: TableSpec, columns: Sequence[str]
) -> tuple[list[tuple[str, int, list[str]]], list[tuple[str, str]]]:
    """Return (file, row number, values) of the complete rows, and (file or row, reason) of the others."""
    reasons = {spec.label: NO_LABEL, **{name: f"no {name}" for name in spec.bias}}
    reasons |= {spec.split: NO_SPLIT} if spec.split else {}
    complete: list[tuple[str, int, list[str]]] = []
    left_out: list[tuple[str, str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            position = _locate_columns(path, header, [spec.image, *columns])
            for number, row in enumerate(reader):
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: expected {len(header)} values, but got {len(row)}"
                    )
                name = row[position[spec.image]].strip()
                texts = [row[position[column]] for column in columns]
                values = [normalize_value(text, spec.keep_words) for text in texts]
                missing = [k for k, value in enumerate(values) if value is None]
                if not name:
                    left_out.append((f"row {number}", NO_FILE))
                elif missing:
                    word = texts[missing[0]].strip()
                    reason = reasons[columns[missing[0]]]
                    left_out.append((name, f"{reason} ('{word}')" if word else reason))
                else:
                    complete.append((name, number, [str(value) for value in values]))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: it is not UTF-8 text") from error
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV ({error})") from error
    return complete, left_out


def _locate_columns(path: Path, header: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return the position of each column in the header."""
    for name in names:
        if header.count(name) > 1:
            raise UsageError(f"{path} has more than one column '{name}'")
        if name not in header:
            hint = did_you_mean(name, header)
            raise UsageError(
                f"{path} has no column '{name}'{hint} (it has: {join_first(header, 20)})"
            )
    return {name: header.index(name) for name in names}
