"""Atomic writes, folders that appear complete, digests and JSON."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biascon.errors import BiasconError, DataError
from biascon.utils.files import (
    canonical_json,
    digest_of,
    os_error,
    pretty_json,
    read_json,
    sha256_file,
    write_atomic,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWriteAtomic:
    @pytest.mark.parametrize(
        ("data", "blob"), [(b"\0\xff", b"\0\xff"), ("é\n", b"\xc3\xa9\n"), (b"", b"")]
    )
    def test_writes_bytes_and_text(self, tmp_path: Path, data: bytes | str, blob: bytes) -> None:
        write_atomic(tmp_path / "a", data)
        assert (tmp_path / "a").read_bytes() == blob
        assert names(tmp_path) == ["a"]

    def test_a_reader_sees_the_old_bytes_until_all_new_ones_are_flushed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a"
        path.write_text("old")
        seen = []

        def flush(handle: int) -> None:
            status = os.fstat(handle)
            size = status.st_size if stat.S_ISREG(status.st_mode) else "folder"
            seen.append((path.read_text(), size))

        monkeypatch.setattr(os, "fsync", flush)
        write_atomic(path, "the new")
        assert seen == [("old", 7), ("the new", "folder")]
        assert path.read_text() == "the new"

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    def test_a_full_disk_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        path = tmp_path / "a"
        path.write_text("old")

        def refuse(handle: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(BiasconError) as caught:
            write_atomic(path, "new")
        assert str(caught.value) == f"cannot write {path}: {os.strerror(code)}"
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a"]

    def test_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BiasconError, match=r"cannot write .*: No such file or directory"):
            write_atomic(tmp_path / "nowhere" / "a", "new")
        assert names(tmp_path) == []

    def test_folder_at_the_path_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(BiasconError, match=r"cannot write .*a: "):
            write_atomic(tmp_path / "a", "new")
        assert names(tmp_path) == ["a"]


class TestDigests:
    def test_sha256_equals_the_known_digest(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"abc")
        assert sha256_file(tmp_path / "a") == (
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
        with pytest.raises(BiasconError, match=r"cannot read .*nowhere: No such file"):
            sha256_file(tmp_path / "nowhere")

    def test_canonical_json_sorts_keys_without_spaces(self) -> None:
        assert canonical_json({"b": [1, 2.5, None], "a": {"d": True, "c": "é"}}) == (
            '{"a":{"c":"\\u00e9","d":true},"b":[1,2.5,null]}'
        )
        assert digest_of({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()

    @given(st.dictionaries(st.text(), JSON, max_size=6), st.randoms())
    def test_digest_does_not_depend_on_the_order_of_keys(
        self, value: dict[str, Any], rng: random.Random
    ) -> None:
        items = list(value.items())
        rng.shuffle(items)
        assert digest_of(dict(items)) == digest_of(value)

    @given(JSON, JSON)
    def test_digests_of_different_values_differ(self, one: Any, other: Any) -> None:
        same = canonical_json(one) == canonical_json(other)
        assert (digest_of(one) == digest_of(other)) == same

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_values_outside_json_are_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json([value])
        with pytest.raises(ValueError, match="not JSON compliant"):
            pretty_json([value])

    @given(JSON)
    def test_canonical_and_pretty_json_hold_the_same_value(self, value: Any) -> None:
        import json

        assert json.loads(canonical_json(value)) == json.loads(pretty_json(value)) == value
        assert "\n" not in canonical_json(value)
        assert pretty_json(value).endswith("\n")


class TestReadJson:
    def test_valid_json_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text('{"é": [1]}', encoding="utf-8")
        assert read_json(tmp_path / "a") == {"é": [1]}

    @pytest.mark.parametrize("blob", [b"", b"{", b"\xff\xfe", b"{} {}"])
    def test_invalid_json_is_refused(self, tmp_path: Path, blob: bytes) -> None:
        (tmp_path / "a").write_bytes(blob)
        with pytest.raises(DataError, match="a is not valid JSON"):
            read_json(tmp_path / "a")

    def test_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"cannot read .*nowhere: No such file"):
            read_json(tmp_path / "nowhere")


def test_os_error_names_action_path_and_reason() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "elsewhere")
    assert str(os_error(error, "write", "place")) == "cannot write place: Permission denied"
    assert str(os_error(OSError("odd"), "read", Path("place"))) == "cannot read place: odd"
