"""Atomic writes, folders that appear complete, digests and JSON."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biascon.errors import BiasconError, DataError
from biascon.utils.files import (
    canonical_json,
    digest_of,
    new_folder,
    os_error,
    pretty_json,
    read_json,
    sha256_file,
    write_atomic,
)

NOBODY = 99_999_999  # above every process number
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
            seen.append((path.read_text(), os.fstat(handle).st_size))

        monkeypatch.setattr(os, "fsync", flush)
        write_atomic(path, "the new")
        assert seen == [("old", 7)]
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


class TestNewFolder:
    def test_folder_appears_when_the_block_ends(self, tmp_path: Path) -> None:
        target = tmp_path / "made" / "for" / "it"
        with new_folder(target) as work:
            (work / "a").write_text("1")
            assert not target.exists()
            assert work.parent == target.parent
        assert (target / "a").read_text() == "1"
        assert names(target.parent) == ["it"]

    @pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
    def test_a_block_that_fails_leaves_nothing(self, tmp_path: Path, error: BaseException) -> None:
        with pytest.raises(type(error)), new_folder(tmp_path / "x") as work:
            (work / "a").write_text("1")
            raise error
        assert names(tmp_path) == []

    def test_failed_write_gives_an_error_of_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(BiasconError) as caught, new_folder(tmp_path / "x"):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert str(caught.value) == f"cannot write {tmp_path / 'x'}: No space left on device"
        assert names(tmp_path) == []

    def test_file_in_place_of_the_parent_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with (
            pytest.raises(BiasconError, match=r"cannot create a folder in .*file"),
            new_folder(tmp_path / "file" / "x"),
        ):
            pytest.fail("the block ran")

    def test_an_existing_folder_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "old").touch()
        with pytest.raises(BiasconError, match="x exists already; pass --force"):  # noqa: SIM117
            with new_folder(tmp_path / "x") as work:
                (work / "new").touch()
        assert names(tmp_path) == ["x"]
        assert names(tmp_path / "x") == ["old"]

    def test_existing_folder_is_replaced_when_the_new_folder_is_complete(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "old").touch()
        with new_folder(tmp_path / "x", replace=True) as work:
            (work / "new").touch()
            assert names(tmp_path / "x") == ["old"]
        assert names(tmp_path) == ["x"]
        assert names(tmp_path / "x") == ["new"]

    def test_a_failed_replacement_keeps_the_old_folder(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "old").touch()
        with pytest.raises(RuntimeError), new_folder(tmp_path / "x", replace=True):
            raise RuntimeError
        assert names(tmp_path) == ["x"]
        assert names(tmp_path / "x") == ["old"]

    def test_a_failed_last_rename_puts_the_old_folder_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "old").touch()
        rename = Path.rename
        failed = []

        def fail_once(path: Path, target: Path) -> Path:
            if Path(target) == tmp_path / "x" and not failed:
                failed.append(path)
                raise OSError(errno.EIO, "Input/output error")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", fail_once)
        with pytest.raises(BiasconError), new_folder(tmp_path / "x", replace=True):
            pass
        assert failed
        assert names(tmp_path / "x") == ["old"]

    def test_folders_of_dead_processes_are_removed(self, tmp_path: Path) -> None:
        for name in (f".x.{NOBODY}.abc", f".x.{NOBODY}.abc.old"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "half").touch()
        kept = [f".x.{os.getpid()}.abc", f".y.{NOBODY}.abc", ".x.backup", "x.old"]
        for name in kept:
            (tmp_path / name).mkdir()
        with new_folder(tmp_path / "x"):
            pass
        assert names(tmp_path) == sorted([*kept, "x"])

    def test_folder_of_a_longer_name_is_not_removed(self, tmp_path: Path) -> None:
        # `bmnist-0` is a prefix of `bmnist-0.99999999`, whose digits look like a dead process
        with (
            new_folder(tmp_path / f"bmnist-0.{NOBODY}") as work,
            new_folder(tmp_path / "bmnist-0"),
        ):
            assert work.exists()

    @pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
    @pytest.mark.parametrize("mask", [0o022, 0o077])
    def test_mode_of_the_folder_follows_the_umask(self, tmp_path: Path, mask: int) -> None:
        before = os.umask(mask)
        try:
            with new_folder(tmp_path / "x"):
                pass
            assert os.umask(mask) == mask  # new_folder does not change it
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o777 & ~mask


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
