"""Read a CSV file of image files, labels and bias attributes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from biascon.data.builders.table_rows import ImageTable, SourceRow, TableSpec, select_rows
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.files import sha256_file
from biascon.utils.reading import TABLE, open_lines
from biascon.utils.text import join_first, shorten


def read_csv_table(path: Path, spec: TableSpec) -> ImageTable:
    """Read the columns of a CSV file that a spec names; leave out rows that lack one of their values.

    Raises:
        DataError: The file is unreadable or no CSV with a header, a row has another number of values, or
            an image is listed twice.
        UsageError: A column does not exist, or a value of the settings does not occur.
    """
    rows = read_csv_rows(path, spec.image, spec.columns)
    return select_rows(rows, spec, where=str(path), sha256={"table": sha256_file(path)})


def read_csv_rows(path: Path, image: str, columns: Sequence[str]) -> list[SourceRow]:
    """Read the rows of a CSV file.

    Args:
        path: The file.
        image: The column of files.
        columns: The other columns, in the order of ``SourceRow.texts``.

    Raises:
        DataError: The file is unreadable or no CSV with a header, or a row has another number of values.
        UsageError: A column does not exist.
    """
    rows: list[SourceRow] = []
    with open_lines(path, TABLE) as lines:
        reader = csv.reader(lines, strict=True)
        header = [name.strip() for name in next(reader, [])]
        positions = _locate_columns(path, header, [image, *columns])
        for number, row in enumerate(reader):
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: expected {len(header)} values, but got {len(row)}"
                )
            name, *texts = (row[position] for position in positions)
            rows.append(SourceRow(name.strip(), number, texts))
    return rows


def _locate_columns(path: Path, header: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the position of each column in the header."""
    for name in names:
        if header.count(name) > 1:
            raise UsageError(f"{path} has more than one column '{shorten(name)}'")
        if name not in header:
            shown = [shorten(column) for column in header]
            hint = did_you_mean(name, shown)
            raise UsageError(
                f"{path} has no column '{shorten(name)}'{hint} (it has: {join_first(shown, 20)})"
            )
    return [header.index(name) for name in names]
