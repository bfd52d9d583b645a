"""The n-th call of the system fails while a folder or files are replaced, for every n.

Either that call alone fails, or every call from it on, as on a disk that has gone. Whatever happens, the
error is one line, the old or the new content is there after the next command, and nothing else is left.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from biascon.errors import BiasconError
from biascon.utils import folders, renaming
from biascon.utils.files import append_durably, write_together
from biascon.utils.folders import lock_target, new_folder, recover_folder

CALLS = (
    "open",
    "write",
    "fsync",
    "rename",
    "replace",
    "unlink",
    "mkdir",
    "rmdir",
    "scandir",
    "listdir",
)
NAMES = ("a", "b")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs an exchange of names")


@contextmanager
def failing(n: int, code: int, *, persists: bool) -> Iterator[list[str]]:
    """Let the n-th call fail; yield the list of the calls that failed."""
    made, failed = 0, []

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made == n or (persists and made > n):
                failed.append(name)
                raise OSError(code, os.strerror(code))
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrap(name, getattr(os, name)))
        exchange = wrap("exchange", renaming.exchange)
        patch.setattr("biascon.utils.temporary_files.exchange", exchange)
        if folders.exchange is renaming.exchange:
            patch.setattr(folders, "exchange", exchange)
        yield failed


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, kind: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).write_text(kind)


def read(folder: Path) -> set[str]:
    assert names(folder) == list(NAMES)
    return {(folder / name).read_text() for name in NAMES}


@pytest.mark.parametrize("persists", [False, True])
@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_failing_call_leaves_the_old_or_the_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool, persists: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    target = tmp_path / "x"
    fill(target, "old")
    seen: set[str] = set()
    for n in range(1, 1000):
        error = None
        with failing(n, errno.EIO, persists=persists) as failed:
            try:
                with new_folder(target, replace=True) as work:
                    for name in NAMES:
                        (work / name).write_text("new")
            except BiasconError as caught:
                error = caught
        if not failed:
            break
        seen.update(failed)
        if not persists and failed[0] in ("mkdir", "fsync", "exchange"):
            assert names(tmp_path) == ["x"], (n, failed)
        recover_folder(target)
        assert read(target) in ({"old"}, {"new"}), (n, failed)
        assert error is not None or read(target) == {"new"}, (n, failed)
        with lock_target(target):
            pass
        assert names(tmp_path) == ["x"], (n, failed)
        fill(target, "old")
    assert n > 15
    assert read(target) == {"new"}
    assert {"open", "fsync", "mkdir", "exchange" if can_exchange else "rename"} <= seen


@pytest.mark.parametrize("persists", [False, True])
def test_a_failing_call_leaves_the_old_or_the_new_files(tmp_path: Path, persists: bool) -> None:
    fill(tmp_path, "old")
    seen: set[str] = set()
    for n in range(1, 1000):
        error = None
        with failing(n, errno.ENOSPC, persists=persists) as failed:
            try:
                write_together({tmp_path / name: "new" for name in NAMES})
            except BiasconError as caught:
                error = caught
        if not failed:
            break
        seen.update(failed)
        contents = {(tmp_path / name).read_text() for name in NAMES}
        assert contents <= {"old", "new"}, (n, failed)
        if not persists:  # on a disk that has gone, nothing can be taken back
            assert len(contents) == 1, (n, failed)
            assert failed[0] == "unlink" or names(tmp_path) == list(NAMES), (n, failed)
        assert error is not None or contents == {"new"}, (n, failed)
        write_together({tmp_path / name: "old" for name in NAMES})
        assert read(tmp_path) == {"old"}, (n, failed)
    assert n > 8
    assert {"open", "write", "fsync", "listdir"} <= seen


def test_a_failing_call_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for n in range(1, 100):
        path.write_text("one\n")
        with failing(n, errno.ENOSPC, persists=False) as failed:
            try:
                append_durably(path, "two\n")
            except BiasconError:
                assert failed
        if not failed:
            break
        assert path.read_text() in ("one\n", "one\ntwo\n"), (n, failed)
    assert path.read_text() == "one\ntwo\n"
