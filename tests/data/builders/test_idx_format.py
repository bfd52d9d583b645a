"""The IDX format: valid files are decoded, all other bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biascon.data.builders.mnist_source import parse_idx
from biascon.errors import DataError
from tests.data.builders.idx_files import encode_idx


class TestParseIdx:
    @pytest.mark.parametrize("shape", [(5,), (0,), (2, 3), (4, 3, 2)])
    def test_an_idx_file_is_decoded(self, shape: tuple[int, ...]) -> None:
        array = np.arange(np.prod(shape, dtype=int), dtype=np.uint8).reshape(shape)
        decoded = parse_idx(encode_idx(array), "x")
        assert decoded.dtype == np.uint8
        assert decoded.shape == shape
        assert np.array_equal(decoded, array)

    @pytest.mark.parametrize(
        ("blob", "message"),
        [
            (b"", "starts with nothing"),
            (b"\0\0\x08", "is not an IDX file"),
            (b"PK\x03\x04", "starts with 504b0304"),
            (b"\0\0\x09\x01\0\0\0\0", "type 0x09, expected 0x08"),
            (b"\0\0\x08\x00", "no whole header"),
            (b"\0\0\x08\x02\0\0\0\x01", "no whole header"),
            (b"\0\0\x08\x01\0\0\0\x02a", "is truncated: 9 bytes, its header states 10"),
            (b"\0\0\x08\x01\0\0\0\x02abc", "is too long: 11 bytes, its header states 10"),
            (b"\0\0\x08\x03" + b"\xff" * 12, f"states {16 + (2**32 - 1) ** 3}$"),
        ],
    )
    def test_malformed_idx_bytes_are_refused(self, blob: bytes, message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            parse_idx(blob, "the-name")
        assert str(caught.value).startswith("the-name ")

    @given(st.binary(max_size=6), st.binary(max_size=40))
    def test_any_bytes_are_decoded_or_refused(self, tail: bytes, body: bytes) -> None:
        for blob in (tail, b"\0\0\x08" + tail + body):
            try:
                decoded = parse_idx(blob, "x")
            except DataError:
                continue
            assert encode_idx(decoded) == blob
