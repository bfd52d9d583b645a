"""Prediction files, read in parts: CSV, JSON lines, Parquet or Arrow, recognized by their first bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biascon.auditing.reading.arrow_rows import ArrowRows
from biascon.auditing.reading.csv_dialect import check_decimal, check_delimiter
from biascon.auditing.reading.csv_rows import CsvRows
from biascon.auditing.reading.input_source import Format, InputSource
from biascon.auditing.reading.json_lines import JsonLines
from biascon.auditing.reading.reading_errors import convert_errors
from biascon.data.values import MISSING_WORDS, CodedColumn, check_keep_words, code_values
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.text import quote_some
from biascon.utils.types import Array

PART_BYTES = 1 << 23  # of a part of a text file
PART_ROWS = 1 << 20  # of a part of a Parquet or Arrow file


class PredictionFile:
    """A table of predictions in a file.

    Args:
        path: A CSV with a header or JSON lines, in UTF-8, plain or compressed (gzip, bz2, zstd); a Parquet
            file; an Arrow IPC file (Feather) or stream; ``-`` for standard input.
        wanted: The names of the columns that will be read. The delimiter of a CSV is recognized by them.
        delimiter: The delimiter of a CSV, as itself or ``tab``; None to recognize it from the header.
        decimal: The decimal mark of a CSV, ``.`` or ``,``; None to recognize it from the first rows.
        keep_words: Words for missing values that are values here; see ``normalize_value``.

    Attributes:
        name: What messages call the file.
        columns: The names of the columns.
        notes: How the file was read, if not as CSV with commas and points.

    Raises:
        DataError: The file is missing, a folder, or of another format.
        UsageError: The delimiter, the decimal mark or a word is not allowed.
    """

    def __init__(
        self,
        path: Path,
        *,
        wanted: Sequence[str] = (),
        delimiter: str | None = None,
        decimal: str | None = None,
        keep_words: Collection[str] = (),
    ) -> None:
        mark = check_delimiter(delimiter)
        check_decimal(decimal, mark)
        self._keep_words = check_keep_words(keep_words)
        self.source = InputSource(path)
        self.name = self.source.name
        self.notes: list[str] = []
        if self.source.format is not Format.CSV and (delimiter or decimal):
            raise UsageError(
                f"expected a delimiter and a decimal mark for CSV only, but {self.name} is "
                f"{self.source.format.value}"
            )
        self._rows: CsvRows | JsonLines | ArrowRows
        with convert_errors(self.name):
            if self.source.format is Format.CSV:
                self._rows = CsvRows(self.source, wanted, mark, decimal)
                self.columns = self._rows.dialect.names
                self.notes += [note] if (note := self._rows.dialect.note) else []
            elif self.source.format is Format.JSON_LINES:
                self._rows = JsonLines(self.source)
                self.columns = self._rows.names
            else:
                self._rows = ArrowRows(self.source)
                self.columns = self._rows.names

    def require(self, wanted: Sequence[str]) -> None:
        """Check that the file has the wanted columns, each once.

        Raises:
            DataError: Columns are missing (the message names all of them, with similar names), or there are
                several columns of one name.
        """
        stripped = {name.strip() for name in self.columns}
        absent = [name for name in dict.fromkeys(wanted) if name not in self.columns]
        missing = [
            f"'{name}'{'' if name in stripped else did_you_mean(name, self.columns)}"
            for name in absent
        ]
        if missing:
            hint = ""
            if len(self.columns) == 1 and isinstance(self._rows, CsvRows):
                hint = "; --delimiter (delimiter=) sets the delimiter of a CSV"
            elif stripped & set(absent):
                hint = (
                    "; names in the header have blanks around them: remove them (pandas: rows.columns = "
                    "rows.columns.str.strip()), or give the names with the blanks"
                )
            raise DataError(
                f"{self.name} lacks column{'s' * (len(missing) > 1)} {', '.join(missing)} "
                f"(it has {quote_some(self.columns, 20)}){hint}"
            )
        repeated = [name for name in dict.fromkeys(wanted) if self.columns.count(name) > 1]
        if repeated:
            raise DataError(f"{self.name} has more than one column named {quote_some(repeated)}")

    def parts(
        self, names: Sequence[str], *, part_bytes: int = PART_BYTES, part_rows: int = PART_ROWS
    ) -> Iterator[list[CodedColumn]]:
        """Yield columns of values, one part of the rows at a time; see ``scored_parts``."""
        for columns, _ in self.scored_parts(names, [], part_bytes=part_bytes, part_rows=part_rows):
            yield columns

    def scored_parts(
        self,
        names: Sequence[str],
        scores: Sequence[str],
        *,
        part_bytes: int = PART_BYTES,
        part_rows: int = PART_ROWS,
    ) -> Iterator[tuple[list[CodedColumn], Array]]:
        """Yield columns of values and scores float64 ``(N, S)``, one part of the rows at a time.

        Args:
            names: The names of the columns of values.
            scores: The names of the S columns of scores. A missing score is NaN.
            part_bytes: The size of a part of a text file.
            part_rows: The rows of a part of a Parquet or Arrow file.

        Raises:
            DataError: A column is missing, or the file is damaged.
        """
        self.require([*names, *scores])
        with convert_errors(self.name):
            for batch in self._batches(names, scores, part_bytes, part_rows):
                matrix = np.empty((batch.num_rows, len(scores)))
                for k, name in enumerate(scores):
                    matrix[:, k] = self._read_scores(name, batch.column(name))
                yield [self._code_values(name, batch.column(name)) for name in names], matrix

    def _batches(
        self, names: Sequence[str], scores: Sequence[str], part_bytes: int, part_rows: int
    ) -> Iterator[Any]:
        if isinstance(self._rows, ArrowRows):
            rows = max(1, part_rows // max(1, len(scores)))
            return self._rows.batches([*names, *scores], rows)
        return self._rows.batches(names, scores, part_bytes)

    def _read_scores(self, name: str, array: Any) -> Array:
        """Return a column of scores as float64 ``(N,)``, NaN for a missing score.

        Raises:
            DataError: The column holds other values than numbers.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            if pa.types.is_dictionary(array.type):
                array = array.cast(array.type.value_type)
            if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
                text = pc.utf8_trim_whitespace(array)
                words = pa.array(sorted(MISSING_WORDS), text.type)
                array = pc.if_else(
                    pc.is_in(text, value_set=words), pa.scalar(None, text.type), text
                )
            numbers: Array = array.cast("float64", safe=False).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"{self.name}: expected numbers in the score column '{name}', but its type is {array.type} "
                f"({error})"
            ) from error
        return numbers

    def _code_values(self, name: str, array: Any) -> CodedColumn:
        import pyarrow as pa

        try:
            if not pa.types.is_dictionary(array.type):
                array = array.dictionary_encode()
            codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            values = array.dictionary.to_pylist()
            if len(codes) and not -1 <= codes.min() <= codes.max() < len(values):
                raise DataError("the file is damaged (a value is not in its dictionary)")
            if isinstance(self._rows, CsvRows) and self._rows.dialect.decimal == ",":
                values = [self._rows.dialect.normalize_number(value) for value in values]
            return code_values(codes, values, self._keep_words)
        except (DataError, NotImplementedError) as error:
            # pyarrow has no dictionary of lists and structures
            is_nested = isinstance(error, NotImplementedError)
            reason = f"its type is {array.type}" if is_nested else str(error)
            raise DataError(f"{self.name}: column '{name}' cannot be counted: {reason}") from error
