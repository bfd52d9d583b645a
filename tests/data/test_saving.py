"""Writing a dataset folder: it is complete or it does not appear, also after a kill or on a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import SafetensorError

from biascon.data.dataset import (
    Split,
    find_latest,
    load,
    save,
)
from biascon.data.manifest import DatasetDescription
from biascon.errors import BiasconError, DataError

KILLED_HALF_WAY = """
import sys, threading
from pathlib import Path
import numpy as np
import safetensors.numpy
from biascon.data.dataset import Split, save

write = safetensors.numpy.save_file
def first_then_hang(arrays, path):
    write(arrays, path)
    if path.name.startswith("test"):
        print("ready", flush=True)
        threading.Event().wait()
safetensors.numpy.save_file = first_then_hang
y = np.zeros(5, np.int64)
split = Split(np.zeros((5, 3, 2, 2), np.uint8), y, y, y == y, np.arange(5))
description = {"name": "small", "builder": "made", "protocol": {}, "parameters": {},
               "source": {"origin": "made"}, "labels": ["0"], "bias": {"name": "b", "values": ["0"]}}
save(Path(sys.argv[1]), {"train": split, "test": split}, description, replace="replace" in sys.argv)
"""


class TestWriting:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("exists", [False, True])
    def test_a_build_killed_half_way_leaves_no_folder_and_is_swept(
        self, make_dataset: Callable[..., Path], tmp_path: Path, exists: bool
    ) -> None:
        root = tmp_path / "data"
        if exists:
            make_dataset(root / "small")
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED_HALF_WAY, root / "small", "replace" if exists else ""],
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.kill()
        assert {p.name for p in root.iterdir() if p.name != "small"} == {
            ".small.lock",
            ".small.biascon-work",
        }
        assert {p.name for p in (root / ".small.biascon-work").iterdir()} == {
            "train.safetensors",
            "test.safetensors",
        }
        assert (root / "small").exists() == exists
        if exists:
            assert load(root / "small").name == "bmnist5k-0.9"  # the old one, intact
            assert find_latest(root) == root / "small"
        else:
            with pytest.raises(DataError, match="there is no dataset"):
                find_latest(root)
            make_dataset(root / "small")
            assert [p.name for p in root.iterdir()] == ["small"]
            load(root / "small")

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            SafetensorError("I/O error: No space left on device (os error 28)"),
        ],
    )
    @pytest.mark.parametrize("exists", [False, True])
    def test_a_full_disk_while_writing_keeps_the_old_folder(
        self,
        splits: dict[str, Split],
        description: DatasetDescription,
        make_dataset: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        exists: bool,
    ) -> None:
        root = tmp_path / "data"
        if exists:
            make_dataset(root / "small")
        write = safetensors.numpy.save_file

        def fill_up(arrays: dict[str, np.ndarray], path: Path) -> None:
            if path.name.startswith("val"):
                raise error
            write(arrays, path)

        monkeypatch.setattr(safetensors.numpy, "save_file", fill_up)
        with pytest.raises(BiasconError, match=r"cannot write .*small: .*No space left") as caught:
            save(root / "small", splits, description, replace=exists)
        assert "\n" not in str(caught.value)
        assert [p.name for p in root.iterdir()] == ["small"] * exists
        if exists:
            load(root / "small")

    def test_a_full_disk_while_flushing_leaves_nothing(
        self,
        splits: dict[str, Split],
        description: DatasetDescription,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(handle: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        (tmp_path / "data").mkdir()
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(BiasconError, match=r"cannot write .*small: No space left on device"):
            save(tmp_path / "data" / "small", splits, description, replace=False)
        assert list((tmp_path / "data").iterdir()) == []

    def test_every_file_is_flushed_before_the_folder_appears(
        self,
        splits: dict[str, Split],
        description: DatasetDescription,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        before: set[int] = set()
        after: set[int] = set()

        def note(handle: int) -> None:
            (after if (tmp_path / "small").exists() else before).add(os.fstat(handle).st_ino)

        monkeypatch.setattr(os, "fsync", note)
        save(tmp_path / "small", splits, description, replace=False)
        assert {p.stat().st_ino for p in (tmp_path / "small").iterdir()} <= before
        assert after == {tmp_path.stat().st_ino}  # the new name

    @pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
    @pytest.mark.timeout(120)
    def test_a_write_over_the_file_size_limit_fails(self, tmp_path: Path) -> None:
        """A limit on the size of files; Python itself ignores the signal that comes with it."""
        program = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
            "from biascon.cli.app import main; main(sys.argv[1:])"
        )
        words = ["make-bmnist", "--source", "embedded", "--out", str(tmp_path / "data" / "small")]
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        *progress, last = done.stderr.splitlines()
        assert last.startswith(f"error: cannot write {tmp_path / 'data' / 'small'}: ")
        assert "large" in last
        assert [line.split(":")[0] for line in progress] == ["source"]
        assert list((tmp_path / "data").iterdir()) == []

    def test_a_file_in_place_of_the_parent_is_an_error(
        self, splits: dict[str, Split], description: DatasetDescription, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(BiasconError, match=r"cannot create a folder in .*file"):
            save(tmp_path / "file" / "small", splits, description, replace=False)
        assert (tmp_path / "file").read_text() == "in the way"

    def test_an_existing_folder_is_kept_unless_replaced(
        self,
        splits: dict[str, Split],
        description: DatasetDescription,
        folder: Path,
    ) -> None:
        before = load(folder).digest
        with pytest.raises(BiasconError, match="small exists already; pass --force"):
            save(folder, splits, replace(description, name="other"), replace=False)
        assert load(folder).digest == before
        save(folder, splits, replace(description, name="other"), replace=True)
        assert load(folder).name == "other"
        assert [p.name for p in folder.parent.iterdir()] == ["small"]
