"""Read the two lists of CelebA, whatever form they have.

The official lists are text: the number of images, the names of the attributes, and one line per image with a
file name and values of -1 and 1. Copies of them are CSV files with commas, semicolons or tabs. They have an
index column, values of 0 and 1 or 1.0 and -1.0, a byte order mark, or no line with the number of images. The
list of partitions may have a header. The form is decided by the content of a file, not by its suffix.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from biascon.data.images.file_names import IMAGE_SUFFIXES
from biascon.errors import DataError
from biascon.utils.reading import TABLE, open_file, open_lines
from biascon.utils.text import quote_some

SEPARATORS = ",;\t"
_HEAD = 100  # rows that decide the form of a list
# Headers of a column of file names, in lower case.
_FILE_COLUMNS = frozenset(
    ("image_id", "imageid", "image", "images", "img", "file", "files", "filename", "file_name",
     "image_name", "path", "name", "id", "")
)  # fmt: skip
_VALUES = {
    text: value
    for value, texts in {
        -1: ("-1", "-1.0"),
        0: ("0", "0.0", "False", "false", "FALSE"),
        1: ("1", "1.0", "+1", "True", "true", "TRUE"),
    }.items()
    for text in texts
}
_PARTITIONS = {
    "0": 0, "0.0": 0, "train": 0, "1": 1, "1.0": 1, "val": 1, "valid": 1, "2": 2, "2.0": 2, "test": 2
}  # fmt: skip

T = TypeVar("T")
Row = tuple[int, list[str]]  # line number and cells


@dataclass(frozen=True)
class AttributeList:
    """The list of attributes.

    Attributes:
        attributes: The names of the A attributes.
        values: By file name, A bytes of 0 and 1.
    """

    attributes: Sequence[str]
    values: Mapping[str, bytes]


def read_attributes(path: Path) -> AttributeList:
    """Read the names of the attributes, and their values by file name.

    Raises:
        DataError: The list is malformed. The message names the line and the cause.
    """
    separator = _find_separator(path)
    rows = _iter_rows(path, separator)
    head = list(islice(rows, _HEAD))
    count = head.pop(0) if len(head[0][1]) == 1 and head[0][1][0].isdecimal() else None
    n_index, attributes = _parse_header(path, head, is_text=not separator)
    expected = f"expected a file name and {len(attributes)} values of -1 or 1, but got"
    values: dict[str, bytes] = {}
    texts: set[str] = set()
    for number, row in chain(head[1:], rows):
        cells = row[n_index + 1 :]
        if len(cells) != len(attributes):
            is_last = next(rows, None) is None and number >= head[-1][0]
            cause = ": the file is cut off" if is_last else ""
            raise DataError(f"{path}, line {number}: {expected} {len(cells)} values{cause}")
        if not _VALUES.keys() >= set(cells):
            k = next(k for k, text in enumerate(cells) if text not in _VALUES)
            raise DataError(f"{path}, line {number}: {expected} '{cells[k]}' for {attributes[k]}")
        _add(values, path, number, row[n_index], bytes([_VALUES[text] == 1 for text in cells]))
        texts.update(cells)
    if {-1, 0} <= {_VALUES[text] for text in texts}:
        raise DataError(
            f"{path}: expected values of -1 and 1, or of 0 and 1, but got all three: two lists are mixed"
        )
    if count is not None and int(count[1][0]) != len(values):
        raise DataError(
            f"{path}, line {count[0]}: expected the number of images, {len(values):,}, but got "
            f"{int(count[1][0]):,}: the list is cut off, or this line is that of another list"
        )
    return AttributeList(attributes, values)


def read_partition(path: Path) -> dict[str, int]:
    """Read the partition (0 train, 1 validation, 2 test) by file name.

    Raises:
        DataError: The list is malformed. The message names the line and the cause.
    """
    partition: dict[str, int] = {}
    is_first = True
    for number, row in _iter_rows(path, _find_separator(path)):
        is_header = is_first and not _is_image(row) and row[-1].lower() not in _PARTITIONS
        is_first = False
        if is_header:
            continue
        cells = row[1:] if len(row) == 3 and row[0].isdecimal() else row
        if len(cells) != 2 or cells[1].lower() not in _PARTITIONS:
            raise DataError(
                f"{path}, line {number}: expected a file name and 0, 1 or 2, but got '{' '.join(row)[:60]}'"
            )
        _add(partition, path, number, cells[0], _PARTITIONS[cells[1].lower()])
    return partition


def _add(values: dict[str, T], path: Path, number: int, name: str, value: T) -> None:
    if name in values:
        raise DataError(f"{path}, line {number}: '{name}' is listed twice")
    values[name] = value


def _parse_header(path: Path, head: Sequence[Row], *, is_text: bool) -> tuple[int, list[str]]:
    """Return the number of index columns (0 or 1) and the names of the attributes.

    Args:
        path: The list, for messages.
        head: Its first rows, from the header.
        is_text: Whether white space separates the cells.
    """
    if len(head) < 2:
        raise DataError(
            f"{path}: expected a line with the names of the attributes, and a line for each image"
        )
    number, header = head[0]
    if _is_image(header) or set(header[1:]) <= _VALUES.keys():
        raise DataError(
            f"{path}, line {number}: expected a line with the names of the attributes, but got "
            f"'{' '.join(header)[:60]}': the header is missing"
        )
    width = Counter(len(row) for _, row in head[1:]).most_common(1)[0][0]
    row = next(row for _, row in head[1:] if len(row) == width)
    n_index = int(width > 2 and row[0].isdecimal() and _is_image(row[1:]))
    n_values = width - 1 - n_index
    # The names stand above the values. The columns of files and of the index may have a name or not.
    n_other = len(header) - n_values
    file_column = header[n_other - 1].lower() if n_other > 0 else ""
    if not 0 <= n_other <= 1 + n_index or (is_text and file_column not in _FILE_COLUMNS):
        raise DataError(
            f"{path}, line {number}: expected the names of {n_values} attributes, as many as there are "
            f"values in the lines below, but got {len(header)}"
        )
    names = header[n_other:]
    repeated = sorted(name for name, n in Counter(names).items() if n > 1)
    if repeated or "" in names or not names:
        raise DataError(
            f"{path}, line {number}: expected a line with the names of the attributes, but got "
            f"{quote_some(repeated or names, 3) or 'none'}"
        )
    return n_index, names


def _is_image(row: Sequence[str]) -> bool:
    """Whether a row begins with the name of an image, after an index column or not."""
    return any(cell.lower().endswith(IMAGE_SUFFIXES) for cell in row[:2])


def _find_separator(path: Path) -> str:
    """Return the separator of a list, or "" for white space: the most frequent one in its second line.

    Raises:
        DataError: The file cannot be read, or it begins like another kind of file.
    """
    with open_file(path, TABLE) as file:
        sample = file.read(1 << 14)
    start = sample.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(
            f"{path} is a web page, not a list: the download failed; get the file again"
        )
    if b"\0" in sample or start.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise DataError(
            f"{path} is not UTF-8 text: it is packed, or in UTF-16; unpack it, or save it as UTF-8"
        )
    if not start:
        raise DataError(
            f"{path} is empty: expected a line with the names of the attributes, or of images"
        )
    lines = start.split(b"\n", 2)
    line = lines[min(1, len(lines) - 1)].decode(errors="replace") or lines[0].decode(
        errors="replace"
    )
    separator = max(SEPARATORS, key=line.count)
    return separator if separator in line else ""


def _iter_rows(path: Path, separator: str) -> Iterator[Row]:
    """Yield the rows of a list that are not empty, without empty cells at their ends.

    Raises:
        DataError: The file cannot be read, or it is no list.
    """
    with open_lines(path, TABLE) as lines:
        if not separator:
            for number, line in enumerate(lines, 1):
                if cells := line.split():
                    yield number, cells
            return
        reader = csv.reader(lines, delimiter=separator, strict=True)
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield reader.line_num, cells
