"""Bias alignment: which (label, bias) cells are bias-aligned, and where this is known from."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data.values import MISSING_WORDS, normalize_value
from biascon.errors import AlignmentError, DataError, did_you_mean
from biascon.utils.files import read_json
from biascon.utils.reading import ALIGNED_VALUES, decode, parse_toml, read_bytes
from biascon.utils.text import quote_some

_MIN_SHARED_NUMBERS = 10
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?")
_TRUTH_WORDS = frozenset(
    {
        "true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "positive", "negative", "pos", "neg",
        "present", "absent", "+", "-",
    }
)  # fmt: skip

Pairs = dict[str, frozenset[str]]  # label -> the bias values that are aligned with it
AlignedValues = Mapping[
    Any, Any
]  # from the user: {label: value or values}, or {column: {label: ...}}


@dataclass(frozen=True)
class Alignment:
    """Which cells of a table are bias-aligned.

    Attributes:
        cells: bool ``(K, M)``, or None if it is not known.
        source: Where the alignment is known from, as text.
        notes: Labels and values of the user's mapping that do not occur in the table.
    """

    cells: npt.NDArray[np.bool_] | None
    source: str
    notes: tuple[str, ...] = ()


def align_cells(
    bias: str,
    classes: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    aligned_values: AlignedValues | None,
    *,
    has_several_biases: bool,
) -> Alignment:
    """Return the bias-aligned cells of one bias column or product of columns.

    If the user gives a mapping for this bias, its pairs are aligned. Otherwise the cells with label = bias
    are aligned, if the label column and the bias column have the same values and these are names. Codes
    (``are_codes``), such as 0 and 1 in both columns, may stand for different things; alignment is then not
    known.

    Args:
        bias: The name of the column, or of the product: ``"a x b"``.
        classes: The K values of label and prediction.
        labels: The values of the label alone.
        groups: The M values of the bias.
        aligned_values: ``{label: bias value or values}``, or ``{bias name: {label: ...}}``.
        has_several_biases: Whether there is more than one bias column, so that a plain mapping is ambiguous.

    Raises:
        AlignmentError: The mapping does not contain every label, or it is ambiguous.
    """
    pairs = _select_pairs(bias, aligned_values, has_several_biases=has_several_biases)
    if pairs is None:
        if set(labels) != set(groups):
            return Alignment(None, "not known: label and bias have different values")
        if are_codes(labels):
            return Alignment(
                None,
                "not known: equal codes in label and bias may stand for different things",
                (
                    f"label and '{bias}' both have {quote_some(labels)}, which is no reason to take "
                    "label = bias as aligned; --aligned (aligned=) tells which values go together",
                ),
            )
        cells = np.array([[k == m for m in groups] for k in classes])
        return Alignment(cells, "label = bias, since both have the same values")
    missing = [label for label in labels if label not in pairs]
    if missing:
        hint = did_you_mean(missing[0], pairs)
        raise AlignmentError(
            f"the aligned values of '{bias}' have no entry for label {quote_some(missing)}{hint}; "
            "write an empty list if no value is aligned with a label"
        )
    cells = np.array([[m in pairs.get(k, frozenset()) for m in groups] for k in classes])
    return Alignment(cells, "as given", _list_unused(bias, pairs, classes, labels, groups))


def are_codes(values: Sequence[str]) -> bool:
    """Return whether values that two columns share may stand for different things in each.

    Codes are words for yes and no, fewer than ten different numbers, and a single value. Two columns with K
    values coded as 0..K-1 share them whatever they stand for. Ten numbers or more in common, such as the
    digits and colors of BiasedMNIST, are taken as names.

    >>> are_codes(["0", "1"]), are_codes(["False", "True"]), are_codes(["cat", "dog"])
    (True, True, False)
    """
    if len(values) < 2 or {value.casefold() for value in values} <= _TRUTH_WORDS:
        return True
    are_numbers = all(_NUMBER.fullmatch(value) for value in values)
    return are_numbers and len(values) < _MIN_SHARED_NUMBERS


def _list_unused(
    bias: str,
    pairs: Pairs,
    classes: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
) -> tuple[str, ...]:
    """Return notes about the labels and values of a mapping that do not occur."""
    notes = []
    unused = [label for label in pairs if label not in classes]
    if unused:
        notes.append(
            f"aligned values are given for label {quote_some(unused)}, which does not occur"
        )
    values = dict.fromkeys(value for label in labels for value in sorted(pairs[label]))
    unused = [value for value in values if value not in groups]
    if unused:
        hint = did_you_mean(unused[0], groups)
        notes.append(
            f"aligned values of '{bias}' name {quote_some(unused)}, which does not occur{hint}"
        )
    return tuple(notes)


def _select_pairs(
    bias: str, aligned_values: AlignedValues | None, *, has_several_biases: bool
) -> Pairs | None:
    """Return the pairs of one bias column, or None if the user gives none for it."""
    if aligned_values is None:
        return None
    if not any(isinstance(value, Mapping) for value in aligned_values.values()):
        if has_several_biases:
            raise AlignmentError(
                "expected aligned values for each bias column, as {column: {label: value}}, but got one "
                "mapping for several bias columns"
            )
        return _normalize_pairs(aligned_values)
    return _normalize_pairs(aligned_values[bias]) if bias in aligned_values else None


def check_aligned_values(aligned_values: AlignedValues | None, names: Sequence[str]) -> None:
    """Check that aligned values are one mapping, or one mapping for each of some bias columns.

    Args:
        aligned_values: The aligned values of the user.
        names: The names of the bias columns.

    Raises:
        AlignmentError: They are a mixture of both forms, or name a column that is no bias column.
    """
    given: object = aligned_values
    if given is not None and not isinstance(given, Mapping):
        got = type(given).__name__
        raise AlignmentError(f"expected aligned values as {{label: value}}, but got a {got}")
    values = () if aligned_values is None else aligned_values.values()
    is_nested = [isinstance(value, Mapping) for value in values]
    if aligned_values is None or not any(is_nested):
        return
    if not all(is_nested):
        raise AlignmentError(
            "expected aligned values as {label: value} or as {column: {label: value}}, but got a mixture"
        )
    unknown = [str(name) for name in aligned_values if name not in names]
    if unknown:
        raise AlignmentError(
            f"aligned values are given for {quote_some(unknown)}, which is no bias column"
            f"{did_you_mean(unknown[0], names)} (bias columns: {quote_some(dict.fromkeys(names))})"
        )


def _normalize_pairs(aligned_values: Mapping[Any, Any]) -> Pairs:
    pairs: dict[str, set[str]] = {}
    for label, values in aligned_values.items():
        listed = list(values) if isinstance(values, list | tuple | set | frozenset) else [values]
        # A word such as "None" may be a value of the table, so only empty text is missing here.
        keep = MISSING_WORDS - {""}
        texts = [normalize_value(value, keep) for value in [label, *listed]]
        if None in texts:
            raise AlignmentError(
                f"expected aligned values, but got a missing value for label '{label}'"
            )
        first, *others = (text for text in texts if text is not None)
        pairs.setdefault(first, set()).update(others)
    return {label: frozenset(values) for label, values in pairs.items()}


def read_aligned_values(path: Path) -> AlignedValues:
    """Read aligned values from a TOML, JSON or CSV file.

    TOML and JSON hold ``label = value or values``, or such a table for each bias column. CSV has a header and
    the columns (label, bias value), or the columns (bias column, label, bias value).

    Raises:
        DataError: The file is missing, or does not have one of these forms.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        data = read_json(path)
        if not isinstance(data, dict):
            raise DataError(f"{path}: expected an object {{label: value or values}}")
        return data
    if suffix not in (".toml", ".csv"):
        raise DataError(f"{path}: expected a .toml, .json or .csv file")
    content = read_bytes(path, ALIGNED_VALUES).removeprefix(b"\xef\xbb\xbf")
    if suffix == ".toml":
        return parse_toml(content, str(path))
    return _parse_csv(path, decode(content, path))


def _parse_csv(path: Path, text: str) -> AlignedValues:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV ({error})") from error
    widths = {len(row) for row in rows}
    if len(rows) < 2 or widths not in ({2}, {3}):
        raise DataError(
            f"{path}: expected a header and rows 'label,bias value' or 'bias column,label,bias value'"
        )
    if widths == {2}:
        pairs: dict[str, list[str]] = {}
        for label, value in rows[1:]:
            pairs.setdefault(label, []).extend([value] if value else [])
        return pairs
    tables: dict[str, dict[str, list[str]]] = {}
    for column, label, value in rows[1:]:
        tables.setdefault(column, {}).setdefault(label, []).extend([value] if value else [])
    return tables
