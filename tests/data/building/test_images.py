"""Builds of image datasets: the same bytes for every way to build, atomic folders, bounded memory."""

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
from tests.data import faces, image_files

SPEC = ImageSpec(32)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces.draw_utkface(tmp_path_factory.mktemp("faces") / "raw", faces.make_names(240))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 7)


def make_plan(folder: Path, **parameters: Any) -> images.BuildPlan:
    _, names = utkface.list_images(folder)
    spec = utkface.UTKFaceSpec(**{"rate": 0.5, "shape": SPEC, **parameters})
    return utkface.plan_utkface(names, spec, origin="drawn for the tests")


def build(raw: Path, out: Path, **options: Any) -> BuildResult:
    return build_image_dataset(raw, make_plan(raw), out, shape=SPEC, **options)


def read_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def list_hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_the_folder_holds_every_image_in_its_row(raw: Path, tmp_path: Path) -> None:
    result = build(raw, tmp_path / "out")
    data = dataset.load(result.folder)
    folder, names = utkface.list_images(raw)
    for name, split in data.splits.items():
        assert len(split) == result.manifest["counts"][name]["n"]
        for row in range(0, len(split), 9):
            expected = decoding.decode((folder / names[split.index[row]]).read_bytes(), SPEC)
            assert np.array_equal(split.images[row], expected)
            assert split.labels[row] == int(names[split.index[row]].split("_")[1])
    assert not result.reused
    assert list_hidden(tmp_path) == []


def test_bytes_do_not_depend_on_threads_or_chunk_size(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(raw, tmp_path / "one", threads=1)
    build(raw, tmp_path / "four", threads=4)
    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 5)
    build(raw, tmp_path / "chunks", threads=3)
    first = read_contents(tmp_path / "one")
    assert first == read_contents(tmp_path / "four") == read_contents(tmp_path / "chunks")


def test_bytes_do_not_depend_on_the_order_of_the_listing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(raw, tmp_path / "one")
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
    build(raw, tmp_path / "other")
    monkeypatch.undo()
    assert read_contents(tmp_path / "one") == read_contents(tmp_path / "other")


def test_the_same_build_again_reuses_the_folder(raw: Path, tmp_path: Path) -> None:
    build(raw, tmp_path / "out")
    before = read_contents(tmp_path / "out")
    assert build(raw, tmp_path / "out").reused
    assert build(raw, tmp_path / "out", force=True).reused is False
    assert read_contents(tmp_path / "out") == before


def test_another_dataset_is_not_replaced_without_force(raw: Path, tmp_path: Path) -> None:
    build(raw, tmp_path / "out")
    before = read_contents(tmp_path / "out")
    other = make_plan(raw, seed=1)
    with pytest.raises(BiasconError, match=r"differs in name, parameters.*pass --force"):
        build_image_dataset(raw, other, tmp_path / "out", shape=SPEC)
    assert read_contents(tmp_path / "out") == before
    build_image_dataset(raw, other, tmp_path / "out", shape=SPEC, force=True)
    assert read_contents(tmp_path / "out") != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(BiasconError, match="is not a dataset"):
        build(raw, tmp_path / "mine", force=True)


def test_changed_image_files_are_another_dataset(raw: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    build(copy, tmp_path / "out")
    name = make_plan(copy).splits["train"].paths[0]
    (copy / name).write_bytes((copy / name).read_bytes() + b"more")
    with pytest.raises(BiasconError, match="differs in source"):
        build(copy, tmp_path / "out")


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
        FileLock(tmp_path / ".out.lock"),
        pytest.raises(BiasconError, match="another process builds"),
    ):
        build(raw, tmp_path / "out")
    build(raw, tmp_path / "out")


