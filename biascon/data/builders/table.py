"""A user's own images: a CSV file with a column of files, one of labels, and one or more bias columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data.alignment import (
    AlignedValues,
    Alignment,
    align_cells,
    check_aligned_values,
    read_aligned_values,
)
from biascon.data.builders.csv_table import CsvTable, TableSpec
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.building.splitting import NO_VALIDATION, seeded_split
from biascon.data.manifest import Attribute, BiasAttribute, DatasetDescription
from biascon.data.values import sort_values
from biascon.errors import DataError, UsageError
from biascon.utils.text import quote_some
from biascon.utils.types import Array

MAX_VALUES = 1000  # different values in a column
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class _BiasColumn:
    """A bias column of a table.

    Attributes:
        values: The M values, sorted.
        codes: int64 ``(N,)`` in 0..M-1.
        alignment: The bias-aligned cells of label and this column.
    """

    values: list[str]
    codes: Array
    alignment: Alignment

    def mark_aligned(self, label: Array, rows: Array) -> Array:
        """Return bool ``(n,)`` for some rows: whether they are bias-aligned; all false if not defined."""
        cells = self.alignment.cells
        if cells is None:
            return np.zeros(len(rows), dtype=bool)
        return cells[label[rows], self.codes[rows]]

    def aligned_pairs(self, label_values: Sequence[str]) -> list[list[str]] | None:
        """Return the bias-aligned [label, bias value] pairs, or None if they are not defined."""
        cells = self.alignment.cells
        if cells is None:
            return None
        return [[label_values[k], self.values[m]] for k, m in np.argwhere(cells).tolist()]


def plan_table(table: CsvTable, spec: TableSpec, *, origin: str) -> BuildPlan:
    """Assign the images of a table to splits.

    Args:
        table: The rows of the table.
        spec: The settings.
        origin: The manifest text of the source.

    Raises:
        DataError: A split would be empty, or has an unknown name.
        UsageError: A column has too many values, or the aligned values do not match the table.
    """
    check_aligned_values(spec.aligned, spec.bias)
    label_values, label = _encode_column(spec.label, table.columns[spec.label])
    bias_columns = _encode_bias_columns(table, spec, label_values)
    first = bias_columns[spec.bias[0]]
    splits = {
        name: SplitPlan(
            [table.files[row] for row in rows],
            label[rows],
            first.codes[rows],
            first.mark_aligned(label, rows),
            table.index[rows],
            {bias: column.codes[rows] for bias, column in bias_columns.items()},
        )
        for name, rows in _split_rows(table, spec).items()
    }
    description = describe_table(table, spec, label_values, bias_columns, splits, origin)
    return BuildPlan(description, splits, table.left_out)


def describe_table(
    table: CsvTable,
    spec: TableSpec,
    label_values: list[str],
    bias_columns: Mapping[str, _BiasColumn],
    splits: Mapping[str, SplitPlan],
    origin: str,
) -> DatasetDescription:
    """Describe the dataset of a table."""
    first = bias_columns[spec.bias[0]]
    attributes = {
        name: Attribute(column.values, column.aligned_pairs(label_values))
        for name, column in bias_columns.items()
    }
    pairs = attributes[spec.bias[0]].aligned_pairs
    aligned = None
    if pairs is not None:
        texts = [f"{label} = {value}" for label, value in pairs]
        aligned = f"{', '.join(texts)} ({first.alignment.source})"
    reasons = dict(sorted(Counter(reason for _, reason in table.left_out).items()))
    n_read = len(table.files) + len(table.left_out)
    return DatasetDescription(
        name=spec.full_name(),
        builder="table",
        protocol={**_describe_protocol(spec, splits), "pictures": spec.image_spec.describe()},
        parameters=_describe_parameters(spec),
        source={
            "kind": "table",
            "origin": origin,
            "sha256": {"table": table.sha256},
            "names": {"read": n_read, "left_out": len(table.left_out), "reasons": reasons},
        },
        labels=label_values,
        bias=BiasAttribute(spec.bias[0], first.values, aligned=aligned),
        attributes=attributes,
    )


def _encode_bias_columns(
    table: CsvTable, spec: TableSpec, label_values: Sequence[str]
) -> dict[str, _BiasColumn]:
    """Encode the bias columns by name, with their bias-aligned cells."""
    columns = {}
    for name in spec.bias:
        values, codes = _encode_column(name, table.columns[name])
        # A plain mapping label -> bias value is about the first bias column only.
        applies = name == spec.bias[0] or _is_by_column(spec.aligned)
        aligned = spec.aligned if applies else None
        alignment = align_cells(
            name, label_values, label_values, values, aligned, has_several_biases=False
        )
        columns[name] = _BiasColumn(values, codes, alignment)
    return columns


def _is_by_column(aligned: AlignedValues | None) -> bool:
    """Whether the aligned values are a mapping for each bias column."""
    return aligned is not None and any(isinstance(value, Mapping) for value in aligned.values())


def _encode_column(name: str, texts: Sequence[str]) -> tuple[list[str], Array]:
    """Return the sorted values of a column, and its codes, int64 ``(N,)``."""
    values = sort_values(set(texts))
    if len(values) > MAX_VALUES:
        raise UsageError(
            f"expected at most {MAX_VALUES:,} values in column '{name}', but got {len(values):,} "
            f"({quote_some(values, 3)}); group them first"
        )
    position = {value: k for k, value in enumerate(values)}
    return values, np.array([position[text] for text in texts], dtype=np.int64)


def _split_rows(table: CsvTable, spec: TableSpec) -> dict[str, Array]:
    """Return the rows of each split, by the split column or by a seeded split."""
    if spec.split is None:
        return seeded_split(len(table.files), spec.seed, spec.val_protocol, "table/split")
    texts = [text.lower() for text in table.columns[spec.split]]
    unknown = sorted(set(texts) - set(SPLIT_NAMES))
    if unknown:
        raise DataError(
            f"expected train, val or test in column '{spec.split}', but got {quote_some(unknown, 3)}"
        )
    codes = np.array([SPLIT_NAMES[text] for text in texts])
    parts = {name: np.flatnonzero(codes == name) for name in ("train", "val", "test")}
    return {name: rows for name, rows in parts.items() if len(rows) or name != "val"}


def _describe_protocol(spec: TableSpec, splits: Mapping[str, SplitPlan]) -> dict[str, str]:
    """Return the manifest texts of the splits."""
    if spec.split is not None:
        protocol = dict.fromkeys(splits, f"column {spec.split}")
        return protocol if "val" in protocol else {**protocol, "val": NO_VALIDATION}
    validation = {
        "held-out": "10 % of the training pictures",
        "hong": "10 % of the training pictures, kept in training (leaks)",
        "none": NO_VALIDATION,
    }
    return {
        "train": "seeded 80/20 split of the sorted files",
        "val": validation[spec.val_protocol],
        "test": "20 % of the files",
    }


def _describe_parameters(spec: TableSpec) -> dict[str, Any]:
    seeded = {} if spec.split else {"seed": spec.seed, "val_protocol": spec.val_protocol}
    words = {"keep_words": sorted(spec.keep_words)} if spec.keep_words else {}
    return {
        "image": spec.image, "label": spec.label, "bias": list(spec.bias), "split": spec.split, **seeded,
        "size": spec.image_spec.size, "resize": spec.image_spec.resize, "decode": spec.image_spec.decode,
        **words,
    }  # fmt: skip


def parse_aligned_options(words: Sequence[str]) -> AlignedValues | None:
    """Parse the aligned values of a command line: ``label=bias`` words, or the path of one file.

    >>> parse_aligned_options(["cat=indoor", "dog=outdoor", "dog=beach"])
    {'cat': ['indoor'], 'dog': ['outdoor', 'beach']}

    Raises:
        UsageError: A word has another form.
        DataError: The file is missing or malformed.
    """
    if not words:
        return None
    if len(words) == 1 and "=" not in words[0]:
        return read_aligned_values(Path(words[0]))
    pairs: dict[str, list[str]] = {}
    for word in words:
        label, equals, value = word.partition("=")
        if not (equals and label.strip() and value.strip()):
            raise UsageError(f"expected --aligned label=bias or one file, but got '{word}'")
        pairs.setdefault(label.strip(), []).append(value.strip())
    return pairs
