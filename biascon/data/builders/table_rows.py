"""The settings of a table of images, and the rows of it that are used.

A table has one row for each image. It is a CSV file (``csv_table``), or a folder whose file names hold the
values (``file_patterns``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import normpath
from typing import NamedTuple

import numpy as np

from biascon.data.alignment import AlignedValues
from biascon.data.images.decoding import ImageSpec
from biascon.data.values import check_keep_words, normalize_value, sort_values
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.text import quote_some
from biascon.utils.types import Array

NO_FILE, NO_LABEL, NO_SPLIT = "no file name", "no label", "no split"
LEFT_OUT = ""  # the split of rows that are left out on purpose
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SPLIT_CODES = {"0": "train", "1": "val", "2": "test"}  # of GroupDRO, WILDS and CelebA

Rename = Mapping[str, Mapping[str, str]]  # the new names of values, by column


@dataclass(frozen=True)
class TableSpec:
    """How a table becomes a dataset.

    Attributes:
        image: The column of files, as paths relative to the folder of images.
        label: The column of labels.
        bias: The bias columns. The first is the bias attribute of the dataset. Without one, the dataset has
            no bias attribute.
        split: The column of splits: names (``SPLIT_NAMES``), codes (``SPLIT_CODES``), or values of
            ``split_map``; None for a seeded split.
        aligned: The bias-aligned values of each label, as for ``audit``. With None, label = bias is aligned
            if both columns have the same names (``data.alignment.are_codes``).
        name: The first part of the dataset's name.
        seed: Seed of the seeded split.
        val_protocol: Validation protocol of the seeded split: ``held-out`` (10 % of the training images),
            ``hong`` (these images also stay in training, a leak) or ``none``.
        image_spec: How an image becomes an array.
        keep_words: Words for missing values that are values in this table; see ``normalize_value``.
        split_map: The split of values of the split column; ``LEFT_OUT`` leaves out their rows.
        leave_out: The values whose rows are left out on purpose, by column; None for a missing value.
        rename: New names of values of the label and of bias columns. Two values may get the same name.
        hold_out_val: Hold out 10 % of the training images of each label, if the split column has no
            validation images.
        patterns: The patterns of file names, for a folder without a CSV file; see ``file_patterns``.
        ignore: Patterns, as in a shell, of the files of that folder that are no images of the set.
        builder: The name of the builder.
        split_texts: The manifest texts of splits, in place of the values of the split column.
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
    split_map: Mapping[str, str] = field(default_factory=dict)
    leave_out: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    rename: Rename = field(default_factory=dict)
    hold_out_val: bool = False
    patterns: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    builder: str = "table"
    split_texts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_keep_words(self.keep_words)
        columns = [self.image, *self.roles]
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
        if self.split_map and self.split is None:
            raise UsageError("a map of split values needs a split column (--split-col)")
        other = [name for name in self.rename if name not in (self.label, *self.bias)]
        if other:
            raise UsageError(
                f"expected to rename values of the label or of a bias column, but got {quote_some(other)}"
                f"{did_you_mean(other[0], (self.label, *self.bias))}"
            )

    @property
    def roles(self) -> list[str]:
        """The columns that every row must have: label, bias columns, split column."""
        return [self.label, *self.bias, *([self.split] if self.split else [])]

    @property
    def columns(self) -> list[str]:
        """The columns that are read besides the files: the roles, then other columns of ``leave_out``."""
        return [*self.roles, *(name for name in self.leave_out if name not in self.roles)]

    @property
    def is_seeded(self) -> bool:
        """Whether the seed and the validation protocol determine a split."""
        return self.split is None or self.hold_out_val

    def full_name(self) -> str:
        """Return the dataset's name: the table's name, and the settings that differ from the defaults."""
        parts = [self.name, *self.image_spec.name_suffixes()]
        if self.is_seeded:
            parts += [self.val_protocol] if self.val_protocol != "held-out" else []
            parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


class SourceRow(NamedTuple):
    """A row of a source: the file, the number of the row, and the texts of ``TableSpec.columns``."""

    file: str
    number: int
    texts: Sequence[str]


@dataclass(frozen=True)
class ImageTable:
    """The rows of a table that are used, in the order of their image files.

    Attributes:
        files: Relative paths of the images, sorted.
        columns: Text values by column: label, bias columns, and the split column if there is one.
        index: int64 ``(N,)``: the row in the source, from 0.
        left_out: (file or row, reason) of the rows that lack a value, and of files that cannot be used.
        sha256: Digests of the files of the table, by name.
        values: The values of a column in the order of their codes, where it is known; other columns are
            sorted.
        dropped: The number of rows that are left out on purpose, by reason.
    """

    files: Sequence[str]
    columns: Mapping[str, Sequence[str]]
    index: Array
    left_out: Sequence[tuple[str, str]]
    sha256: Mapping[str, str]
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)