def test_a_full_disk_gives_one_line_and_leaves_no_files(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, n = memory_map.SafetensorsWriter.append, 0

    def append_or_fail(self: memory_map.SafetensorsWriter, images: Any) -> None:
        nonlocal n
        n += 1
        if n > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, images)

    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 7)
    monkeypatch.setattr(memory_map.SafetensorsWriter, "append", append_or_fail)
    with pytest.raises(BiasconError, match=r"cannot write .*out: No space left on device"):
        build(raw, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_reported_before_the_first_image(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 1))
    monkeypatch.setattr(images, "decode_chunk", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"MB more in .*, but 0 MB are free"):
        build(raw, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_unusable_files_are_listed_with_their_reason_and_the_others_are_decoded(
    raw: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    kinds = {}
    for k, (kind, data) in enumerate(image_files.make_readable_files().items()):
        name = f"{20 + k}_{k % 2}_{k % 5}_20180101000000{k:03d}.jpg.chip.jpg"
        (copy / name).write_bytes(data)
        kinds[name] = kind
    reasons = image_files.write_unusable_files(copy)
    _, names = utkface.list_images(copy)
    # Rate 0 keeps almost all images.
    spec = utkface.UTKFaceSpec(rate=0.0, val_protocol="none", shape=SPEC)
    plan = utkface.plan_utkface(names, spec, origin="drawn for the tests")
    result = build_image_dataset(copy, plan, tmp_path / "out", shape=SPEC, max_rejected=0.1)
    planned = {path for rows in plan.splits.values() for path in rows.paths}
    lines = (result.folder / "rejected.csv").read_text().splitlines()
    rejected = dict(line.rsplit(",", 1) for line in lines[1:])
    assert lines[0] == "path,reason"
    assert lines[1:] == sorted(lines[1:])
    assert set(rejected) == set(reasons) & planned
    assert all(reasons[name] in (reason, "any") for name, reason in rejected.items())
    entry = result.manifest["rejected"]
    assert entry["n"] == len(rejected) == sum(entry["by_reason"].values())
    data = dataset.load(result.folder)
    n_compared = 0
    for split in data.splits.values():
        for row, index in enumerate(split.index):
            if names[index] in kinds:
                n_compared += 1
                expected = decoding.decode(
                    image_files.make_readable_files()[kinds[names[index]]], SPEC
                )
                assert np.array_equal(split.images[row], expected)
    assert n_compared == len(set(kinds) & planned) > 8


def test_too_many_unusable_files_give_one_line_and_leave_no_files(
    raw: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    for name in make_plan(copy).splits["train"].paths[:10]:
        (copy / name).write_bytes(b"")
    with pytest.raises(DataError) as failure:
        build(copy, tmp_path / "out")
    assert str(failure.value).startswith("10 or more of ")
    assert "(10 empty), which is over --max-rejected 0.01; the first are " in str(failure.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
    assert build(copy, tmp_path / "out", max_rejected=0.2).manifest["rejected"]["n"] == 10
    with pytest.raises(UsageError, match=r"expected max_rejected in \[0, 1\]"):
        build(copy, tmp_path / "other", max_rejected=2)


def test_the_file_is_safetensors_with_aligned_arrays(raw: Path, tmp_path: Path) -> None:
    folder = build(raw, tmp_path / "out").folder
    path = folder / "train.safetensors"
    with safe_open(path, framework="np") as file:
        assert file.get_slice("images").get_shape()[1:] == [3, 32, 32]
        assert file.get_tensor("attribute.race").dtype == np.int64
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert size % 8 == 0
    starts = {name: entry["data_offsets"][0] for name, entry in header.items()}
    assert all(start % 8 == 0 for start in starts.values())


def test_the_number_of_chunks_in_memory_is_bounded(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_alive, max_alive = 0, 0
    lock = threading.Lock()
    decode_chunk = images.decode_chunk

    def decode_and_count(folder: ImageFolder, shape: ImageSpec, *rest: Any) -> Any:
        nonlocal n_alive, max_alive
        with lock:
            n_alive += 1
            max_alive = max(max_alive, n_alive)
        return decode_chunk(folder, shape, *rest)

    append = memory_map.SafetensorsWriter.append

    def append_and_count(self: memory_map.SafetensorsWriter, images: Any) -> None:
        nonlocal n_alive
        time.sleep(0.002)  # a slow disk
        append(self, images)
        with lock:
            n_alive -= 1

    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 3)
    monkeypatch.setattr(images, "decode_chunk", decode_and_count)
    monkeypatch.setattr(memory_map.SafetensorsWriter, "append", append_and_count)
    build(raw, tmp_path / "out", threads=3)
    assert max_alive <= 7  # two waiting chunks per thread, and the chunk that is being written


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


def test_the_decoder_is_recorded_but_does_not_change_the_digest(raw: Path, tmp_path: Path) -> None:
    manifest = build(raw, tmp_path / "out").manifest
    assert set(manifest["source"]["decoder"]) == {"simplejpeg", "pillow"}
    other = {**manifest, "source": {**manifest["source"], "decoder": {"simplejpeg": "0"}}}
    assert dataset.dataset_digest(other) == dataset.dataset_digest(manifest)
