"""CSV files, read in parts by pyarrow, with a check of their quotes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from biascon.auditing.reading.csv_dialect import Dialect, recognize_dialect
from biascon.auditing.reading.csv_quotes import QuoteChecker, QuoteError
from biascon.auditing.reading.input_source import InputSource
from biascon.data.values import MISSING_WORDS
from biascon.errors import DataError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The message of pyarrow, with the position of the column in the file, from 0.
_NO_NUMBER = re.compile(
    r"In CSV column #(\d+): .* conversion error .*invalid value '(.*)'", re.DOTALL
)
_COUNT_BYTES = 1 << 22


class CsvRows:
    """The rows of a CSV file with a header.

    Args:
        source: The bytes of the file.
        wanted: The names of the columns that will be read, for the recognition of the delimiter.
        delimiter: The delimiter, None to recognize it.
        decimal: The decimal mark, None to recognize it.

    Attributes:
        dialect: The delimiter, the decimal mark and the names of the columns.

    Raises:
        DataError: The header is missing or no CSV.
    """

    def __init__(
        self, source: InputSource, wanted: Sequence[str], delimiter: str | None, decimal: str | None
    ) -> None:
        self._source = source
        head = source.read_head()
        try:
            self.dialect: Dialect = recognize_dialect(
                head.decode(errors="surrogateescape"), wanted, delimiter, decimal
            )
        except csv.Error as error:
            raise DataError(f"cannot read {source.name}: its header is no CSV ({error})") from error
        if not self.dialect.names:
            raise DataError(f"cannot read {source.name}: it is empty")
        for name in self.dialect.names:
            name.encode()

    def batches(
        self, names: Sequence[str], scores: Sequence[str], part_bytes: int
    ) -> Iterator[Any]:
        """Yield batches of columns of text and of columns of numbers.

        Raises:
            DataError: A quote is not closed, or a value of a column of numbers is none.
        """
        checker = QuoteChecker(self.dialect.delimiter)
        try:
            with self._source.open_text() as stream:
                yield from self._read(_CheckedStream(stream, checker), names, scores, part_bytes)
        except QuoteError as error:
            raise DataError(self._describe(error)) from error
        except Exception as error:
            # A row that is longer than a part: pyarrow stops before the end of the file.
            message = self._describe_number(str(error))
            if message:
                raise DataError(message) from error
            if "straddling" in str(error) and checker.opened is not None:
                raise DataError(self._describe(QuoteError(checker.opened))) from error
            raise

    def _read(
        self, stream: _CheckedStream, names: Sequence[str], scores: Sequence[str], part_bytes: int
    ) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.csv as pc

        text = pa.dictionary(pa.int32(), pa.string())
        with pc.open_csv(
            stream,
            read_options=pc.ReadOptions(block_size=part_bytes),
            parse_options=pc.ParseOptions(
                delimiter=self.dialect.delimiter, newlines_in_values=True
            ),
            convert_options=pc.ConvertOptions(
                include_columns=[*names, *scores],
                column_types=dict.fromkeys(names, text) | dict.fromkeys(scores, pa.float64()),
                null_values=sorted(MISSING_WORDS),
                decimal_point=self.dialect.decimal,
            ),
        ) as reader:
            yield from reader

    def _describe_number(self, error: str) -> str | None:
        """Return the message for a value that is no number, None for another error of pyarrow."""
        match = _NO_NUMBER.search(error)
        if match is None:
            return None
        column, value = self.dialect.names[int(match[1])], match[2]
        hint = ""
        if "," in value and self.dialect.decimal == "." and self.dialect.delimiter != ",":
            hint = "; is the decimal mark a comma? --decimal , (decimal=',')"
        elif "." in value and self.dialect.decimal == ",":
            hint = "; is the decimal mark a point? --decimal . (decimal='.')"
        return (
            f"cannot read {self._source.name}: expected numbers in column '{column}', but got "
            f"'{value[:100]}'{hint}"
        )

    def _describe(self, error: QuoteError) -> str:
        """Return the message for a wrong quote, with the numbers of its lines."""
        opened = self._line(error.opened)
        prefix = f"cannot read {self._source.name}: "
        way_out = 'write a quote inside of a quoted value as "", or remove it'
        if error.closed is None:
            return f"{prefix}the quote that opens in line {opened:,} is never closed; {way_out}"
        closed = self._line(error.closed)
        place = f"line {opened:,}" if closed == opened else f"lines {opened:,} to {closed:,}"
        return (
            f"{prefix}expected the end of the quoted value in {place}, but got {error.text!r} after its "
            f"closing quote: a quote is not closed, or too many; {way_out}"
        )

    def _line(self, position: int) -> int:
        """Return the line of a byte, from 1. The file is read again up to it."""
        n_lines = n_returns = 0
        with self._source.open_text() as stream:
            rest = position + (len(_BYTE_ORDER_MARK) if self._has_mark() else 0)
            while rest > 0 and (part := bytes(stream.read(min(rest, _COUNT_BYTES)))):
                n_lines += part.count(b"\n")
                n_returns += part.count(b"\r")
                rest -= len(part)
        return 1 + (n_lines or n_returns)

    def _has_mark(self) -> bool:
        with self._source.open_text() as stream:
            return bytes(stream.read(3)) == _BYTE_ORDER_MARK


class _CheckedStream(io.RawIOBase):
    """A stream without byte order mark, whose quotes are checked as it is read."""

    def __init__(self, stream: Any, checker: QuoteChecker) -> None:
        self._stream = stream
        self._checker = checker
        self._is_first = True

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            QuoteError: A quote is wrong; at the end of the file also, if one is not closed.
        """
        part = bytes(self._stream.read(size))
        if self._is_first and part:
            self._is_first = False
            part = part.removeprefix(_BYTE_ORDER_MARK)
        if part:
            self._checker.feed(part)
        else:
            self._checker.finish()
        return part
