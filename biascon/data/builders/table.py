"""The plan of a table of images: its splits, and the bias-aligned cells of each bias column.

The table is a user's CSV file, a folder whose file names hold the values, or one of the sets of
``waterbirds``, ``urbancars``, ``fairface`` and ``debias_folders``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.data.alignment import AlignedValues, Alignment, align_cells, check_aligned_values
from biascon.data.builders.table_rows import SPLIT_CODES, SPLIT_NAMES, ImageTable, TableSpec
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.building.splitting import (
    NO_VALIDATION,
    describe_splits,
    hold_out,
    seeded_split,
)
from biascon.data.manifest import Attribute, BiasAttribute, DatasetDescription
from biascon.data.values import sort_values
from biascon.errors import DataError, UsageError
from biascon.utils.text import quote_some
from biascon.utils.types import Array

MAX_VALUES = 1000  # different values in a column


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


def plan_table(table: ImageTable, spec: TableSpec, *, origin: str) -> BuildPlan:
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
    label_values, label = _encode_column(spec.label, table)
    bias_columns = _encode_bias_columns(table, spec, label_values)
    first = bias_columns[spec.bias[0]] if spec.bias else None
    zero = np.zeros(len(label), dtype=np.int64)
    splits = {
        name: SplitPlan(
            [table.files[row] for row in rows],
            label[rows],
            (zero if first is None else first.codes)[rows],
            zero[rows] > 0 if first is None else first.mark_aligned(label, rows),
            table.index[rows],
            {bias: column.codes[rows] for bias, column in bias_columns.items()},
        )
        for name, rows in _split_rows(table, spec, label, len(label_values)).items()
    }
    description = describe_table(table, spec, label_values, bias_columns, splits, origin)
    return BuildPlan(description, splits, table.left_out)


def describe_table(
    table: ImageTable,
    spec: TableSpec,
    label_values: list[str],
    bias_columns: Mapping[str, _BiasColumn],
    splits: Mapping[str, SplitPlan],
    origin: str,
) -> DatasetDescription:
    """Describe the dataset of a table."""
    attributes = {
        name: Attribute(column.values, column.aligned_pairs(label_values))
        for name, column in bias_columns.items()
    }
    reasons = dict(sorted(Counter(reason for _, reason in table.left_out).items()))
    names: dict[str, Any] = {
        "read": len(table.files) + len(table.left_out) + sum(table.dropped.values()),
        "left_out": len(table.left_out),
        "reasons": reasons,
    }
    if table.dropped:
        names["dropped"] = dict(table.dropped)
    return DatasetDescription(
        name=spec.full_name(),
        builder=spec.builder,
        protocol={
            **_describe_protocol(table, spec, splits),
            "pictures": spec.image_spec.describe(),
        },
        parameters=_describe_parameters(spec),
        source={
            "kind": spec.builder,
            "origin": origin,
            "sha256": dict(table.sha256),
            "names": names,
        },
        labels=label_values,
        bias=_describe_bias(spec, bias_columns, label_values),
        attributes=attributes or None,
    )


def _describe_bias(
    spec: TableSpec, bias_columns: Mapping[str, _BiasColumn], label_values: Sequence[str]
) -> BiasAttribute | None:
    """Describe the first bias column; None without one."""
    if not spec.bias:
        return None
    first = bias_columns[spec.bias[0]]
    pairs = first.aligned_pairs(label_values)
    aligned = None
    if pairs is not None:
        texts = [f"{label} = {value}" for label, value in pairs]
        aligned = f"{', '.join(texts)} ({first.alignment.source})"
    return BiasAttribute(spec.bias[0], first.values, aligned=aligned)


def _encode_bias_columns(
    table: ImageTable, spec: TableSpec, label_values: Sequence[str]
) -> dict[str, _BiasColumn]:
    """Encode the bias columns by name, with their bias-aligned cells."""
    columns = {}
    for name in spec.bias:
        values, codes = _encode_column(name, table)
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


def _encode_column(name: str, table: ImageTable) -> tuple[list[str], Array]:
    """Return the values of a column, sorted if no order is known, and its codes, int64 ``(N,)``."""
    texts = table.columns[name]
    values = list(table.values[name]) if name in table.values else sort_values(set(texts))
    if len(values) > MAX_VALUES:
        raise UsageError(
            f"expected at most {MAX_VALUES:,} values in column '{name}', but got {len(values):,} "
            f"({quote_some(values, 3)}); group them first"
        )
    position = {value: k for k, value in enumerate(values)}
    return values, np.array([position[text] for text in texts], dtype=np.int64)


def _split_rows(
    table: ImageTable, spec: TableSpec, label: Array, n_labels: int
) -> dict[str, Array]:
    """Return the rows of each split, by the split column or by a seeded split."""
    if spec.split is None:
        return seeded_split(len(table.files), spec.seed, spec.val_protocol, "table/split")
    split_of = _map_splits(table, spec)
    codes = np.array([split_of[text] for text in table.columns[spec.split]])
    parts = {name: np.flatnonzero(codes == name) for name in ("train", "val", "test")}
    if _holds_out(table, spec):
        train = parts["train"]
        is_val = hold_out(label[train], n_labels, spec.seed, spec.val_protocol)
        parts |= {"train": train[~is_val], "val": train[is_val]}
    return {name: rows for name, rows in parts.items() if len(rows) or name != "val"}


def _map_splits(table: ImageTable, spec: TableSpec) -> dict[str, str]:
    """Return the split of every value of the split column.

    Values that ``split_map`` does not hold are all names, or all codes.

    Raises:
        DataError: A value is no split.
    """
    values = set(table.columns[str(spec.split)])
    open_values = values - set(spec.split_map)
    n_codes = len(open_values & set(SPLIT_CODES))
    are_codes = n_codes > sum(text.lower() in SPLIT_NAMES for text in open_values)
    known = SPLIT_CODES if are_codes else SPLIT_NAMES
    split_of = {text: known.get(text.lower(), "") for text in open_values}
    unknown = sort_values(text for text, split in split_of.items() if not split)
    if unknown:
        hint = (
            f"; --split-map '{unknown[0]}=val' assigns a value to a split, "
            f"--split-map '{unknown[0]}=' leaves its rows out"
        )
        expected = "0, 1 or 2" if are_codes else "train, val or test, or 0, 1 and 2 for them,"
        raise DataError(
            f"expected {expected} in column '{spec.split}', but got {quote_some(unknown, 3)}"
            f"{hint if spec.builder == 'table' else ''}"
        )
    return split_of | {text: spec.split_map[text] for text in values & set(spec.split_map)}


def _holds_out(table: ImageTable, spec: TableSpec) -> bool:
    """Whether validation images are held out of the training images of a split column."""
    return spec.hold_out_val and "val" not in _map_splits(table, spec).values()


def _describe_protocol(
    table: ImageTable, spec: TableSpec, splits: Mapping[str, SplitPlan]
) -> dict[str, str]:
    """Return the manifest texts of the splits."""
    if spec.split is not None:
        return _describe_split_column(table, spec, splits)
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


def _describe_split_column(
    table: ImageTable, spec: TableSpec, splits: Mapping[str, SplitPlan]
) -> dict[str, str]:
    """Return the manifest texts of the splits of a split column."""
    protocol = dict.fromkeys(splits, f"column {spec.split}")
    split_of = _map_splits(table, spec)
    if spec.split_map or set(split_of) <= set(SPLIT_CODES):
        for name in protocol:
            values = sort_values(text for text, split in split_of.items() if split == name)
            protocol[name] = f"column {spec.split} = {', '.join(values)}"
    protocol |= {name: text for name, text in spec.split_texts.items() if name in protocol}
    if _holds_out(table, spec):
        protocol |= describe_splits(protocol["train"], spec.val_protocol)
    return protocol if "val" in protocol else {**protocol, "val": NO_VALIDATION}


def _describe_parameters(spec: TableSpec) -> dict[str, Any]:
    seeded = {"seed": spec.seed, "val_protocol": spec.val_protocol} if spec.is_seeded else {}
    parameters = {
        "image": spec.image, "label": spec.label, "bias": list(spec.bias), "split": spec.split, **seeded,
        "size": spec.image_spec.size, "resize": spec.image_spec.resize, "decode": spec.image_spec.decode,
    }  # fmt: skip
    optional: dict[str, Any] = {
        "keep_words": sorted(spec.keep_words),
        "split_map": dict(sorted(spec.split_map.items())),
        "leave_out": {name: list(values) for name, values in sorted(spec.leave_out.items())},
        "rename": {
            name: dict(sorted(names.items())) for name, names in sorted(spec.rename.items())
        },
        "patterns": list(spec.patterns),
        "ignore": list(spec.ignore),
    }
    return parameters | {key: value for key, value in optional.items() if value}
