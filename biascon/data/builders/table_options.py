"""Parse options of ``make-table``: aligned values, splits, values to leave out or to rename."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biascon.data.alignment import AlignedValues, read_aligned_values
from biascon.data.builders.table_rows import LEFT_OUT
from biascon.data.manifest import SPLITS
from biascon.data.values import normalize_value
from biascon.errors import UsageError

_LEAVE_OUT_WORDS = ("", "none")  # right sides of --split-map


def parse_split_map(words: Sequence[str]) -> dict[str, str]:
    """Parse ``value=split`` words; an empty split or ``none`` leaves the rows out.

    >>> parse_split_map(["0=train", "id_val=val", "ood_test="])
    {'0': 'train', 'id_val': 'val', 'ood_test': ''}

    Raises:
        UsageError: A word has another form or another split, or a value has two splits.
    """
    splits: dict[str, str] = {}
    for word in words:
        value, equals, split = (part.strip() for part in word.rpartition("="))
        if not value or not equals or split not in (*SPLITS, *_LEAVE_OUT_WORDS):
            raise UsageError(
                "expected --split-map value=train, value=val or value=test, or 'value=' to leave its rows "
                f"out, but got '{word}'"
            )
        _add(splits, value, LEFT_OUT if split in _LEAVE_OUT_WORDS else split, word)
    return splits


def parse_leave_out(words: Sequence[str]) -> dict[str, list[str | None]]:
    """Parse ``column=value`` words; without a value, the rows that lack one are left out.

    >>> parse_leave_out(["y=3", "y=4.0", "place="])
    {'y': ['3', '4'], 'place': [None]}

    Raises:
        UsageError: A word has another form.
    """
    values: dict[str, list[str | None]] = {}
    for word in words:
        column, equals, value = (part.strip() for part in word.partition("="))
        if not column or not equals:
            raise UsageError(f"expected --leave-out column=value, but got '{word}'")
        values.setdefault(column, []).append(normalize_value(value) if value else None)
    return values


def parse_rename(words: Sequence[str]) -> dict[str, dict[str, str]]:
    """Parse ``column:old=new`` words.

    >>> parse_rename(["y:0=landbird", "y:1=waterbird"])
    {'y': {'0': 'landbird', '1': 'waterbird'}}

    Raises:
        UsageError: A word has another form, or a value has two new names.
    """
    names: dict[str, dict[str, str]] = {}
    for word in words:
        column, colon, rest = (part.strip() for part in word.partition(":"))
        old, equals, new = (part.strip() for part in rest.partition("="))
        if not (column and colon and old and equals and new):
            raise UsageError(f"expected --rename column:old=new, but got '{word}'")
        _add(names.setdefault(column, {}), old, new, word)
    return names


def _add(values: dict[str, str], key: str, value: str, word: str) -> None:
    """Add an entry; the value of ``key`` is normalized like the values of a table."""
    key = normalize_value(key) or key
    if values.setdefault(key, value) != value:
        raise UsageError(f"'{word}' contradicts an earlier option for '{key}'")


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