def select_rows(
    rows: Iterable[SourceRow],
    spec: TableSpec,
    *,
    where: str,
    sha256: Mapping[str, str],
    left_out: Sequence[tuple[str, str]] = (),
    dropped: Mapping[str, int] | None = None,
) -> ImageTable:
    """Select the rows of a table that are used: those with all values, without those left out on purpose.

    Args:
        rows: All rows.
        spec: The settings.
        where: The source, for messages.
        sha256: As in ``ImageTable``.
        left_out: Files that the reader has left out already.
        dropped: Files that the reader has left out on purpose already, by reason.

    Raises:
        DataError: No row remains, or an image is listed twice.
        UsageError: A value of ``split_map``, ``leave_out`` or ``rename`` does not occur.
    """
    columns, kept = spec.columns, []
    incomplete, counts = list(left_out), Counter(dropped or {})
    seen: dict[str, set[str | None]] = {name: set() for name in columns}
    for row in rows:
        values = dict(
            zip(
                columns, (normalize_value(text, spec.keep_words) for text in row.texts), strict=True
            )
        )
        for name, value in values.items():
            seen[name].add(value)
        purpose = _find_purpose(values, spec)
        missing = next((name for name in spec.roles if values[name] is None), None)
        if not row.file:
            incomplete.append((f"row {row.number}", NO_FILE))
        elif purpose:
            counts[purpose] += 1
        elif missing is not None:
            word = row.texts[columns.index(missing)].strip()
            reason = _name_missing(missing, spec)
            incomplete.append((row.file, f"{reason} ('{word}')" if word else reason))
        else:
            kept.append((row.file, row.number, _rename(values, spec)))
    _check_values_occur(seen, spec)
    kept.sort(key=lambda row: row[:2])
    files = [file for file, _, _ in kept]
    repeated = [name for name, n in Counter(map(normpath, files)).items() if n > 1]
    if repeated:  # a/b.jpg and ./a//b.jpg are one image
        raise DataError(
            f"{where}: expected each image once, but got {quote_some(repeated, 3)} more than once"
        )
    if not kept:
        raise DataError(f"{where}: no row has a file, a label and a bias value")
    texts = {name: [values[name] for _, _, values in kept] for name in spec.roles}
    index = np.array([number for _, number, _ in kept], dtype=np.int64)
    purposes = dict(sorted(counts.items()))
    return ImageTable(files, texts, index, incomplete, sha256, dropped=purposes)


def _find_purpose(values: Mapping[str, str | None], spec: TableSpec) -> str:
    """Return why a row is left out on purpose, or "" if it is not."""
    for name, unwanted in spec.leave_out.items():
        if values[name] in unwanted:
            value = values[name]
            return f"{name} is missing" if value is None else f"{name} = {value}"
    if spec.split is not None:
        value = values[spec.split]
        if value is not None and spec.split_map.get(value) == LEFT_OUT:
            return f"{spec.split} = {value}"
    return ""


def _name_missing(column: str, spec: TableSpec) -> str:
    """Return the reason for leaving out a row that lacks a value in a column."""
    named = {spec.label: NO_LABEL, **({spec.split: NO_SPLIT} if spec.split else {})}
    return named.get(column, f"no {column}")


def _rename(values: Mapping[str, str | None], spec: TableSpec) -> dict[str, str]:
    """Return the values of the roles of a complete row, under their new names."""
    texts = {name: str(values[name]) for name in spec.roles}
    return {name: spec.rename.get(name, {}).get(text, text) for name, text in texts.items()}


def _check_values_occur(seen: Mapping[str, set[str | None]], spec: TableSpec) -> None:
    """Raise a UsageError about the first value of the settings that the table does not have."""
    wanted = [(name, value) for name, values in spec.leave_out.items() for value in values]
    wanted += [(name, value) for name, names in spec.rename.items() for value in names]
    wanted += [(str(spec.split), value) for value in spec.split_map]
    for name, value in wanted:
        if value not in seen[name]:
            known = {text for text in seen[name] if text is not None}
            got = "missing value" if value is None else f"value '{value}'"
            raise UsageError(
                f"column '{name}' has no {got}{did_you_mean(value or '', known)} "
                f"(it has: {quote_some(sort_values(known), 8)})"
            )
