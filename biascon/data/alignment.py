"""Which cells are bias-aligned: what is known of it, and what the report says about that."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data.values import normalize_value
from biascon.errors import AlignmentError, DataError, did_you_mean
from biascon.utils.files import read_json
from biascon.utils.text import quote_some

Pairs = dict[str, frozenset[str]]  # a label's value -> the bias values that go with it
AlignedValues = Mapping[Any, Any]  # as a user writes it: one mapping, or one for each bias column


@dataclass(frozen=True)
class Alignment:
    """Which cells of a table are aligned.

    Attributes:
        cells: bool ``(K, M)``, or None where it is not known.
        rule: Where that is from, in words.
        notes: What of the given mapping does not occur.
    """

    cells: npt.NDArray[np.bool_] | None
    source: str
    notes: tuple[str, ...] = ()


def align_cells(
    bias: str,
    classes: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    given: AlignedValues | None,
    *,
    several: bool,
) -> Alignment:
    """Return the aligned cells of one bias column (or product of columns).

    Cells are aligned where a mapping says so; without one where label = bias, if the label column and the
    bias column have the same values.

    Args:
        bias: The name of the column, or of the product: ``"a x b"``.
        classes: The K values of label and prediction.
        labels: The values of the label alone.
        groups: The M values of the bias.
        given: ``{label: bias value or values}``, or ``{bias name: {label: ...}}``.
        several: Whether there is more than one bias column, so that a plain mapping is ambiguous.

    Raises:
        AlignmentError: The mapping leaves a label out, or is one mapping for several bias columns.
    """
    pairs = _pairs_for(bias, given, several=several)
    if pairs is None:
        if set(labels) != set(groups):
            return Alignment(None, "not known: label and bias have different values")
        cells = np.array([[k == m for m in groups] for k in classes])
        return Alignment(cells, "label = bias, since both have the same values")
    left_out = [label for label in labels if label not in pairs]
    if left_out:
        hints = "".join(did_you_mean(label, pairs) for label in left_out[:1])
        raise AlignmentError(
            f"the aligned values of '{bias}' leave out label {quote_some(left_out)}{hints}; an empty list "
            "says that no value goes with a label"
        )
    notes = []
    strange = [label for label in pairs if label not in classes]
    if strange:
        notes.append(
            f"aligned values are given for label {quote_some(strange)}, which does not occur"
        )
    told = dict.fromkeys(value for label in labels for value in sorted(pairs[label]))
    strange = [value for value in told if value not in groups]
    if strange:
        hint = did_you_mean(strange[0], groups)
        notes.append(
            f"aligned values of '{bias}' name {quote_some(strange)}, which does not occur{hint}"
        )
    cells = np.array([[m in pairs.get(k, frozenset()) for m in groups] for k in classes])
    return Alignment(cells, "as given", tuple(notes))


def _pairs_for(bias: str, given: AlignedValues | None, *, several: bool) -> Pairs | None:
    if given is None:
        return None
    if not any(isinstance(value, Mapping) for value in given.values()):
        if several:
            raise AlignmentError(
                "expected aligned values for each bias column, as {column: {label: value}}, but got one "
                "mapping for several bias columns"
            )
        return _pairs(given)
    return _pairs(given[bias]) if bias in given else None


def check_aligned_values(given: AlignedValues | None, names: Sequence[str]) -> None:
    """Check that a mapping is a plain one, or names columns that there are.

    Raises:
        AlignmentError: It is a mixture, or names another column.
    """
    nested = [isinstance(value, Mapping) for value in ({} if given is None else given).values()]
    if given is None or not any(nested):
        return
    if not all(nested):
        raise AlignmentError(
            "expected aligned values as {label: value} or as {column: {label: value}}, but got a mixture"
        )
    strange = [str(name) for name in given if name not in names]
    if strange:
        raise AlignmentError(
            f"aligned values are given for {quote_some(strange)}, which is no bias column"
            f"{did_you_mean(strange[0], names)} (there is {quote_some(dict.fromkeys(names))})"
        )


def _pairs(given: Mapping[Any, Any]) -> Pairs:
    pairs: dict[str, set[str]] = {}
    for label, values in given.items():
        listed = list(values) if isinstance(values, list | tuple | set | frozenset) else [values]
        texts = [normalize_value(value) for value in [label, *listed]]
        if None in texts:
            raise AlignmentError(
                f"expected aligned values, but got a missing one for label '{label}'"
            )
        first, *others = (text for text in texts if text is not None)
        pairs.setdefault(first, set()).update(others)
    return {label: frozenset(values) for label, values in pairs.items()}


def read_aligned_values(path: Path) -> AlignedValues:
    """Read aligned values: TOML or JSON ``label = value or values``, or a CSV of pairs.

    TOML and JSON may have a table for each bias column. A CSV has a header and two columns, label and bias
    value; or three, the first of which is the bias column.

    Raises:
        DataError: The file is missing or not of these forms.
    """
    kind = path.suffix.lower()
    if kind == ".json":
        found = read_json(path)
        if not isinstance(found, dict):
            raise DataError(f"{path}: expected an object {{label: value or values}}")
        return found
    if kind not in (".toml", ".csv"):
        raise DataError(f"{path}: expected a .toml, .json or .csv file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: it is not UTF-8 text") from error
    if kind == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise DataError(f"{path} is not valid TOML ({error})") from error
    return _from_csv(path, text)


def _from_csv(path: Path, text: str) -> AlignedValues:
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
