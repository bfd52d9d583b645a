"""Folders that appear complete, replace old ones safely, and are locked while a process works on them."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from biascon.errors import BiasconError, BusyError, NoFileLocksError, UsageError
from biascon.utils import folders, locks
from biascon.utils.folders import new_folder, recover_folder, recover_folders


def make(folder: Path, name: str) -> None:
    """Make a folder with one empty file."""
    folder.mkdir()
    (folder / name).touch()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
        make(tmp_path / "x", "old")
        monkeypatch.setattr(folders, "exchange", lambda one, other: False)
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
        assert names(tmp_path) == ["x"]

    def test_folder_of_a_longer_name_is_not_removed(self, tmp_path: Path) -> None:
        # `bmnist-0` is a prefix of `bmnist-0.9`
        with new_folder(tmp_path / "bmnist-0.9") as work, new_folder(tmp_path / "bmnist-0"):
            assert work.exists()

    def test_folders_of_others_stay(self, tmp_path: Path) -> None:
        kept = [".x.backup", ".x.old", "x.old", ".y.biascon-work", ".y.biascon-old"]
        for name in kept:
            (tmp_path / name).mkdir()
        with new_folder(tmp_path / "x"):
            pass
        assert names(tmp_path) == sorted([*kept, "x"])

    def test_a_lock_file_with_content_is_not_ours_to_delete(self, tmp_path: Path) -> None:
        (tmp_path / ".x.lock").write_text("a file of the user")
        with new_folder(tmp_path / "x"):
            pass
        assert (tmp_path / ".x.lock").read_text() == "a file of the user"

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


class TestReplacing:
    """Old and new are never both gone."""

    @pytest.mark.skipif(sys.platform != "linux", reason="no exchange of names in one step")
    def test_the_folder_is_there_at_every_moment(self, tmp_path: Path) -> None:
        """Every audited system call is a moment."""
        target = tmp_path / "x"
        make(target, "old")
        child = textwrap.dedent(
            """
            import os, sys
            from pathlib import Path
            from biascon.utils.folders import new_folder
            target, seen = Path(sys.argv[1]), []
            def look(event, arguments):
                if event in ("os.rename", "os.rmdir", "os.remove", "open", "os.scandir"):
                    there = [n for n in ("old", "new") if os.path.lexists(target / n)]
                    seen.append("+".join(there) or "neither")
            with new_folder(target, replace=True) as work:
                (work / "new").touch()
                sys.addaudithook(look)
            print(*dict.fromkeys(seen))
            """
        )
        done = subprocess.run(
            [sys.executable, "-c", child, str(target)], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["old", "new"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forked")
    @pytest.mark.parametrize("how", ["exchange", "renames", "files"])
    def test_a_kill_in_any_line_leaves_old_or_new(self, tmp_path: Path, how: str) -> None:
        campaign = [sys.executable, "-m", "tests.reliability.folders_campaign"]
        done = subprocess.run(
            [*campaign, how, str(tmp_path), "19"], capture_output=True, text=True, check=True
        )
        kills, lost, wrong, gaps = map(int, done.stdout.split())
        assert kills > 5
        assert (lost, wrong) == (0, 0)
        assert how != "exchange" or gaps == 0

    def test_an_old_folder_without_its_name_is_restored_by_a_reader(self, tmp_path: Path) -> None:
        make(tmp_path / ".x.biascon-old", "old")
        make(tmp_path / ".x.biascon-work", "new")
        assert recover_folder(tmp_path / "x")
        assert not recover_folder(tmp_path / "x")
        assert names(tmp_path) == ["x"]
        assert names(tmp_path / "x") == ["old"]

    def test_all_old_folders_of_a_folder_are_restored(self, tmp_path: Path) -> None:
        make(tmp_path / ".x.1.biascon-old", "old")
        make(tmp_path / ".y.biascon-old", "old")
        make(tmp_path / "y", "new")
        recover_folders(tmp_path)
        assert names(tmp_path) == [".y.biascon-old", "x.1", "y"]
        assert names(tmp_path / "y") == ["new"]
        with new_folder(tmp_path / "y", replace=True):
            pass
        assert names(tmp_path) == ["x.1", "y"]


class TestLocks:
    def test_a_folder_that_another_process_writes_is_busy(self, tmp_path: Path) -> None:
        held = locks.acquire(tmp_path / ".x.lock")
        assert held is not None
        make(tmp_path / ".x.biascon-work", "half")
        make(tmp_path / ".x.biascon-old", "old")
        for replace in (False, True):
            with pytest.raises(BusyError, match=r"another process builds .*x; wait") as caught:  # noqa: SIM117
                with new_folder(tmp_path / "x", replace=replace):
                    pytest.fail("the block ran")
            assert caught.value.exit_code == 75
        assert not recover_folder(tmp_path / "x")
        assert names(tmp_path) == [".x.biascon-old", ".x.biascon-work", ".x.lock"]
        held.release()

    def test_the_lock_of_a_dead_process_is_free(self, tmp_path: Path) -> None:
        make(tmp_path / ".x.biascon-work", "half")
        (tmp_path / ".x.lock").touch()
        with new_folder(tmp_path / "x"):
            pass
        assert names(tmp_path) == ["x"]

    def test_another_thread_is_refused_and_the_same_thread_is_not(self, tmp_path: Path) -> None:
        refused = []

        def write() -> None:
            try:
                with new_folder(tmp_path / "x"):
                    pass
            except BusyError as error:
                refused.append(error)

        with folders.lock_target(tmp_path / "x"):
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
            assert len(refused) == 1
            with new_folder(tmp_path / "x"):
                pass
        assert names(tmp_path) == ["x"]

    def test_a_lock_file_that_its_last_owner_deleted_is_made_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, flock = tmp_path / "lock", locks._lock
        deleted = []

        def delete_first(handle: int, *, wait: bool) -> None:
            flock(handle, wait=wait)
            if not deleted:
                deleted.append(path.unlink())

        monkeypatch.setattr(locks, "_lock", delete_first)
        held = locks.acquire(path)
        assert held is not None
        assert deleted
        assert locks.is_same_file(held.handle, path)
        held.release(delete=True)
        assert not path.exists()

    @pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
    def test_missing_file_locks_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        def refuse(handle: int, *, wait: bool) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(locks, "_lock", refuse)
        with (
            pytest.raises(NoFileLocksError, match=r"has no file locks .flock: ") as caught,
            new_folder(tmp_path / "x"),
        ):
            pytest.fail("the block ran")
        assert str(tmp_path) in str(caught.value)
        assert names(tmp_path) == []


class TestLinks:
    def test_a_link_stays_and_what_it_leads_to_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        make(tmp_path / "disk" / "real", "old")
        (tmp_path / "x").symlink_to(Path("disk") / "real")
        with new_folder(tmp_path / "x", replace=True) as work:
            (work / "new").touch()
            assert work.parent == tmp_path / "disk"
        assert (tmp_path / "x").readlink() == Path("disk/real")
        assert names(tmp_path / "disk") == ["real"]
        assert names(tmp_path / "disk" / "real") == ["new"]

    def test_a_link_to_nothing_leads_to_the_new_folder(self, tmp_path: Path) -> None:
        (tmp_path / "x").symlink_to(tmp_path / "disk" / "real")
        with new_folder(tmp_path / "x"):
            pass
        assert (tmp_path / "disk" / "real").is_dir()
        assert (tmp_path / "x").is_symlink()

    def test_a_link_to_itself_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x").symlink_to(tmp_path / "x")
        with (
            pytest.raises(BiasconError, match="x is a symbolic link that leads to itself"),
            new_folder(tmp_path / "x"),
        ):
            pytest.fail("the block ran")


@pytest.mark.parametrize("name", [".", "..", "x/..", "/"])
def test_a_folder_without_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(UsageError, match="expected a folder with a name of its own"),
        new_folder(Path(name), replace=True),
    ):
        pytest.fail("the block ran")
    assert not recover_folder(Path(name))
    assert names(tmp_path) == []


def test_a_tree_of_many_files_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biascon.utils import renaming

    flushed = []
    monkeypatch.setattr(renaming, "_MANY_FILES", 1)
    monkeypatch.setattr(
        renaming, "_sync_file_system", lambda folder: flushed.append(folder) or True
    )
    with new_folder(tmp_path / "x") as work:
        (work / "a").touch()
        (work / "b").touch()
    assert flushed == [work]
