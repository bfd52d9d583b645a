"""Temporary files of killed processes are removed, those of living ones stay; outputs; appended lines."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biascon.errors import BiasconError
from biascon.utils import files, locks, temporary_files
from biascon.utils.files import append_durably, write_atomic, write_output, write_together
from biascon.utils.folders import output_folders
from biascon.utils.temporary_files import TemporaryFile, is_temporary_name

HANGS = """
import sys, threading
from pathlib import Path
from biascon.utils.temporary_files import TemporaryFile
temporary = TemporaryFile.create(Path(sys.argv[1]))
temporary.write(b"half")
print("ready", flush=True)
threading.Event().wait()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_at(n: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, whose n-th call fails with an input/output error."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == n:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return function(*arguments, **options)

    return call


@pytest.mark.skipif(sys.platform == "win32", reason="temporary files are not locked there")
class TestLeftovers:
    def test_only_the_file_of_a_dead_process_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        with subprocess.Popen(
            [sys.executable, "-c", HANGS, str(path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            (left,) = names(tmp_path)
            assert is_temporary_name(left)
            write_atomic(tmp_path / "other", "1")
            assert names(tmp_path) == [left, "other"]  # its process lives
            process.kill()
        write_atomic(tmp_path / "other", "2")
        assert names(tmp_path) == ["other"]

    def test_files_of_others_stay(self, tmp_path: Path) -> None:
        kept = [
            ".report.html.123.tmp",
            ".0123.biascon.tmp",
            "0123abcd.biascon.tmp",
            ".0123abcd.tmp",
        ]
        for name in kept:
            (tmp_path / name).touch()
        (tmp_path / "victim").write_text("1")
        (tmp_path / ".0123abcd.biascon.tmp").symlink_to(tmp_path / "victim")
        write_atomic(tmp_path / "x", "1")
        assert names(tmp_path) == sorted([*kept, ".0123abcd.biascon.tmp", "victim", "x"])

    def test_without_file_locks_files_are_written_and_none_is_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(handle: int, *, wait: bool) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(locks, "_lock", refuse)
        (tmp_path / ".0123abcd.biascon.tmp").touch()
        write_atomic(tmp_path / "x", "1")
        assert names(tmp_path) == [".0123abcd.biascon.tmp", "x"]

    def test_a_file_that_is_taken_for_a_leftover_is_made_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process may remove the file between its creation and its lock."""
        lock, removed = locks.lock_handle, []

        def remove_first(handle: int, path: Path, *, wait: bool = False) -> bool:
            if not removed:
                removed.append(path.unlink())
            return lock(handle, path, wait=wait)

        monkeypatch.setattr(temporary_files, "lock_handle", remove_first)
        write_atomic(tmp_path / "x", "1")
        assert removed
        assert (tmp_path / "x").read_text() == "1"


class TestTogether:
    @pytest.mark.parametrize("can_exchange", [True, False])
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_a_rename_that_fails_leaves_the_old_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, can_exchange: bool
    ) -> None:
        """Without an exchange of names this holds for the first rename only."""
        if not can_exchange:
            monkeypatch.setattr(temporary_files, "exchange", lambda one, other: False)
        for name in ("a", "b"):
            (tmp_path / name).write_text("old")
        monkeypatch.setattr(TemporaryFile, "publish", fail_at(n, TemporaryFile.publish))
        with pytest.raises(BiasconError, match=r"cannot write .*: Input/output error"):
            write_together({tmp_path / name: "new" for name in ("a", "b", "c")})
        assert names(tmp_path) == ["a", "b"]
        if n == 1 or (can_exchange and sys.platform == "linux"):
            assert [(tmp_path / name).read_text() for name in ("a", "b")] == ["old", "old"]

    def test_a_folder_in_place_of_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")
        (tmp_path / "b" / "c").mkdir(parents=True)
        with pytest.raises(BiasconError, match=r"cannot write .*b: "):
            write_together({tmp_path / "a": "new", tmp_path / "b": "new"})
        assert names(tmp_path) == ["a", "b"]
        assert (tmp_path / "b" / "c").is_dir()


class TestOutputs:
    def test_a_link_stays_and_its_target_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "disk" / "real").write_text("old")
        for name in ("real", "new"):
            (tmp_path / name).symlink_to(tmp_path / "disk" / name)
        write_output({tmp_path / "real": "1", tmp_path / "new": "2"})
        assert (tmp_path / "real").is_symlink()
        assert (tmp_path / "disk" / "real").read_text() == "1"
        assert (tmp_path / "disk" / "new").read_text() == "2"
        assert names(tmp_path / "disk") == ["new", "real"]

    def test_a_file_that_the_user_did_not_name_is_never_written_through_a_link(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "victim").write_text("1")
        (tmp_path / "x").symlink_to(tmp_path / "victim")
        write_atomic(tmp_path / "x", "2")
        assert (tmp_path / "victim").read_text() == "1"
        assert not (tmp_path / "x").is_symlink()

    def test_the_folders_of_a_failed_output_are_removed(self, tmp_path: Path) -> None:
        out = tmp_path / "a" / "b"
        with pytest.raises(RuntimeError), output_folders(out, out / "figures"):
            assert (out / "figures").is_dir()
            raise RuntimeError
        assert names(tmp_path) == []
        out.mkdir(parents=True)
        with pytest.raises(RuntimeError), output_folders(out, out / "figures"):
            raise RuntimeError
        assert names(out) == []
        with output_folders(out):
            pass
        assert out.is_dir()


class TestAppending:
    def test_lines_are_flushed_and_a_half_line_is_dropped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushed: list[int] = []
        monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_size))
        path = tmp_path / "log"
        path.write_bytes(b"one\nhal")
        append_durably(path, "two\nthree\n")
        assert path.read_bytes() == b"one\ntwo\nthree\n"
        assert flushed == [len("one\ntwo\nthree\n")]

    def test_a_line_that_cannot_be_flushed_leaves_no_part(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"one\n")
        monkeypatch.setattr(files.os, "fsync", fail_at(1, os.fsync))
        with pytest.raises(BiasconError, match=r"cannot write .*log: Input/output error"):
            append_durably(path, "two\n")
        assert path.read_bytes() == b"one\n"
