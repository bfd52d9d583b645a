"""Parquet files and Arrow IPC files (Feather) and streams, read in parts by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from biascon.auditing.reading.input_source import Format, InputSource


class ArrowRows:
    """The rows of a Parquet file, an Arrow IPC file (Feather) or an Arrow IPC stream.

    Args:
        source: The bytes of the file.

    Attributes:
        names: The names of the columns.
    """

    def __init__(self, source: InputSource) -> None:
        import pyarrow.parquet as pq

        self._source = source
        if source.format is Format.PARQUET:
            with source.open_arrow() as stream, pq.ParquetFile(stream) as file:
                self._schema = file.schema_arrow
        else:
            with source.open_arrow() as stream, self._open_ipc(stream, None) as reader:
                self._schema = reader.schema
        self.names: list[str] = list(self._schema.names)

    def batches(self, names: Sequence[str], rows: int) -> Iterator[Any]:
        """Yield batches of some columns.

        Args:
            names: The names of the columns.
            rows: The largest number of rows of a batch.
        """
        if self._source.format is Format.PARQUET:
            return self._read_parquet(names, rows)
        return self._read_ipc(names, rows)

    def _read_parquet(self, names: Sequence[str], rows: int) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        is_text = (pa.types.is_string, pa.types.is_large_string)
        types = {name: self._schema.field(name).type for name in names}
        texts = [name for name in names if any(check(types[name]) for check in is_text)]
        with (
            self._source.open_arrow() as stream,
            pq.ParquetFile(stream, read_dictionary=texts) as file,
        ):
            yield from file.iter_batches(batch_size=rows, columns=list(names))

    def _read_ipc(self, names: Sequence[str], rows: int) -> Iterator[Any]:
        # The fields are stored in the order of the file; the caller asks for them by name.
        fields = sorted(self._schema.names.index(name) for name in names)
        with self._source.open_arrow() as stream, self._open_ipc(stream, fields) as reader:
            is_file = self._source.format is Format.ARROW_FILE
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                batch.validate(full=True)  # pyarrow trusts the offsets and indices of these files
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)

    def _open_ipc(self, stream: Any, fields: list[int] | None) -> Any:
        from pyarrow import ipc

        options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        if self._source.format is Format.ARROW_FILE:
            return ipc.open_file(stream, options=options)
        return ipc.open_stream(stream, options=options)
