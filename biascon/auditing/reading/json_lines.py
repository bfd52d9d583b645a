"""JSON lines (one object a line), read in parts by pyarrow, or by Python where a column has several types."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from biascon.auditing.reading.input_source import HEAD_BYTES, InputSource
from biascon.data.values import MISSING_WORDS, normalize_value
from biascon.errors import DataError


class JsonLines:
    """The rows of a file of JSON lines.

    Args:
        source: The bytes of the file.

    Attributes:
        names: The names of the members of the first objects, in order.

    Raises:
        DataError: The first lines are no JSON objects.
    """

    def __init__(self, source: InputSource) -> None:
        self._source = source
        self._types: dict[str, Any] = {}
        head = source.read_head()
        end = head.rfind(b"\n") + 1
        names: dict[str, None] = {}
        if not end and len(head) == HEAD_BYTES:
            raise DataError(
                f"cannot read {source.name}: line 1 is longer than {HEAD_BYTES:,} bytes"
            )
        for _, row in self._parse_lines(head[: end or None], 1):
            names |= dict.fromkeys(row)
        self.names: list[str] = list(names)

    def batches(
        self, names: Sequence[str], scores: Sequence[str], part_bytes: int
    ) -> Iterator[Any]:
        """Yield batches of columns.

        Args:
            names: The names of the columns of values.
            scores: The names of the columns of numbers.
            part_bytes: The size of a part of the file; no line may be longer.

        Raises:
            DataError: A line is no JSON object, or too long.
        """
        line = 1
        for part in self._parts(part_bytes):
            if part.strip():
                yield from self._read_part(part, [*names, *scores], scores, line)
            line += part.count(b"\n")

    def _parts(self, part_bytes: int) -> Iterator[bytes]:
        """Yield the bytes of whole lines."""
        rest = b""
        is_first = True
        with self._source.open_text() as stream:
            while block := bytes(stream.read(part_bytes)):
                if is_first:
                    block = block.removeprefix(b"\xef\xbb\xbf")
                    is_first = False
                end = block.rfind(b"\n") + 1
                if end:
                    yield rest + block[:end]
                    rest = block[end:]
                else:
                    rest += block
                if len(rest) > 2 * part_bytes:
                    raise DataError(
                        f"cannot read {self._source.name}: a line is longer than {part_bytes:,} bytes"
                    )
        if rest:
            yield rest

    def _read_part(
        self, part: bytes, names: list[str], scores: Sequence[str], line: int
    ) -> Iterator[Any]:
        """Yield the batches of a part, with the types of the part before if they fit."""
        import pyarrow as pa

        for infer in (False, True):
            if infer or set(names) <= set(self._types):
                try:
                    table = self._read_typed(part, names, infer=infer)
                    table.validate(full=True)  # pyarrow does not check that text is UTF-8
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                    continue
                yield from table.to_batches()
                return
        yield self._read_mixed(part, names, scores, line)

    def _read_typed(self, part: bytes, names: list[str], *, infer: bool) -> Any:
        """Read a part whose columns have one type each; with ``infer``, find out the types."""
        import pyarrow as pa
        import pyarrow.json as pj

        options = pj.ReadOptions(use_threads=False, block_size=len(part) + 1)
        if infer:
            schema = pj.read_json(pa.BufferReader(part), read_options=options).schema
            types = {name: schema.field(name).type for name in names if name in schema.names}
            # pyarrow reads text such as 2026-01-31 as a time
            self._types = {
                name: pa.string() if pa.types.is_timestamp(kind) else kind
                for name, kind in (dict.fromkeys(names, pa.null()) | types).items()
            }
        schema = pa.schema([(name, self._types[name]) for name in names])
        parsing = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        table = pj.read_json(pa.BufferReader(part), read_options=options, parse_options=parsing)
        return table.select(names)

    def _read_mixed(self, part: bytes, names: list[str], scores: Sequence[str], line: int) -> Any:
        """Read a part with Python: a column may have several types, and an error names its line."""
        import pyarrow as pa

        columns: dict[str, list[Any]] = {name: [] for name in names}
        for number, row in self._parse_lines(part, line):
            for name in names:
                value = row.get(name)
                try:
                    columns[name].append(_number(value) if name in scores else _text(value))
                except (DataError, ValueError, TypeError) as error:
                    raise DataError(
                        f"{self._source.name}, line {number:,}: column '{name}' cannot be read: {error}"
                    ) from error
        types = {name: pa.float64() if name in scores else pa.string() for name in names}
        arrays = [pa.array(columns[name], types[name]) for name in names]
        return pa.RecordBatch.from_arrays(arrays, names)

    def _parse_lines(self, part: bytes, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the numbers and the objects of lines.

        Raises:
            DataError: A line is no JSON object.
            UnicodeError: A line is not UTF-8 text.
        """
        for number, line in enumerate(part.split(b"\n"), start=first):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except UnicodeError:
                raise
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"cannot read {self._source.name}: line {number:,} is no JSON ({error}); expected one "
                    "object a line"
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f"cannot read {self._source.name}: expected one JSON object a line, but line {number:,} "
                    f"is a {type(row).__name__}"
                )
            yield number, row


def _text(value: Any) -> str | None:
    """Return a value as text; the words for missing values stay as they are."""
    return normalize_value(value, MISSING_WORDS)


def _number(value: Any) -> float | None:
    """Return a number.

    Raises:
        ValueError: The value is text that is no number.
        TypeError: The value is a list or an object.
    """
    return None if value is None or value in MISSING_WORDS else float(value)
