"""Prediction files, read in parts: CSV (also compressed) or Parquet, recognized by their first bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data.values import CodedColumn, normalize_value
from biascon.errors import DataError, did_you_mean
from biascon.utils.text import quote_some
from biascon.utils.types import Array

PART_BYTES = 1 << 23  # of a part of a CSV file
PART_ROWS = 1 << 20  # of a part of a Parquet file

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_PARQUET = b"PAR1"
_UNSUPPORTED = {
    b"PK\x03\x04": "a zip archive (an Excel sheet, perhaps)",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"ARROW1": "an Arrow file",
    b"\x89HDF": "an HDF5 file",
    b"\xfd7zXZ": "xz-compressed",
}


class PredictionFile:
    """A table of predictions in a file.

    Args:
        path: A CSV with a header, in UTF-8, plain or compressed (gzip, bz2, zstd); or a Parquet file.

    Attributes:
        columns: The names of the columns.
        is_parquet: Whether the file is a Parquet file.

    Raises:
        DataError: The file is missing, a folder, or neither CSV nor Parquet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise DataError(f"cannot read {path}: it is a folder; expected a CSV or Parquet file")
        if path.exists() and not path.is_file():
            raise DataError(
                f"cannot read {path}: expected a file, which is read twice, but got a stream"
            )
        try:
            with path.open("rb") as file:
                start = file.read(8)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        for magic, kind in _UNSUPPORTED.items():
            if start.startswith(magic):
                raise DataError(
                    f"cannot read {path}: expected CSV in UTF-8 or Parquet, but it is {kind}"
                )
        if not start:
            raise DataError(f"cannot read {path}: it is empty")
        self.is_parquet = start.startswith(_PARQUET)
        self._codec = next((c for m, c in _COMPRESSED.items() if start.startswith(m)), None)
        with self._convert_errors():
            self.columns: list[str] = (
                self._read_parquet_names() if self.is_parquet else self._read_csv_names()
            )

    def require(self, wanted: Sequence[str]) -> None:
        """Check that the file has the wanted columns, each once.

        Raises:
            DataError: Columns are missing (the message names all of them, with similar names), or there are
                several columns of one name.
        """
        missing = [
            f"'{name}'{did_you_mean(name, self.columns)}"
            for name in dict.fromkeys(wanted)
            if name not in self.columns
        ]
        if missing:
            hint = ""
            if len(self.columns) == 1 and any(mark in self.columns[0] for mark in ";\t|"):
                hint = "; a CSV is separated by commas"
            raise DataError(
                f"{self.path} lacks column{'s' * (len(missing) > 1)} {', '.join(missing)} "
                f"(it has {quote_some(self.columns, 20)}){hint}"
            )
        repeated = [name for name in dict.fromkeys(wanted) if self.columns.count(name) > 1]
        if repeated:
            raise DataError(f"{self.path} has more than one column named {quote_some(repeated)}")

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
            part_bytes: The size of a part of a CSV file.
            part_rows: The rows of a part of a Parquet file.

        Raises:
            DataError: A column is missing, or the file is damaged.
        """
        self.require([*names, *scores])
        part_rows = max(1, part_rows // max(1, len(scores)))
        with self._convert_errors():
            batches = (
                self._read_parquet([*names, *scores], part_rows)
                if self.is_parquet
                else self._read_csv(names, scores, part_bytes)
            )
            for batch in batches:
                matrix = np.empty((batch.num_rows, len(scores)))
                for k, name in enumerate(scores):
                    column = batch.column(name).cast("float64", safe=False)
                    matrix[:, k] = column.to_numpy(zero_copy_only=False)
                yield [self._code_values(name, batch.column(name)) for name in names], matrix

    def _code_values(self, name: str, array: Any) -> CodedColumn:
        import pyarrow as pa

        try:
            if not pa.types.is_dictionary(array.type):
                array = array.dictionary_encode()
            codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            texts = [normalize_value(value) for value in array.dictionary.to_pylist()]
        except (DataError, NotImplementedError) as error:
            # pyarrow has no dictionary of lists and structures
            is_nested = isinstance(error, NotImplementedError)
            reason = f"its type is {array.type}" if is_nested else str(error)
            raise DataError(f"{self.path}: column '{name}' cannot be counted: {reason}") from error
        return CodedColumn(codes, texts)

    def _read_parquet_names(self) -> list[str]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            names: list[str] = file.schema_arrow.names
        return names

    def _read_parquet(self, names: list[str], rows: int) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            schema = file.schema_arrow
        is_text = (pa.types.is_string, pa.types.is_large_string)
        texts = [name for name in names if any(check(schema.field(name).type) for check in is_text)]
        with pq.ParquetFile(self.path, read_dictionary=texts) as file:
            yield from file.iter_batches(batch_size=rows, columns=names)

    def _read_csv_names(self) -> list[str]:
        import csv
        import io

        with self._stream() as stream:
            start = stream.read(1 << 20)
        if b"\0" in start:
            raise DataError(
                f"cannot read {self.path}: expected CSV in UTF-8 or Parquet, but got binary data"
            )
        text = start.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").lstrip("\r\n")
        try:
            names = next(csv.reader(io.StringIO(text, newline="")), [])
        except csv.Error as error:
            raise DataError(f"cannot read {self.path}: its header is no CSV ({error})") from error
        if not names:
            raise DataError(f"cannot read {self.path}: it is empty")
        for name in names:
            name.encode()
        return names

    def _read_csv(
        self, names: Sequence[str], scores: Sequence[str], part_bytes: int
    ) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.csv as pc

        text = pa.dictionary(pa.int32(), pa.string())
        with (
            self._stream() as stream,
            pc.open_csv(
                stream,
                read_options=pc.ReadOptions(block_size=part_bytes),
                parse_options=pc.ParseOptions(newlines_in_values=True),
                convert_options=pc.ConvertOptions(
                    include_columns=[*names, *scores],
                    column_types=dict.fromkeys(names, text) | dict.fromkeys(scores, pa.float64()),
                    strings_can_be_null=True,
                ),
            ) as reader,
        ):
            yield from reader

    def _stream(self) -> Any:
        import pyarrow as pa

        return pa.input_stream(str(self.path), compression=self._codec)

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert pyarrow's error about a damaged file to one line that names the file."""
        import pyarrow as pa

        try:
            yield
        except UnicodeError as error:
            raise DataError(f"cannot read {self.path}: it is not UTF-8 text") from error
        except (pa.ArrowException, OSError) as error:
            # pyarrow raises the same class for all of these, so only its message tells them apart.
            message = " ".join(str(error).split())
            if "invalid UTF8" in message:
                message = f"it is not UTF-8 text ({message})"
            elif "Empty CSV" in message:
                message = "it has no rows"
            elif "straddling" in message:
                message = f"a row is longer than {PART_BYTES >> 20} MiB; is a quote not closed?"
            raise DataError(f"cannot read {self.path}: {message[:300]}") from error
