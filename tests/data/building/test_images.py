"""Building a dataset of pictures: the same bytes however it went, everything or nothing, bounded memory."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from safetensors import safe_open

from biascon.data import dataset, memory_map
from biascon.data.builders import utkface
from biascon.data.building import images, resume
from biascon.data.building.arrays import BuildResult
from biascon.data.building.images import build_image_dataset
from biascon.data.images import decoding
from biascon.data.images.decoding import ImageFolder, ImageSpec
from biascon.errors import BiasconError, DataError, UsageError
from tests.data import broken, faces

SHAPE = ImageSpec(32)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces.utkface(tmp_path_factory.mktemp("faces") / "raw", faces.names(240))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 7)


def plan_of(folder: Path, **parameters: Any) -> images.BuildPlan:
    _, names = utkface.list_images(folder)
    spec = utkface.UTKFaceSpec(**{"rate": 0.5, "shape": SHAPE, **parameters})
    return utkface.plan_utkface(names, spec, origin="made for the tests")


def make(raw: Path, out: Path, **how: Any) -> BuildResult:
    return build_image_dataset(raw, plan_of(raw), out, shape=SHAPE, **how)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_the_folder_holds_every_picture_in_its_place(raw: Path, tmp_path: Path) -> None:
    made = make(raw, tmp_path / "out")
    data = dataset.load(made.folder)
    place, names = utkface.list_images(raw)
    for name, split in data.splits.items():
        assert len(split) == made.manifest.counts[name].n
        for row in range(0, len(split), 9):
            expected = decoding.decode((place / names[split.index[row]]).read_bytes(), SHAPE)
            assert np.array_equal(split.images[row], expected)
            assert split.labels[row] == int(names[split.index[row]].split("_")[1])
    assert not made.reused
    assert hidden(tmp_path) == []


def test_the_number_of_threads_and_the_size_of_chunks_change_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(raw, tmp_path / "one", threads=1)
    make(raw, tmp_path / "four", threads=4)
    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 5)
    make(raw, tmp_path / "chunks", threads=3)
    first = contents(tmp_path / "one")
    assert first == contents(tmp_path / "four") == contents(tmp_path / "chunks")


def test_a_listing_in_another_order_changes_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(raw, tmp_path / "one")
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(listed(self), reverse=True)))
    make(raw, tmp_path / "other")
    monkeypatch.undo()
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_the_same_command_again_finds_it(raw: Path, tmp_path: Path) -> None:
    make(raw, tmp_path / "out")
    before = contents(tmp_path / "out")
    assert make(raw, tmp_path / "out").reused
    assert make(raw, tmp_path / "out", force=True).reused is False
    assert contents(tmp_path / "out") == before


def test_another_dataset_in_the_way_is_not_replaced_without_force(
    raw: Path, tmp_path: Path
) -> None:
    make(raw, tmp_path / "out")
    before = contents(tmp_path / "out")
    other = plan_of(raw, seed=1)
    with pytest.raises(BiasconError, match=r"differs in name, parameters.*pass --force"):
        build_image_dataset(raw, other, tmp_path / "out", shape=SHAPE)
    assert contents(tmp_path / "out") == before
    build_image_dataset(raw, other, tmp_path / "out", shape=SHAPE, force=True)
    assert contents(tmp_path / "out") != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(BiasconError, match="is not a dataset"):
        make(raw, tmp_path / "mine", force=True)


def test_changed_pictures_are_another_dataset(raw: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    make(copy, tmp_path / "out")
    name = plan_of(copy).splits["train"].paths[0]
    (copy / name).write_bytes((copy / name).read_bytes() + b"more")
    with pytest.raises(BiasconError, match="differs in source"):
        make(copy, tmp_path / "out")


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("after", [0, 1, 9, 20])
def test_a_build_goes_on_behind_what_is_done(
    after: int, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(raw, tmp_path / "whole")
    stopped, done = threading.Event(), []

    def stop(ready: int, total: int) -> None:
        done.append(ready)
        if len(done) > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(raw, tmp_path / "out", on_progress=stop)
    assert not stopped.is_set()
    assert not (tmp_path / "out").exists()
    log = tmp_path / ".out.partial" / "log"
    lines = log.read_text().splitlines(keepends=True)
    assert len(lines) == after
    log.write_text("".join(lines) + '{"split":"train","sta')  # killed while it wrote
    seen: list[int] = []
    make(raw, tmp_path / "out", on_progress=lambda ready, total: seen.append(ready))
    assert seen[0] == done[-1]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert hidden(tmp_path) == []


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("damage", ["pixels", "cut", "plan", "file", "log"])
def test_what_does_not_fit_is_done_again(damage: str, raw: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    seen: list[int] = []

    def stop(ready: int, total: int) -> None:
        seen.append(ready)
        if ready > 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(copy, tmp_path / "out", on_progress=stop)
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
        name = plan_of(copy).splits["train"].paths[30]
        (copy / name).write_bytes(broken.encoded(broken.picture(77)))
    again: list[int] = []
    make(copy, tmp_path / "out", on_progress=lambda ready, total: again.append(ready))
    assert 0 < again[0] < seen[-1] if damage != "plan" else again[0] == 0
    make(copy, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_two_builds_of_one_target_are_refused(raw: Path, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".out.lock"),
        pytest.raises(BiasconError, match="another process builds"),
    ):
        make(raw, tmp_path / "out")
    make(raw, tmp_path / "out")


def test_a_full_disk_is_one_line_and_leaves_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, n = memory_map.SafetensorsWriter.append, 0

    def full(self: memory_map.SafetensorsWriter, images: Any) -> None:
        nonlocal n
        n += 1
        if n > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, images)

    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 7)
    monkeypatch.setattr(memory_map.SafetensorsWriter, "append", full)
    with pytest.raises(BiasconError, match=r"cannot write .*out: No space left on device"):
        make(raw, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_told_before_the_first_picture(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 1))
    monkeypatch.setattr(images, "decode_chunk", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"MB more in .*, but 0 MB are free"):
        make(raw, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_every_bad_file_is_listed_with_its_reason_and_the_good_ones_are_right(
    raw: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    converted = {}
    for k, (kind, data) in enumerate(broken.good().items()):
        name = f"{20 + k}_{k % 2}_{k % 5}_20180101000000{k:03d}.jpg.chip.jpg"
        (copy / name).write_bytes(data)
        converted[name] = kind
    reasons = broken.bad(copy)
    _, names = utkface.list_images(copy)
    spec = utkface.UTKFaceSpec(
        rate=0.0, val_protocol="none", shape=SHAPE
    )  # every picture that there is
    plan = utkface.plan_utkface(names, spec, origin="made for the tests")
    made = build_image_dataset(copy, plan, tmp_path / "out", shape=SHAPE, max_rejected=0.1)
    planned = {path for rows in plan.splits.values() for path in rows.paths}
    lines = (made.folder / "rejected.csv").read_text().splitlines()
    told = dict(line.rsplit(",", 1) for line in lines[1:])
    assert lines[0] == "path,reason"
    assert lines[1:] == sorted(lines[1:])
    assert set(told) == set(reasons) & planned
    assert all(reasons[name] in (reason, "any") for name, reason in told.items())
    left = made.manifest.rejected
    assert left.n == len(told) == sum(left.by_reason.values())
    data = dataset.load(made.folder)
    found = 0
    for split in data.splits.values():
        for row, index in enumerate(split.index):
            if names[index] in converted:
                found += 1
                expected = decoding.decode(broken.good()[converted[names[index]]], SHAPE)
                assert np.array_equal(split.images[row], expected)
    assert found == len(set(converted) & planned) > 8


def test_too_many_bad_files_fail_with_one_line_and_leave_nothing(raw: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    for name in plan_of(copy).splits["train"].paths[:10]:
        (copy / name).write_bytes(b"")
    with pytest.raises(DataError) as failure:
        make(copy, tmp_path / "out")
    assert str(failure.value).startswith("10 or more of ")
    assert "(10 empty), which is over --max-rejected 0.01; the first are " in str(failure.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
    assert make(copy, tmp_path / "out", max_rejected=0.2).manifest.rejected.n == 10
    with pytest.raises(UsageError, match=r"expected max_rejected in \[0, 1\]"):
        make(copy, tmp_path / "other", max_rejected=2)


def test_the_file_is_safetensors_with_aligned_arrays(raw: Path, tmp_path: Path) -> None:
    folder = make(raw, tmp_path / "out").folder
    path = folder / "train.safetensors"
    with safe_open(path, framework="np") as file:
        assert file.get_slice("images").get_shape()[1:] == [3, 32, 32]
        assert file.get_tensor("attribute.race").dtype == np.int64
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert size % 8 == 0
    starts = {name: about["data_offsets"][0] for name, about in header.items()}
    assert all(start % 8 == 0 for start in starts.values())


def test_memory_does_not_grow_with_the_number_of_pictures(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, most = 0, 0
    lock = threading.Lock()
    real = images.decode_chunk

    def counted(folder: ImageFolder, shape: ImageSpec, *rest: Any) -> Any:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return real(folder, shape, *rest)

    append = memory_map.SafetensorsWriter.append

    def released(self: memory_map.SafetensorsWriter, images: Any) -> None:
        nonlocal alive
        time.sleep(0.002)  # a slow disk
        append(self, images)
        with lock:
            alive -= 1

    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 3)
    monkeypatch.setattr(images, "decode_chunk", counted)
    monkeypatch.setattr(memory_map.SafetensorsWriter, "append", released)
    make(raw, tmp_path / "out", threads=3)
    assert most <= 7  # chunks that wait to be written: twice the threads, and the one in hand


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_at_random_moments_it_ends_with_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from biascon.data.building import images; images.MAX_CHUNK_IMAGES = 4\n"
        "from biascon.cli.app import main; main(sys.argv[1:])"
    )
    words = [sys.executable, "-c", code, "make-utkface", str(raw), "--rate", "0.5", "--size", "32"]
    subprocess.run([*words, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    log = tmp_path / ".out.partial" / "log"
    killed = 0
    for lines in (1, 5, 12, 20, 27):
        with subprocess.Popen(
            [*words, "--out", str(tmp_path / "out")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None:
                if log.is_file() and log.read_bytes().count(b"\n") >= lines:
                    process.send_signal(signal.SIGKILL)
                    killed += process.wait() == -signal.SIGKILL
                    break
                time.sleep(0.001)
        if (tmp_path / "out").exists():
            break
    assert killed
    subprocess.run([*words, "--out", str(tmp_path / "out")], check=True, capture_output=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not resume.partial_folder(tmp_path / "out").exists()


def test_the_decoder_is_named_and_is_no_part_of_the_identity(raw: Path, tmp_path: Path) -> None:
    manifest = make(raw, tmp_path / "out").manifest
    assert set(manifest.source["decoder"]) == {"simplejpeg", "pillow"}
    source = {**manifest.source, "decoder": {"simplejpeg": "0"}}
    other = replace(manifest, source=source)
    assert dataset.dataset_digest(other) == dataset.dataset_digest(manifest)
