"""Any user's pictures: a CSV with a column of files, one of labels, and one or more of bias attributes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath
from typing import Any

import numpy as np

from biascon.data.alignment import AlignedValues, align_cells, check_aligned_values
from biascon.data.alignment import read_aligned_values as read_pairs
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.building.splitting import seeded_split
from biascon.data.images.decoding import ImageSpec
from biascon.data.manifest import Attribute, BiasAttribute, DatasetDescription
from biascon.data.values import normalize_value, sort_values
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.files import sha256_file
from biascon.utils.text import join_first, quote_some
from biascon.utils.types import Array

MAX_VALUES = 1000  # values of a column
NO_FILE, NO_LABEL, NO_SPLIT = "no file name", "no label", "no split"
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class TableSpec:
    """What to make of a table.

    Attributes:
        image: The column of files, relative to the folder of pictures.
        label: The column of labels.
        bias: The columns of bias attributes; the first is the one by which the dataset is built.
        split: The column that says train, val or test; None for a seeded split.
        aligned: Which bias values go with a label, as for ``audit``; None: label = bias where both have
            the same values.
        name: The dataset's name, before what differs from the default.
        seed: Of the seeded split.
        val_protocol: ``held-out`` (10 % of training), ``hong`` (they stay in training: a leak) or
            ``none``, without a split column.
        shape: How a picture becomes an array.
    """

    image: str
    label: str
    bias: tuple[str, ...]
    split: str | None = None
    aligned: AlignedValues | None = None
    name: str = "table"
    seed: int = 0
    val_protocol: str = "held-out"
    shape: ImageSpec = field(default_factory=lambda: ImageSpec(64))

    def __post_init__(self) -> None:
        if not self.bias:
            raise UsageError("expected at least one bias column")
        columns = [self.image, self.label, *self.bias, *([self.split] if self.split else [])]
        twice = [name for name, n in Counter(columns).items() if n > 1]
        if twice:
            raise UsageError(
                f"expected each column in one role, but got {quote_some(twice)} in several"
            )
        commas = [name for name in self.bias if "," in name]
        if commas:
            raise UsageError(f"expected bias columns without a comma, but got {quote_some(commas)}")

    def full_name(self) -> str:
        """Return the dataset's name: the table's, and whatever differs from the default."""
        parts = [self.name, *self.shape.name_suffixes()]
        if self.split is None:
            parts += [self.val_protocol] if self.val_protocol != "held-out" else []
            parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


@dataclass(frozen=True)
class CsvTable:
    """The rows that can be used, in the order of their files.

    Attributes:
        files: Relative paths, sorted.
        columns: Text values by column: label, bias and perhaps split.
        index: int64 ``(N,)``: the row in the CSV, from 0.
        left_out: (file or row, reason).
        sha256: Of the CSV.
    """

    files: Sequence[str]
    columns: Mapping[str, Sequence[str]]
    index: Array
    left_out: Sequence[tuple[str, str]]
    sha256: str


def read_csv_table(path: Path, spec: TableSpec) -> CsvTable:
    """Read the columns of a CSV that a spec names; a row without one of its values is left out.

    Raises:
        DataError: The file is unreadable or no CSV with a header, a row has another width, a file is there
            twice, or a split has another name.
        UsageError: A column is not there.
    """
    wanted = [spec.label, *spec.bias, *([spec.split] if spec.split else [])]
    why = {spec.label: NO_LABEL, **{name: f"no {name}" for name in spec.bias}}
    why |= {spec.split: NO_SPLIT} if spec.split else {}
    found: list[tuple[str, int, list[str]]] = []
    left_out: list[tuple[str, str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            at = _locate_columns(path, header, [spec.image, *wanted])
            for number, row in enumerate(rows):
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {rows.line_num}: expected {len(header)} values, but got {len(row)}"
                    )
                name = row[at[spec.image]].strip()
                texts = [normalize_value(row[at[column]]) for column in wanted]
                missing = [c for c, text in zip(wanted, texts, strict=True) if text is None]
                if not name:
                    left_out.append((f"row {number}", NO_FILE))
                elif missing:
                    left_out.append((name, why[missing[0]]))
                else:
                    found.append((name, number, [str(text) for text in texts]))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: it is not UTF-8 text") from error
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV ({error})") from error
    found.sort()
    files = [name for name, _, _ in found]
    same = Counter(map(normpath, files))  # a/b.jpg and ./a//b.jpg are one picture
    twice = [name for name, n in same.items() if n > 1]
    if twice:
        raise DataError(
            f"{path}: expected each picture once, but got {quote_some(twice, 3)} more often"
        )
    if not found:
        raise DataError(f"{path}: no row has a file, a label and a bias value")
    columns = {name: [texts[k] for _, _, texts in found] for k, name in enumerate(wanted)}
    index = np.array([number for _, number, _ in found], dtype=np.int64)
    return CsvTable(files, columns, index, left_out, sha256_file(path))


def _locate_columns(path: Path, header: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    for name in wanted:
        if header.count(name) > 1:
            raise UsageError(f"{path} has more than one column '{name}'")
        if name not in header:
            raise UsageError(
                f"{path} has no column '{name}'{did_you_mean(name, header)} (it has: {join_first(header, 20)})"
            )
    return {name: header.index(name) for name in wanted}


def plan_table(table: CsvTable, spec: TableSpec, *, origin: str) -> BuildPlan:
    """Return which pictures are in which split.

    Raises:
        DataError: A split would be empty, or has another name.
        UsageError: A column has too many values, or the aligned values do not fit.
    """
    check_aligned_values(spec.aligned, spec.bias)
    label_values, label = _encode_column(spec.label, table.columns[spec.label])
    attributes: dict[str, Array] = {}
    about: dict[str, Attribute] = {}
    cells: dict[str, Array | None] = {}
    rules = {}
    for name in spec.bias:
        values, attributes[name] = _encode_column(name, table.columns[name])
        given = spec.aligned if name == spec.bias[0] or _is_by_column(spec.aligned) else None
        found = align_cells(name, label_values, label_values, values, given, several=False)
        cells[name], rules[name] = found.cells, found.source
        pairs = None if found.cells is None else [
            [label_values[k], values[m]] for k, m in np.argwhere(found.cells).tolist()
        ]  # fmt: skip
        about[name] = Attribute(values, pairs)
    own = spec.bias[0]
    splits = {}
    for part, rows in _split_rows(table, spec).items():
        bias, here = attributes[own][rows], cells[own]
        splits[part] = SplitPlan(
            [table.files[row] for row in rows],
            label[rows],
            bias,
            np.zeros(len(rows), dtype=bool) if here is None else here[label[rows], bias],
            table.index[rows],
            {name: values[rows] for name, values in attributes.items()},
        )
    pairs = about[own].aligned_pairs
    told = None if pairs is None else f"{', '.join(f'{k} = {m}' for k, m in pairs)} ({rules[own]})"
    reasons = dict(sorted(Counter(reason for _, reason in table.left_out).items()))
    read = len(table.files) + len(table.left_out)
    description = DatasetDescription(
        name=spec.full_name(),
        builder="table",
        protocol={**_describe_protocol(spec, splits), "pictures": spec.shape.describe()},
        parameters=_describe_parameters(spec),
        source={
            "kind": "table",
            "origin": origin,
            "sha256": {"table": table.sha256},
            "names": {"read": read, "left_out": len(table.left_out), "reasons": reasons},
        },
        labels=label_values,
        bias=BiasAttribute(own, about[own].values, aligned=told),
        attributes=about,
    )
    return BuildPlan(description, splits, table.left_out)


def _is_by_column(given: AlignedValues | None) -> bool:
    return given is not None and any(isinstance(value, Mapping) for value in given.values())


def _encode_column(name: str, texts: Sequence[str]) -> tuple[list[str], Array]:
    values = sort_values(set(texts))
    if len(values) > MAX_VALUES:
        raise UsageError(
            f"expected at most {MAX_VALUES:,} values in column '{name}', but got {len(values):,} "
            f"({quote_some(values, 3)}); put them in groups first"
        )
    position = {value: k for k, value in enumerate(values)}
    return values, np.array([position[text] for text in texts], dtype=np.int64)


def _split_rows(table: CsvTable, spec: TableSpec) -> dict[str, Array]:
    if spec.split is None:
        return seeded_split(len(table.files), spec.seed, spec.val_protocol, "table/split")
    texts = [text.lower() for text in table.columns[spec.split]]
    strange = sorted(set(texts) - set(SPLIT_NAMES))
    if strange:
        raise DataError(
            f"expected train, val or test in column '{spec.split}', but got {quote_some(strange, 3)}"
        )
    codes = np.array([SPLIT_NAMES[text] for text in texts])
    parts = {name: np.flatnonzero(codes == name) for name in ("train", "val", "test")}
    return {name: rows for name, rows in parts.items() if len(rows) or name != "val"}


def _describe_protocol(spec: TableSpec, splits: Mapping[str, SplitPlan]) -> dict[str, str]:
    if spec.split is not None:
        told = dict.fromkeys(splits, f"column {spec.split}")
        return told if "val" in told else {**told, "val": "none: no selection is possible"}
    validation = {
        "held-out": "10 % of the training pictures",
        "hong": "10 % of the training pictures, kept in training (leaks)",
        "none": "none: no selection is possible",
    }
    return {
        "train": "seeded 80/20 split of the sorted files",
        "val": validation[spec.val_protocol],
        "test": "20 % of the files",
    }


def _describe_parameters(spec: TableSpec) -> dict[str, Any]:
    seeded = {} if spec.split else {"seed": spec.seed, "val_protocol": spec.val_protocol}
    return {
        "image": spec.image, "label": spec.label, "bias": list(spec.bias), "split": spec.split, **seeded,
        "size": spec.shape.size, "resize": spec.shape.resize, "decode": spec.shape.decode,
    }  # fmt: skip


def parse_aligned_options(words: Sequence[str]) -> AlignedValues | None:
    """Return aligned values as given on a command line: ``label=bias`` words, or one file of pairs.

    >>> read_aligned(["cat=indoor", "dog=outdoor", "dog=beach"])
    {'cat': ['indoor'], 'dog': ['outdoor', 'beach']}

    Raises:
        UsageError: A word is neither.
        DataError: The file is missing or not of its form.
    """
    if not words:
        return None
    if len(words) == 1 and "=" not in words[0]:
        return read_pairs(Path(words[0]))
    pairs: dict[str, list[str]] = {}
    for word in words:
        label, equals, value = word.partition("=")
        if not (equals and label.strip() and value.strip()):
            raise UsageError(f"expected --aligned label=bias or one file, but got '{word}'")
        pairs.setdefault(label.strip(), []).append(value.strip())
    return pairs
