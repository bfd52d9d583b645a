"""Interrupted builds: finished chunks are kept, chunks that do not match are built again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biascon.data.building import resume
from biascon.errors import BusyError
from tests.data import image_files
from tests.data.building.utkface_builds import build, list_hidden, make_plan, read_contents
from tests.lock_helpers import held_lock


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("after", [0, 1, 9, 20])
def test_a_build_resumes_after_the_finished_chunks(
    after: int, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(raw, tmp_path / "whole")
    reported: list[int] = []

    def stop(finished: int, total: int) -> None:
        reported.append(finished)
        if len(reported) > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(raw, tmp_path / "out", on_progress=stop)
    assert not (tmp_path / "out").exists()
    log = tmp_path / ".out.partial" / "log"
    lines = log.read_text().splitlines(keepends=True)
    assert len(lines) == after
    log.write_text("".join(lines) + '{"split":"train","sta')  # killed in the middle of a line
    resumed: list[int] = []
    build(raw, tmp_path / "out", on_progress=lambda finished, total: resumed.append(finished))
    assert resumed[0] == reported[-1]
    assert read_contents(tmp_path / "out") == read_contents(tmp_path / "whole")
    assert list_hidden(tmp_path) == []


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("damage", ["pixels", "cut", "plan", "file", "log"])
def test_chunks_that_do_not_match_are_built_again(damage: str, raw: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    reported: list[int] = []

    def stop(finished: int, total: int) -> None:
        reported.append(finished)
        if finished > 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(copy, tmp_path / "out", on_progress=stop)
    work = tmp_path / ".out.partial"
    pixels = work / "train.safetensors"
    if damage == "pixels":
        content = bytearray(pixels.read_bytes())
        content[len(content) // 2] ^= 1
        pixels.write_bytes(content)
    elif damage == "cut":
        os.truncate(pixels, pixels.stat().st_size // 2)
    elif damage == "plan":
        (work / "plan").write_text("0" * 64)
    elif damage == "log":
        lines = (work / "log").read_text().splitlines(keepends=True)
        (work / "log").write_text("".join([*lines[:4], *lines[5:]]))
    else:
        name = make_plan(copy).splits["train"].paths[30]
        (copy / name).write_bytes(image_files.encode(image_files.draw_image(77)))
    resumed: list[int] = []
    build(copy, tmp_path / "out", on_progress=lambda finished, total: resumed.append(finished))
    assert 0 < resumed[0] < reported[-1] if damage != "plan" else resumed[0] == 0
    build(copy, tmp_path / "whole")
    assert read_contents(tmp_path / "out") == read_contents(tmp_path / "whole")


def test_two_builds_of_the_same_folder_are_refused(raw: Path, tmp_path: Path) -> None:
    with (
        held_lock(tmp_path / ".out.lock"),
        pytest.raises(BusyError, match="another process builds") as caught,
    ):
        build(raw, tmp_path / "out")
    assert caught.value.exit_code == 75
    build(raw, tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_build_that_is_killed_repeatedly_gives_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from biascon.data.building import images; images.MAX_CHUNK_IMAGES = 4\n"
        "from biascon.cli.app import main; main(sys.argv[1:])"
    )
    words = [sys.executable, "-c", code, "make-utkface", str(raw), "--rate", "0.5", "--size", "32"]
    subprocess.run([*words, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    log = tmp_path / ".out.partial" / "log"
    n_killed = 0
    for lines in (1, 5, 12, 20, 27):
        with subprocess.Popen(
            [*words, "--out", str(tmp_path / "out")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None:
                if log.is_file() and log.read_bytes().count(b"\n") >= lines:
                    process.send_signal(signal.SIGKILL)
                    n_killed += process.wait() == -signal.SIGKILL
                    break
                time.sleep(0.001)
        if (tmp_path / "out").exists():
            break
    assert n_killed
    subprocess.run([*words, "--out", str(tmp_path / "out")], check=True, capture_output=True)
    assert read_contents(tmp_path / "out") == read_contents(tmp_path / "whole")
    assert not resume.partial_folder(tmp_path / "out").exists()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("is_published", [False, True])
def test_a_kill_while_a_build_is_published_loses_no_image(
    is_published: bool, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(raw, tmp_path / "whole")
    name = "delete_partial" if is_published else "link_or_move"
    whole = getattr(resume, name)

    def stop(*paths: Path) -> None:
        if (tmp_path / "out").exists() or paths[0].name == "rejected.csv":
            raise KeyboardInterrupt
        whole(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resume, name, stop)
        build(raw, tmp_path / "out", force=True)
    assert (tmp_path / "out").exists() == is_published
    resumed: list[int] = []
    build(raw, tmp_path / "out", on_progress=lambda finished, total: resumed.append(finished))
    assert resumed[:1] == ([] if is_published else [len(make_plan(raw))])
    assert read_contents(tmp_path / "out") == read_contents(tmp_path / "whole")
    assert list_hidden(tmp_path) == []


@pytest.mark.usefixtures("small_chunks")
def test_a_published_file_is_not_written_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = resume.delete_partial

    def stop(*arguments: object) -> None:
        if (tmp_path / "out").exists():
            raise KeyboardInterrupt
        delete(tmp_path / ".out.partial")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resume, "delete_partial", stop)
        build(raw, tmp_path / "out", force=True)
    before = read_contents(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        build(raw, tmp_path / "out", force=True, on_progress=stop)
    assert read_contents(tmp_path / "out") == before
